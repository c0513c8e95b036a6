// SPDX-License-Identifier: Apache-2.0
#include "watch.hpp"

#include <algorithm>
#include <exception>
#include <utility>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/ssl/error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/json/serialize.hpp>

#include <wye/join.hpp>

#include "base64.hpp"
#include "names.hpp"
#include "time_left.hpp"

namespace wye::detail::etcd {

namespace asio = boost::asio;
namespace json = boost::json;

namespace {

/// Of changes that nobody has taken; then etcd has to wait.
constexpr std::size_t most_untold = 4096;
constexpr auto long_time = std::chrono::hours{24};

std::uint64_t revision_in(const json::object& answer) { return number_in(object_in(answer, "header"), "revision"); }

/// Nothing for what is none of ours.
std::string name_in(const json::object& kv, const std::string& prefix)
{
    const auto key = from_base64(text_in(kv, "key"));
    if (!key) return {};
    std::string name{reinterpret_cast<const char*>(key->data()), key->size()};
    if (!name.starts_with(prefix)) return {};
    name.erase(0, prefix.size());
    if (!is_entry_name(name)) name.clear();
    return name;
}

directory::entry entry_in(const json::object& kv)
{
    directory::entry e;
    e.version = number_in(kv, "mod_revision");
    if (auto value = from_base64(text_in(kv, "value"))) e.metadata = std::move(*value);
    return e;
}

} // namespace

key_range key_range::all(std::string prefix)
{
    std::string end = prefix; // which ends with a letter or a slash
    ++end.back();
    return {std::move(prefix), std::move(end)};
}

json::object key_range::to_json() const
{
    json::object o;
    o["key"] = to_base64(key);
    if (!end.empty()) o["range_end"] = to_base64(end);
    return o;
}

task<listed> list(std::shared_ptr<client> c, key_range keys, bool keys_only, duration within)
{
    json::object question = keys.to_json();
    if (keys_only) question["keys_only"] = true;
    const json::object answer = co_await client::call(c, "/v3/kv/range", json::serialize(question), within);
    listed all;
    all.revision = revision_in(answer);
    const json::value* const kvs = answer.if_contains("kvs");
    if (!kvs || !kvs->is_array()) co_return all;
    for (const json::value& v : kvs->get_array()) {
        if (!v.is_object()) continue;
        std::string name = name_in(v.get_object(), c->of().prefix);
        if (!name.empty()) all.entries.emplace(std::move(name), entry_in(v.get_object()));
    }
    co_return all;
}

/// Shared with the coroutine that listens, which ends when the watch goes.
struct watch::state {
    state(std::shared_ptr<client> c, key_range k)
        : by{std::move(c)}, keys{std::move(k)}, woken{by->loop().get_executor()}, taken{by->loop().get_executor()}
    {
    }

    static task<> listen(std::shared_ptr<state>);
    static task<> look(std::shared_ptr<state>);
    static task<> follow(std::shared_ptr<state>);
    static task<> read(std::shared_ptr<state>, std::shared_ptr<http_line>, std::size_t at);
    static task<> check(std::shared_ptr<state>);
    static task<std::vector<directory_change>> take(std::shared_ptr<state>, duration at_most);
    bool heard(std::size_t at, std::string_view message);
    void take_event(const json::object&);
    [[noreturn]] void refused(std::size_t at, const std::string& why) const;

