// SPDX-License-Identifier: Apache-2.0
// What libwye's runtime defines, for programs that take the file driver without it.

#include "file_seam.hpp"

namespace wye::detail {
class ledger {};
} // namespace wye::detail

namespace wye {

segment::segment(wye::tier t) noexcept : tier{t} {}
segment::~segment() = default;

void driver::open_file(std::string, const file_options&,
                       std::function<void(error_code, std::unique_ptr<segment>)> done)
{
    done(errc::not_supported, nullptr);
}
void driver::sync(segment&, std::function<void(error_code)> done) { done(errc::not_supported); }
void driver::open_store(std::string, wye::access,
                        std::function<void(error_code, std::unique_ptr<object_store>)> done)
{
    done(errc::not_supported, nullptr);
}

void chunk::done() noexcept { done({}, from.length); }

void chunk::done(error_code error, std::size_t bytes) noexcept
{
    auto& l = static_cast<seam::loan&>(*this);
    if (l.over) std::abort(); // exactly once
    l.over = true;
    l.error = error;
    l.bytes = bytes;
    l.turn = seam::ended++;
    if (l.then) l.then();
}

} // namespace wye
