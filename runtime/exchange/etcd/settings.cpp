// SPDX-License-Identifier: Apache-2.0
#include "settings.hpp"

#include <cstdlib>
#include <functional>
#include <utility>

#include <wye/error.hpp>

#include "small_file.hpp"

namespace wye::detail::etcd {

namespace {

constexpr std::uint16_t usual_port = 2379;
constexpr std::size_t most_password = 4096;

[[noreturn]] void reject(std::string_view url, const std::string& why)
{
    throw system_error(errc::bad_name, std::string{url.substr(0, url.find('?'))} + ": " + why); // the query may name secrets
}

/// Calls `each` for what is between the separators.
void split(std::string_view list, char separator, const std::function<void(std::string_view)>& each)
{
    for (;;) {
        const std::size_t end = list.find(separator);
        each(list.substr(0, end));
        if (end == list.npos) return;
        list.remove_prefix(end + 1);
    }
}

std::string decoded(std::string_view url, std::string_view text)
{
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '%') {
            out += text[i];
            continue;
        }
        const std::string digits{text.substr(i + 1, 2)};
        char* end = nullptr;
        const unsigned long value = std::strtoul(digits.c_str(), &end, 16);
        if (digits.size() != 2 || *end != 0 || value == 0) reject(url, "'%' is followed by two hexadecimal digits");
        out += static_cast<char>(value);
        i += 2;
    }
    return out;
}

std::string password_in(const std::string& path)
{
    const auto content = read_file(path, most_password);
    if (!content) throw system_error(file_error(ENOENT), path);
    std::string password{reinterpret_cast<const char*>(content->data()), content->size()};
    while (!password.empty() && (password.back() == '\n' || password.back() == '\r')) password.pop_back();
    return password;
}

void take_option(settings& s, std::string_view url, std::string_view pair)
{
    const std::size_t equals = pair.find('=');
    const std::string name{pair.substr(0, equals)};
    if (equals == pair.npos) reject(url, name + " needs a value");
    std::string value = decoded(url, pair.substr(equals + 1));
    etcd_options& o = s.options;
    if (name == "user") o.user = std::move(value);
    else if (name == "password_file") o.password = password_in(value);
    else if (name == "ca") o.tls.authorities = std::move(value);
    else if (name == "cert") o.tls.certificate = std::move(value);
    else if (name == "key") o.tls.key = std::move(value);
    else if (name == "host") o.tls.host = std::move(value);
    else if (name == "verify" && (value == "on" || value == "off")) o.tls.verify = value == "on";
    else reject(url, "what is " + name + "? It may be user, password_file, ca, cert, key, host, or verify=off");
}

/// "/a/b" and "/a/b/" are "a/b/"; nothing is "wye/".
std::string prefix_of(std::string_view url, std::string_view path)
{
    while (path.starts_with('/')) path.remove_prefix(1);
    while (path.ends_with('/')) path.remove_suffix(1);
    if (path.empty()) return "wye/";
    return decoded(url, path) + '/';
}

} // namespace

settings read_settings(std::string_view url, const etcd_options& o)
{
    settings s;
    s.options = o;
    std::string_view rest = url;
    if (rest.starts_with("etcds://")) s.secured = true;
    else if (!rest.starts_with("etcd://")) reject(url, "not etcd:// or etcds://");
    rest.remove_prefix(rest.find("://") + 3);
    const std::size_t question = rest.find('?');
    const std::string_view query = question == rest.npos ? std::string_view{} : rest.substr(question + 1);
    rest = rest.substr(0, question);
    const std::size_t slash = rest.find('/');
    if (rest.find('@') < slash) reject(url, "user and password go into the query: user, password_file");
    split(rest.substr(0, slash), ',', [&](std::string_view e) { s.endpoints.push_back(parse_endpoint(e, usual_port)); });
    s.prefix = prefix_of(url, slash == rest.npos ? std::string_view{} : rest.substr(slash));
    if (!query.empty()) split(query, '&', [&](std::string_view pair) { take_option(s, url, pair); });
    if (!s.secured && (!s.options.tls.certificate.empty() || !s.options.tls.authorities.empty()))
        reject(url, "certificates are for etcds://");
    if (s.options.user.empty() != s.options.password.empty()) reject(url, "a user and a password go together");
    return s;
}

} // namespace wye::detail::etcd