    const std::shared_ptr<client> by;
    const key_range keys;
    asio::cancellation_signal stop;
    asio::steady_timer woken, taken; ///< there is something to take; it was taken
    roster who;
    roster::changes news;
    std::uint64_t next = 0;          ///< the first revision that was not told yet
    bool current = false;            ///< what follows from `next` on is all that is missing
    bool looked = false, told = false, over = false;
    unsigned failures = 0;           ///< in a row
    std::optional<system_error> refusal;
};

watch::watch(std::shared_ptr<client> c, key_range k) : state_{std::make_shared<state>(std::move(c), std::move(k))}
{
    asio::co_spawn(state_->by->loop(), state::listen(state_),
                   asio::bind_cancellation_slot(state_->stop.slot(), [s = state_](std::exception_ptr e) {
                       if (e && !s->over) std::rethrow_exception(e); // no memory: out of `run`
                   }));
}

watch::~watch()
{
    state_->over = true;
    state_->stop.emit(asio::cancellation_type::terminal);
}

task<std::vector<directory_change>> watch::next(duration at_most) { return state::take(state_, at_most); }

task<std::vector<directory_change>> watch::state::take(std::shared_ptr<state> s, duration at_most)
{
    const time_left left = time_left::of(at_most);
    for (;;) {
        if (s->looked && (!s->told || !s->news.empty())) {
            s->told = true;
            s->taken.cancel();
            co_return std::exchange(s->news, {});
        }
        if (s->refusal) throw *s->refusal;
        if (left.over()) {
            if (!s->looked) throw s->by->trouble();
            co_return roster::changes{};
        }
        s->woken.expires_after(std::min<duration>(left.now(), long_time));
        error_code ignored;
        co_await s->woken.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    }
}

task<> watch::state::listen(std::shared_ptr<state> s)
{
    while (!s->over) {
        const bool looked = s->current;
        const std::size_t at = s->by->current();
        std::optional<system_error> failed;
        try {
            if (!s->current) co_await look(s);
            co_await follow(s);
        } catch (const system_error& e) {
            failed = e;
        }
        if (s->over) co_return;
        if (!failed) continue; // look again
        const bool hopeless = !looked && !s->current && failed->code().category() == asio::error::get_ssl_category();
        if (is_refusal(failed->code()) || hopeless) {
            s->refusal = failed;
            s->woken.cancel();
            co_return;
        }
        s->by->report(*failed);
        s->by->leave(at);
        co_await s->by->loop().sleep(s->by->pause_after(s->failures++), asio::use_awaitable);
    }
}

/// All that is there; what differs from what was known is news.
task<> watch::state::look(std::shared_ptr<state> s)
{
    listed all = co_await list(s->by, s->keys, false, s->by->of().options.give_up_after);
    s->who.become(std::move(all.entries), s->news);
    s->next = all.revision + 1;
    s->current = s->looked = true;
    s->woken.cancel();
}

/// Until the connection breaks, which is thrown, or until it is time to look again.
task<> watch::state::follow(std::shared_ptr<state> s)
{
    json::object create = s->keys.to_json(), question;
    create["start_revision"] = std::to_string(s->next);
    question["create_request"] = std::move(create);
    const std::size_t at = s->by->current();
    std::shared_ptr<http_line> line = co_await client::stream(s->by, "/v3/watch", json::serialize(question));
    task<> reads = read(s, std::move(line), at), checks = check(s);
    co_await race(std::move(reads), std::move(checks));
}

task<> watch::state::read(std::shared_ptr<state> s, std::shared_ptr<http_line> line, std::size_t at)
{
    std::string text;
    for (;;) {
        const std::string some = co_await line->some();
        if (some.empty()) throw system_error(asio::error::eof, s->by->name_of(at));
        text += some;
        for (std::size_t end; (end = text.find('\n')) != text.npos; text.erase(0, end + 1))
            if (!s->heard(at, std::string_view{text}.substr(0, end))) co_return;
        while (s->news.size() >= most_untold) {
            s->taken.expires_after(long_time);
            error_code ignored;
            co_await s->taken.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
        }
    }
}

/// A connection that carries nothing may have broken without a word: then others know what it has not told.
task<> watch::state::check(std::shared_ptr<state> s)
{
    for (;;) {
        co_await s->by->loop().sleep(s->by->of().options.check_after, asio::use_awaitable);
        const listed now = co_await list(s->by, s->keys, true, s->by->of().options.give_up_after);
        const auto same = [&](const auto& e) { return s->who.version(e.first) == e.second.version; };
        const bool all = now.entries.size() == s->who.versions().size();
        if (all && std::all_of(now.entries.begin(), now.entries.end(), same)) continue;
        s->current = false;
        co_return;
    }
}

/// False when it is time to look again.
bool watch::state::heard(std::size_t at, std::string_view message)
{
    const json::object m = by->judge(at, 200, message);
    if (number_in(m, "compact_revision") != 0 || revision_in(m) + 1 < next) // what we know of is gone, or never was
        return current = false;
    if (m.contains("canceled")) refused(at, text_in(m, "cancel_reason"));
    failures = 0;
    if (const json::value* const events = m.if_contains("events"); events && events->is_array())
        for (const json::value& e : events->get_array())
            if (e.is_object()) take_event(e.get_object());
    if (!news.empty()) woken.cancel();
    return true;
}

void watch::state::take_event(const json::object& e)
{
    const json::object& kv = object_in(e, "kv");
    const std::uint64_t revision = number_in(kv, "mod_revision");
    const std::string name = name_in(kv, by->of().prefix);
    // The revision of the store may be ahead of what was told so far; that of an event is not.
    next = std::max(next, revision + 1);
    if (name.empty() || revision <= who.version(name)) return;
    if (text_in(e, "type") == "DELETE") who.remove(name, news);
    else who.put(name, entry_in(kv), news);
}

void watch::state::refused(std::size_t at, const std::string& why) const
{
    constexpr int permission_denied = 7, unavailable = 14;
    const bool denied = why.find("permission denied") != why.npos;
    throw system_error({denied ? permission_denied : unavailable, etcd_category()}, by->name_of(at) + ": the watch: " + why);
}

} // namespace wye::detail::etcd
