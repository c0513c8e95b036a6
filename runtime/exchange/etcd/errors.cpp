// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <string>

#include <wye/error.hpp>
#include <wye/etcd.hpp>

namespace wye {

namespace {

namespace condition = boost::system::errc;

constexpr std::array names{"ok", "cancelled", "unknown", "invalid argument", "deadline exceeded", "not found", "already exists",
                           "permission denied", "resource exhausted", "failed precondition", "aborted", "out of range",
                           "unimplemented", "internal", "unavailable", "data loss", "unauthenticated"};

class etcd final : public boost::system::error_category {
public:
    const char* name() const noexcept override { return "etcd"; }
    std::string message(int code) const override
    {
        const auto i = static_cast<std::size_t>(code);
        return "etcd: " + (i < names.size() ? std::string{names[i]} : "code " + std::to_string(code));
    }
    boost::system::error_condition default_error_condition(int code) const noexcept override
    {
        switch (code) {
        case 3: return make_error_condition(condition::invalid_argument);
        case 4: return make_error_condition(condition::timed_out);
        case 5: return make_error_condition(condition::no_such_file_or_directory);
        case 7: case 16: return make_error_condition(condition::permission_denied);
        case 8: return make_error_condition(condition::no_space_on_device);
        case 12: return make_error_condition(condition::not_supported);
        case 14: return make_error_condition(condition::resource_unavailable_try_again);
        default: return {code, *this};
        }
    }
};

} // namespace

const boost::system::error_category& etcd_category() noexcept
{
    static const etcd it;
    return it;
}

} // namespace wye
