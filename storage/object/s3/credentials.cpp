// SPDX-License-Identifier: Apache-2.0
#include "credentials.hpp"

#include <algorithm>
#include <fstream>
#include <map>
#include <optional>
#include <sstream>

#include <boost/asio/error.hpp>

#include "exchange.hpp"
#include "helped.hpp"

namespace wye::storage::s3 {

namespace {

using namespace std::chrono_literals;

constexpr auto renewed_before = 5min; // as AWS's own clients do
constexpr std::size_t most_answer = 64 * 1024;

granted none(std::string why)
{
    granted g;
    g.error = s3_errc::no_credentials;
    g.why = std::move(why);
    return g;
}

std::string_view trim(std::string_view s) noexcept
{
    const auto first = s.find_first_not_of(" \t\r");
    return first == s.npos ? std::string_view{} : s.substr(first, s.find_last_not_of(" \t\r") - first + 1);
}

/// The members of one flat object of JSON that are strings. What is deeper is passed over.
std::map<std::string, std::string> strings_of(std::string_view json)
{
    std::map<std::string, std::string> found;
    std::vector<std::string> words; // the string before, if a ':' follows it
    std::string name;
    bool named = false;
    for (std::size_t i = 0; i < json.size(); ++i) {
        if (json[i] == ':') named = true;
        if (json[i] == ',' || json[i] == '{') named = false;
        if (json[i] != '"') continue;
        std::string text;
        for (++i; i < json.size() && json[i] != '"'; ++i) {
            if (json[i] == '\\' && ++i == json.size()) break;
            text += json[i]; // '/' is the only one that is escaped in these
        }
        if (named) found[name] = text;
        else name = text;
        named = false;
    }
    return found;
}

std::string whole_file(const std::string& path)
{
    std::ifstream in{path, std::ios::binary};
    std::string text(most_answer, '\0');
    in.read(text.data(), static_cast<std::streamsize>(text.size()));
    text.resize(static_cast<std::size_t>(in.gcount()));
    return text;
}

bool good_value(std::string_view v) noexcept
{
    return std::none_of(v.begin(), v.end(), [](char c) { return static_cast<unsigned char>(c) < 33; });
}

} // namespace

granted read_credentials_file(std::string_view text, std::string_view profile)
{
    granted g;
    bool ours = false;
    while (!text.empty()) {
        const auto end = std::min(text.find('\n'), text.size());
        const std::string_view line = trim(text.substr(0, end));
        text.remove_prefix(std::min(end + 1, text.size()));
        if (line.starts_with("[")) {
            const std::string_view name = trim(line.substr(1, line.find(']') - 1));
            ours = name == profile;
            continue;
        }
        const auto equals = line.find('=');
        if (!ours || equals == line.npos || line.starts_with("#") || line.starts_with(";")) continue;
        const std::string_view name = trim(line.substr(0, equals)), value = trim(line.substr(equals + 1));
        if (name == "aws_access_key_id") g.keys.access_key = value;
        else if (name == "aws_secret_access_key") g.keys.secret_key = value;
        else if (name == "aws_session_token") g.keys.session_token = value;
    }
    if (g.keys.access_key.empty() || g.keys.secret_key.empty()) return none("no profile " + std::string{profile});
    return g;
}

granted read_credentials_json(std::string_view text)
{
    auto all = strings_of(text);
    granted g;
    g.keys = {all["AccessKeyId"], all["SecretAccessKey"], all["Token"]};
    g.until = read_iso_date(all["Expiration"]);
    const bool good = good_value(g.keys.access_key) && good_value(g.keys.secret_key) && good_value(g.keys.session_token);
    if (g.keys.access_key.empty() || g.keys.secret_key.empty() || !good) return none("the answer holds no credentials");
    return g;
}

/// Until the answer that is awaited is there.
struct credential_source::turn_wait final : stop_signal::listener {
    turn_wait(credential_source& c, stop_signal& s) noexcept : of{c}, stopped{s} {}
    bool await_ready() const noexcept { return stopped.pulled() || !of.fetching_; }
    void await_suspend(std::coroutine_handle<> h)
    {
        waiting = h;
        stopped.listen(this);
        of.waiting_.push_back(this);
    }
    void await_resume() noexcept { stopped.listen(nullptr); }
    void stop() noexcept override
    {
        if (std::erase(of.waiting_, this) != 0) of.reactor_.resume_soon(waiting);
    }

