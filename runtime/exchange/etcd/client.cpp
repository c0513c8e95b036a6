// SPDX-License-Identifier: Apache-2.0
#include "client.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include <boost/asio/ssl/error.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include "time_left.hpp"

namespace wye::detail::etcd {

namespace asio = boost::asio;
namespace json = boost::json;
using namespace std::chrono_literals;

namespace {

constexpr std::size_t most_connections = 4;               ///< of one directory, beside its watches
constexpr std::size_t most_answer = 256 * 1024 * 1024;    ///< a listing of everybody
constexpr duration first_pause = 50ms, longest_pause = 1s;

enum grpc { unknown = 2, unimplemented = 12, unavailable = 14, unauthenticated = 16 };

error_code etcd_error(std::uint64_t code) noexcept { return {static_cast<int>(code), etcd_category()}; }

} // namespace

std::uint64_t number_in(const json::object& o, std::string_view key)
{
    const json::value* const v = o.if_contains(key);
    std::uint64_t n = 0;
    if (!v) return n;
    if (const json::string* const s = v->if_string()) std::from_chars(s->data(), s->data() + s->size(), n);
    else if (const std::int64_t* const i = v->if_int64()) n = static_cast<std::uint64_t>(std::max<std::int64_t>(0, *i));
    return n;
}

std::string text_in(const json::object& o, std::string_view key)
{
    const json::value* const v = o.if_contains(key);
    if (!v || !v->is_string()) return {};
    return std::string{v->get_string()};
}

const json::object& object_in(const json::object& o, std::string_view key)
{
    static const json::object none;
    const json::value* const v = o.if_contains(key);
    return v && v->is_object() ? v->get_object() : none;
}

bool is_refusal(const error_code& e) noexcept
{
    constexpr std::array lasting{3, 5, 6, 7, 9, 11, 12, 16};
    return e.category() == etcd_category() && std::find(lasting.begin(), lasting.end(), e.value()) != lasting.end();
}

client::client(runtime& rt, settings s) : runtime_{rt}, settings_{std::move(s)}, slots_{rt.get_executor(), most_connections}
{
    if (settings_.secured) tls_.emplace(calling_context(settings_.options.tls, TLS1_2_VERSION));
}

std::string client::name_of(std::size_t endpoint) const { return "etcd " + settings_.endpoints[endpoint].to_string(); }

void client::leave(std::size_t at) noexcept
{
    if (current_ == at) current_ = (at + 1) % settings_.endpoints.size();
}

void client::report(const system_error& e) const
{
    if (settings_.options.failed) settings_.options.failed(e.what());
}

system_error client::trouble() const
{
    if (trouble_) return *trouble_;
    return system_error(errc::deadline_missed, name_of(current_) + " has not answered yet");
}

duration client::pause_after(unsigned rounds)
{
    const duration most = std::min(longest_pause, first_pause * (1u << std::min(rounds, 10u)));
    return most / 2 + duration{std::uniform_int_distribution<std::int64_t>{0, most.count() / 2}(random_)};
}

task<json::object> client::call(std::shared_ptr<client> c, std::string path, std::string question, duration within)
{
    const time_left left = time_left::of(within);
    const std::size_t endpoints = c->settings_.endpoints.size();
    std::size_t hopeless = 0; // in a row
    std::optional<system_error> known;
    for (unsigned tries = 1;; ++tries) {
        // One that says nothing leaves time for the others.
        const std::size_t turns = endpoints - (tries - 1) % endpoints;
        const duration share = std::min(c->settings_.options.answer_within, left.now() / static_cast<std::int64_t>(turns));
        const std::size_t at = c->current_;
        std::optional<system_error> failed;
        try {
            json::object answer = co_await attempt(c, at, path, question, share);
            c->trouble_.reset();
            co_return answer;
        } catch (const system_error& e) {
            failed = e;
        }
        const asio::cancellation_state cancelled = co_await asio::this_coro::cancellation_state;
        if (cancelled.cancelled() != asio::cancellation_type::none) throw system_error(asio::error::operation_aborted, "etcd");
        c->leave(at);
        // An attempt that was given less than an answer's time says little by being late: rather what was said before.
        const bool cut_short = share < c->settings_.options.answer_within && failed->code() == asio::error::timed_out;
        if (!known || !cut_short) known = failed;
        hopeless = failed->code().category() == asio::error::get_ssl_category() ? hopeless + 1 : 0;
        const bool round = tries % endpoints == 0;
        const duration pause = round ? c->pause_after(tries / static_cast<unsigned>(endpoints) - 1) : duration{};
        if (is_refusal(failed->code()) || hopeless >= endpoints || left.now() <= pause) throw *known;
        c->trouble_ = known;
        c->report(*failed);
        if (round) co_await c->runtime_.sleep(pause, asio::use_awaitable);
    }
}

task<json::object> client::attempt(std::shared_ptr<client> c, std::size_t at, std::string path, std::string question, duration within)
{
    const time_left left = time_left::of(within);
    error_code failed;
    said answer;
    try {
        if (c->must_log_in()) co_await log_in(c, at, left.now());
        answer = co_await ask(c, at, path, question, left.now());
        if (c->forget_token(answer)) { // it has expired, or etcd has been started again
            co_await log_in(c, at, left.now());
            answer = co_await ask(c, at, path, question, left.now());
        }
    } catch (const system_error& e) {
        if (e.code().category() == etcd_category()) throw; // it says all there is to say
        failed = e.code();
    }
    if (failed) throw system_error(failed, c->name_of(at));
    co_return c->judge(at, answer.status, answer.text);
}

/// Without a token, or with one that is no good, etcd says one of two things.
bool client::forget_token(const said& s)
{
    if (settings_.options.user.empty() || s.status == 200) return false;
    const bool stale = s.text.find("invalid auth token") != s.text.npos || s.text.find("user name is empty") != s.text.npos;
    if (stale) token_.clear();
    return stale;
}

task<> client::log_in(std::shared_ptr<client> c, std::size_t at, duration within)
{
    const etcd_options& o = c->settings_.options;
    json::object question;
    question["name"] = o.user;
    question["password"] = o.password;
    const said answer = co_await ask(c, at, "/v3/auth/authenticate", json::serialize(question), within);
    if (answer.text.find("authentication is not enabled") != answer.text.npos) co_return; // then nobody needs a token
    c->token_ = text_in(c->judge(at, answer.status, answer.text), "token");
}

task<client::said> client::ask(std::shared_ptr<client> c, std::size_t at, std::string path, std::string question, duration within)
{
    const time_left left = time_left::of(within);
    const slots::slot one = co_await c->slots_.take(left.now());
    for (;;) {
        std::unique_ptr<http_line> line = c->take_idle(at);
        const bool used = line != nullptr;
        if (!used) line = co_await dial(c, at, left.now());
        line->allow(left.now());
        bool stale = false;
        try {
            said answer;
            answer.status = co_await line->ask(c->settings_.endpoints[at].to_string(), path, c->token_, question);
            answer.text = co_await line->rest_of_body(most_answer);
            c->give_back(at, std::move(line));
            co_return answer;
        } catch (const system_error& e) {
            if (line->late()) throw system_error(asio::error::timed_out);
            // The server had closed it, as one that was started again has, and the others too.
            stale = used && line->silent();
            if (!stale) throw;
        }
        std::erase_if(c->idle_, [at](const idle_line& i) { return i.at == at; });
    }
}

task<std::unique_ptr<http_line>> client::dial(std::shared_ptr<client> c, std::size_t at, duration within)
{
    auto line = std::make_unique<http_line>(c->runtime_.get_executor());
    const place& p = c->settings_.endpoints[at];
    const tls_options& t = c->settings_.options.tls;
    // Without verification there is no name to hold it to.
    const std::string host = !t.verify ? std::string{} : t.host.empty() ? p.host : t.host;
    try {
        co_await line->open(p, c->tls_ ? &*c->tls_ : nullptr, host, std::min(within, c->settings_.options.connect_within));
    } catch (const system_error&) {
        if (line->late()) throw system_error(asio::error::timed_out);
        throw;
    }
    line->rest();
    co_return line;
}

std::unique_ptr<http_line> client::take_idle(std::size_t at)
{
    const auto it = std::find_if(idle_.begin(), idle_.end(), [at](const idle_line& i) { return i.at == at; });
    if (it == idle_.end()) return nullptr;
    auto line = std::move(it->line);
    idle_.erase(it);
    return line;
}

void client::give_back(std::size_t at, std::unique_ptr<http_line> line)
{
    line->rest();
    if (line->reusable() && at == current_ && idle_.size() < most_connections) idle_.push_back({at, std::move(line)});
    std::erase_if(idle_, [this](const idle_line& i) { return i.at != current_; });
}

task<std::unique_ptr<http_line>> client::stream(std::shared_ptr<client> c, std::string path, std::string question)
{
    const std::size_t at = c->current_;
    const duration within = c->settings_.options.answer_within;
    error_code failed;
    try {
        if (c->must_log_in()) co_await log_in(c, at, within);
        std::unique_ptr<http_line> line = co_await dial(c, at, within);
        line->allow(within);
        const unsigned status = co_await line->ask(c->settings_.endpoints[at].to_string(), path, c->token_, question);
        line->rest();
        if (status == 200) co_return line;
        line->allow(within);
        said refused;
        refused.status = status;
        refused.text = co_await line->rest_of_body(most_answer);
        c->forget_token(refused);
        c->judge(at, refused.status, refused.text);
        failed = etcd_error(unknown);
    } catch (const system_error& e) {
        if (e.code().category() == etcd_category()) throw;
        failed = e.code();
    }
    throw system_error(failed, c->name_of(at));
}

json::object client::judge(std::size_t at, unsigned status, std::string_view text) const
{
    const std::string where = name_of(at) + ": HTTP " + std::to_string(status);
    error_code malformed;
    const json::value parsed = json::parse({text.data(), text.size()}, malformed);
    if (malformed || !parsed.is_object()) {
        const auto code = status >= 500 ? unavailable : unimplemented;
        throw system_error(etcd_error(code), where + ", and no word of etcd's");
    }
    const json::object& o = parsed.get_object();
    // Of a stream the answer, or the error, is one level down.
    if (const json::object& result = object_in(o, "result"); !result.empty()) return result;
    const json::object& error = object_in(o, "error");
    if (status == 200 && !o.contains("error")) return o;
    const json::object& words = error.empty() ? o : error;
    std::uint64_t code = number_in(words, error.empty() ? "code" : "grpc_code");
    if (code == 0) code = unknown;
    std::string message = text_in(words, "message");
    if (message.empty()) message = text_in(words, "error");
    throw system_error(etcd_error(code), where + ": " + message);
}

} // namespace wye::detail::etcd
