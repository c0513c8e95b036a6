// SPDX-License-Identifier: Apache-2.0
#include "errors.hpp"

#include <algorithm>
#include <array>
#include <string>

#include <rdma/fi_errno.h>

namespace wye::ofi {

namespace sys = boost::system;

namespace {

struct known {
    int error;
    blame whose;
};

// EIO is how efa reports what its NIC gave up on (peer unreachable, retries exhausted).
constexpr std::array table = {
    known{FI_ECANCELED, blame::path},    known{FI_ENOTCONN, blame::path},     known{FI_ECONNRESET, blame::path},
    known{FI_ECONNABORTED, blame::path}, known{FI_ECONNREFUSED, blame::path}, known{FI_ETIMEDOUT, blame::path},
    known{FI_EHOSTUNREACH, blame::path}, known{FI_EHOSTDOWN, blame::path},    known{FI_ENETUNREACH, blame::path},
    known{FI_ESHUTDOWN, blame::path},    known{FI_EIO, blame::path},          known{FI_EADDRNOTAVAIL, blame::path},
    known{EPIPE, blame::path},           known{FI_ENODEV, blame::rail},       known{FI_ENETDOWN, blame::rail},
    known{ENXIO, blame::rail},           known{FI_EOPBADSTATE, blame::rail},  known{FI_EDOMAIN, blame::rail},
};

class fabric_errors final : public sys::error_category {
public:
    const char* name() const noexcept override { return "fabric"; }
    std::string message(int value) const override { return std::string{"fabric: "} + ::fi_strerror(value); }
    sys::error_condition default_error_condition(int value) const noexcept override
    {
        if (value >= FI_ERRNO_OFFSET) return {value, *this};
        return {value, sys::generic_category()};
    }
};

} // namespace

blame blame_for(int error) noexcept
{
    const auto it = std::find_if(table.begin(), table.end(), [&](const known& k) { return k.error == error; });
    return it == table.end() ? blame::chunk : it->whose;
}

error_code fabric_error(int error) noexcept
{
    static const fabric_errors category;
    switch (error) {
    case FI_EACCES:
    case FI_EPERM:
    case FI_ENOKEY:
    case FI_EKEYREJECTED: return errc::withdrawn;
    default: return {error, category};
    }
}

void must(int result, const char* what)
{
    if (result < 0) throw system_error(fabric_error(-result), what);
}

} // namespace wye::ofi