    credential_source& of;
    stop_signal& stopped;
    std::coroutine_handle<> waiting;
};

credential_source::credential_source(reactor& r, blocking_pool& helpers, const s3_options& o, std::string profile,
                                     connect_to connect)
    : reactor_{r}, helpers_{helpers}, given_{o.access_key, o.secret_key, o.session_token}, profile_{std::move(profile)},
      connect_{std::move(connect)}
{
}
credential_source::~credential_source() = default;

bool credential_source::stale(wall_time now) const noexcept
{
    return have_.until && now + renewed_before >= *have_.until;
}

flow<granted> credential_source::get(stop_signal& stop)
{
    const auto now = std::chrono::system_clock::now();
    const bool good = got_ && !have_.error && (!have_.until || now < *have_.until);
    const bool renewable = from_ != place::fixed;
    // Who has some that are good for a while yet does not wait for new ones.
    if ((!got_ || !good || stale(now)) && renewable && !fetching_ && (!good || reactor::now() >= not_before_)) fetch();
    if (!good && renewable) {
        turn_wait one{*this, stop};
        co_await one;
    }
    granted g = have_;
    if (stop.pulled()) g.error = boost::asio::error::operation_aborted;
    co_return g;
}

bool credential_source::renew(const key_pair& refused)
{
    if (from_ == place::fixed || have_.error) return false;
    if (have_.keys.access_key == refused.access_key && have_.keys.session_token == refused.session_token) got_ = false;
    return true;
}

detached credential_source::fetch()
{
    fetching_ = true;
    granted g = co_await find();
    const bool keep = g.error && got_ && !have_.error && have_.until && std::chrono::system_clock::now() < *have_.until;
    if (keep) {
        not_before_ = reactor::now() + 30s; // those that we have are good yet
    } else {
        have_ = std::move(g);
        got_ = !have_.error;
    }
    fetching_ = false;
    for (turn_wait* w : std::exchange(waiting_, {})) reactor_.resume_soon(w->waiting);
}

/// Asks each place in turn; once one has answered, that one only.
flow<granted> credential_source::find()
{
    granted g;
    g.keys = given_;
    if (g.keys.access_key.empty()) {
        g.keys.access_key = environment("AWS_ACCESS_KEY_ID");
        g.keys.secret_key = environment("AWS_SECRET_ACCESS_KEY");
        g.keys.session_token = environment("AWS_SESSION_TOKEN");
    }
    if (from_ == place::unknown && !g.keys.access_key.empty()) {
        from_ = place::fixed;
        if (g.keys.secret_key.empty() || !good_value(g.keys.access_key)) g = none("an access key without its secret");
        co_return g;
    }
    std::string tried = "not in the options, nor in AWS_ACCESS_KEY_ID";
    if (from_ == place::unknown) {
        g = co_await from_file();
        if (!g.error) {
            from_ = place::fixed;
            co_return g;
        }
        tried += "; " + g.why;
    }
    const bool container = !environment("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI").empty() ||
                           !environment("AWS_CONTAINER_CREDENTIALS_FULL_URI").empty();
    if (container && from_ != place::instance) {
        g = co_await from_container();
        if (!g.error) from_ = place::container;
        if (!g.error || from_ == place::container) co_return g;
        tried += "; " + g.why;
    }
    g = co_await from_instance();
    if (!g.error) from_ = place::instance;
    else if (from_ == place::unknown) g.why = tried + "; " + g.why;
    co_return g;
}

flow<granted> credential_source::from_file()
{
    std::string path = environment("AWS_SHARED_CREDENTIALS_FILE");
    if (path.empty() && !environment("HOME").empty()) path = environment("HOME") + "/.aws/credentials";
    if (path.empty()) co_return none("no HOME for a credentials file");
    const auto read = [path] { return whole_file(path); };
    helped reading{reactor_, helpers_, read};
    const std::string text = co_await reading;
    granted g = read_credentials_file(text, profile_);
    if (g.error) g.why += " in " + path;
    co_return g;
}

flow<granted> credential_source::from_container()
{
    const std::string relative = environment("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
    const std::string uri = relative.empty() ? environment("AWS_CONTAINER_CREDENTIALS_FULL_URI")
                                             : "http://169.254.170.2" + relative;
    web_address at;
    if (!read_web_address(uri, at)) co_return none("the container's endpoint '" + uri + "' is no address");
    std::string token = environment("AWS_CONTAINER_AUTHORIZATION_TOKEN");
    if (const std::string file = environment("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"); token.empty() && !file.empty()) {
        const auto read = [file] { return whole_file(file); };
        helped reading{reactor_, helpers_, read};
        token = co_await reading;
        token = std::string{trim(token.substr(0, token.find('\n')))};
    }
    fields headers;
    if (!token.empty() && good_value(token.substr(token.find(' ') + 1))) headers.emplace_back("Authorization", token);
    std::string text;
    if (at.path.empty()) at.path = "/";
    granted g = co_await ask(at, "GET", at.path, headers, text);
    if (g.error) co_return none("the container's endpoint does not say: " + g.why);
    co_return read_credentials_json(text);
}

/// IMDSv2: a token first, then the name of the role, then its credentials.
flow<granted> credential_source::from_instance()
{
    if (same_word(environment("AWS_EC2_METADATA_DISABLED"), "true")) co_return none("AWS_EC2_METADATA_DISABLED");
    const std::string where = environment("AWS_EC2_METADATA_SERVICE_ENDPOINT");
    web_address at;
    if (!read_web_address(where.empty() ? "http://169.254.169.254" : where, at)) co_return none(where + " is no address");
    while (at.path.ends_with('/')) at.path.pop_back();

    std::string token;
    fields headers;
    headers.emplace_back("X-aws-ec2-metadata-token-ttl-seconds", "300");
    const std::string token_path = at.path + "/latest/api/token";
    granted g = co_await ask(at, "PUT", token_path, headers, token);
    if (g.error) co_return none("no instance metadata: " + g.why);
    if (!good_value(token)) co_return none("instance metadata make no sense");
    headers.clear();
    headers.emplace_back("X-aws-ec2-metadata-token", token);
    const std::string roles = at.path + "/latest/meta-data/iam/security-credentials/";
    std::string role;
    g = co_await ask(at, "GET", roles, headers, role);
    if (g.error) co_return none("this instance has no role: " + g.why);
    role = std::string{trim(role.substr(0, role.find('\n')))};
    if (role.empty() || !good_value(role)) co_return none("this instance has no role");
    std::string text;
    const std::string of_role = roles + percent(role, false);
    g = co_await ask(at, "GET", of_role, headers, text);
    if (g.error) co_return none("instance metadata: " + g.why);
    co_return read_credentials_json(text);
}

/// The text of an answer of 200. Twice, since these endpoints are near, and either there or not.
flow<granted> credential_source::ask(const web_address& at, const char* method, std::string path, fields headers,
                                     std::string& text)
{
    origin to;
    to.host = at.host;
    to.port = at.port;
    to.tls = at.tls;
    const auto pool = connect_(to);
    granted g;
    for (int tries = 0; tries < 2; ++tries) {
        connection_pool::lease lease = co_await pool->acquire(stop_, true);
        g.error = lease.error;
        g.why = lease.error.message();
        if (stop_.pulled()) break;
        if (lease.error) continue;
        message m;
        m.head = std::string{method} + ' ' + path + " HTTP/1.1\r\nHost: " + to.name() + "\r\nContent-Length: 0\r\n";
        for (const auto& [name, value] : headers) m.head += name + ": " + value + "\r\n";
        m.head += "\r\n";
        m.stalled_after = m.answer_within = 2s;
        m.most_text = most_answer;
        exchange one{reactor_, *lease.on, m, stop_};
        answer said = co_await one;
        pool->release(std::move(lease.on), one.reusable());
        g.error = said.error;
        g.why = said.error.message();
        if (stop_.pulled()) break;
        if (said.error) continue;
        text = std::move(said.text);
        if (said.status == 200) break;
        g.error = s3_errc::no_credentials;
        g.why = "HTTP " + std::to_string(said.status);
        if (said.status < 500) break;
    }
    co_return g;
}

} // namespace wye::storage::s3
