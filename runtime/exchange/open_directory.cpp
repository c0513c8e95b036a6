// SPDX-License-Identifier: Apache-2.0
#include <utility>

#include <wye/directory.hpp>
#include <wye/error.hpp>
#include <wye/etcd.hpp>

namespace wye {

std::unique_ptr<directory> open_directory(runtime& rt, std::string url)
{
    if (url.starts_with("dir:")) return directory_in(rt, url.substr(4));
    if (url.starts_with("etcd://") || url.starts_with("etcds://")) return etcd_directory(rt, std::move(url));
    const std::string scheme = url.substr(0, url.find(':'));
    throw system_error(errc::not_supported, "no directory is a " + scheme + ": dir:/path, etcd://host:port/prefix or etcds://… are");
}

#ifndef WYE_HAS_ETCD
std::unique_ptr<directory> etcd_directory(runtime&, std::string, const etcd_options&)
{
    throw system_error(errc::not_supported, "this build knows no etcd (it needs Boost.Beast and Boost.JSON)");
}
#endif

} // namespace wye
