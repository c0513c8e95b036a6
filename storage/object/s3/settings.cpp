// SPDX-License-Identifier: Apache-2.0
#include "settings.hpp"

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "encoding.hpp"
#include "signer.hpp"

namespace wye::storage::s3 {

namespace {

[[noreturn]] void refuse(std::string_view url, const std::string& why)
{
    throw system_error(errc::bad_name, std::string{url} + ": " + why);
}

/// 3 to 63 of a-z 0-9 - . as AWS has it; other servers, under path style, are content with more.
bool good_bucket(std::string_view name) noexcept
{
    const auto good = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
    };
    return !name.empty() && name.size() <= 255 && std::all_of(name.begin(), name.end(), good) && name != "." && name != "..";
}
bool good_in_host(std::string_view name) noexcept
{
    return name.size() <= 63 && std::none_of(name.begin(), name.end(), [](char c) { return c == '_' || (c >= 'A' && c <= 'Z'); });
}
bool good_region(std::string_view name) noexcept
{
    return name.size() <= 64 && std::all_of(name.begin(), name.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
    });
}

fields options_of(std::string_view url)
{
    fields all;
    const auto begin = url.find('?');
    if (begin == url.npos) return all;
    for (std::string_view rest = url.substr(begin + 1); !rest.empty();) {
        const auto end = std::min(rest.find('&'), rest.size());
        const std::string_view one = rest.substr(0, end);
        rest.remove_prefix(std::min(end + 1, rest.size()));
        if (one.empty()) continue;
        const auto equals = one.find('=');
        const auto value = unpercent(equals == one.npos ? std::string_view{} : one.substr(equals + 1));
        if (equals == one.npos || !value) refuse(url, "'" + std::string{one} + "' is no option");
        all.emplace_back(one.substr(0, equals), *value);
    }
    return all;
}

bool on_or_off(std::string_view url, const std::string& name, const std::string& value)
{
    if (value != "on" && value != "off") refuse(url, name + " is on or off, not '" + value + "'");
    return value == "on";
}

/// What a URL may say, on top of the options.
s3_options with_url(std::string_view url, s3_options o)
{
    for (const auto& [name, value] : options_of(url)) {
        if (name == "endpoint") o.endpoint = value;
        else if (name == "region") o.region = value;
        else if (name == "profile") o.profile = value, o.access_key.clear();
        else if (name == "ca") o.authorities = value;
        else if (name == "checksums") o.checksums = on_or_off(url, name, value);
        else if (name == "verify") o.verify = on_or_off(url, name, value);
        else if (name == "credentials" && value == "none") o.anonymous = true;
        else if (name == "style" && value == "path") o.style = s3_style::path;
        else if (name == "style" && value == "virtual") o.style = s3_style::virtual_host;
        else if (name == "payload" && value == "signed") o.payload = s3_payload::signed_body;
        else if (name == "payload" && value == "unsigned") o.payload = s3_payload::unsigned_body;
        else refuse(url, "there is no option " + name + "=" + value);
    }
    return o;
}

std::string first_of(std::string a, const char* name, const char* other, const char* last)
{
    for (const char* n : {name, other})
        if (a.empty()) a = environment(n);
    return a.empty() ? last : a;
}

/// Whether a host is one of those in "a.com,.b.com,10.0.0.1" or "*".
bool excepted(std::string_view host, std::string_view list)
{
    while (!list.empty()) {
        const auto end = std::min(list.find(','), list.size());
        std::string_view one = list.substr(0, end);
        list.remove_prefix(std::min(end + 1, list.size()));
        while (!one.empty() && one.front() == ' ') one.remove_prefix(1);
        while (!one.empty() && one.back() == ' ') one.remove_suffix(1);
        if (one == "*") return true;
        if (!one.empty() && one.front() == '.') one.remove_prefix(1);
        if (one.empty() || host.size() < one.size() || !same_word(host.substr(host.size() - one.size()), one)) continue;
        if (host.size() == one.size() || host[host.size() - one.size() - 1] == '.') return true;
    }
    return false;
}

void choose_proxy(std::string_view url, origin& to, const std::string& wanted)
{
    std::string by = wanted;
    if (by.empty()) {
        if (excepted(to.host, first_of({}, "no_proxy", "NO_PROXY", ""))) return;
        // In capitals only for https: a web server's HTTP_PROXY may be a visitor's.
        by = to.tls ? first_of({}, "https_proxy", "HTTPS_PROXY", "") : environment("http_proxy");
    }
    if (by.empty() || by == "none") return;
    if (by.find("://") == by.npos) by.insert(0, "http://");
    web_address proxy;
    if (!read_web_address(by, proxy) || proxy.tls) refuse(url, "'" + by + "' is no proxy (http://host:port)");
    to.proxy_host = proxy.host;
    to.proxy_port = proxy.port;
    to.proxy_login = proxy.login;
}

} // namespace

std::string environment(const char* name)
{
    const char* const value = std::getenv(name);
    return value ? value : "";
}

bool read_web_address(std::string_view text, web_address& a)
{
    if (text.starts_with("http://")) text.remove_prefix(7);
    else if (text.starts_with("https://")) text.remove_prefix(8), a.tls = true;
    else return false;
    const auto slash = std::min(text.find_first_of("/?#"), text.size());
    a.path = text.substr(slash);
    text = text.substr(0, slash);
    if (const auto at = text.rfind('@'); at != text.npos) {
        const auto login = unpercent(text.substr(0, at));
        if (!login) return false;
        a.login = *login;
        text.remove_prefix(at + 1);
    }
    std::string_view port;
    if (text.starts_with("[")) {
        const auto end = text.find(']');
        if (end == text.npos) return false;
        a.host = text.substr(1, end - 1);
        text.remove_prefix(end + 1);
        if (!text.empty() && text[0] != ':') return false;
        port = text.empty() ? text : text.substr(1);
    } else {
        const auto colon = std::min(text.find(':'), text.size());
        a.host = text.substr(0, colon);
        port = text.substr(std::min(colon + 1, text.size()));
    }
    const auto digit = [](char c) { return c >= '0' && c <= '9'; };
    const auto plain = [](char c) { return static_cast<unsigned char>(c) > 32 && c != 127; };
    if (port.size() > 5 || !std::all_of(port.begin(), port.end(), digit)) return false;
    a.port = port.empty() ? (a.tls ? "443" : "80") : port;
    return !a.host.empty() && std::all_of(a.host.begin(), a.host.end(), plain) && std::stoul(a.port) < 65536;
}

settings read_settings(std::string_view url, const s3_options& given)
{
    const s3_options o = with_url(url, given);
    settings s;
    std::string_view name = url.substr(std::min<std::size_t>(5, url.size()));
    name = name.substr(0, name.find('?'));
    if (name.ends_with('/')) name.remove_suffix(1);
    if (!good_bucket(name)) refuse(url, "'" + std::string{name} + "' is no name of a bucket");
    s.bucket = name;
    s.region = first_of(o.region, "AWS_REGION", "AWS_DEFAULT_REGION", "us-east-1");
    if (!good_region(s.region)) refuse(url, "'" + s.region + "' is no region");
    const std::string endpoint = first_of(o.endpoint, "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "");
    const bool aws = endpoint.empty();
    const char* const domain = s.region.starts_with("cn-") ? ".amazonaws.com.cn" : ".amazonaws.com";
    web_address at;
    if (!read_web_address(aws ? "https://s3." + s.region + domain : endpoint, at) || !at.login.empty())
        refuse(url, "'" + endpoint + "' is no endpoint (http://host:port or https://host:port)");
    s.to.host = at.host;
    s.to.port = at.port;
    s.to.tls = at.tls;
    const bool fits = good_in_host(s.bucket) && !(at.tls && s.bucket.find('.') != s.bucket.npos);
    const bool in_host = o.style == s3_style::virtual_host || (o.style == s3_style::automatic && aws && fits);
    if (in_host) s.to.host.insert(0, s.bucket + '.');
    while (at.path.ends_with('/')) at.path.pop_back();
    s.base = at.path + (in_host ? "/" : '/' + s.bucket + '/');
    s.host = s.to.name();
    choose_proxy(url, s.to, o.proxy);
    s.authorities = o.authorities.empty() ? environment("AWS_CA_BUNDLE") : o.authorities;
    s.verify = o.verify;
    s.sign_body = o.payload == s3_payload::automatic ? !s.to.tls : o.payload == s3_payload::signed_body;
    s.checksums = o.checksums;
    s.anonymous = o.anonymous;
    s.profile = o.profile.empty() ? first_of({}, "AWS_PROFILE", "AWS_PROFILE", "default") : o.profile;
    return s;
}

} // namespace wye::storage::s3
