// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <map>
#include <memory>
#include <utility>

#include <boost/json/serialize.hpp>

#include <wye/etcd.hpp>

#include "base64.hpp"
#include "names.hpp"
#include "peers/wire.hpp"
#include "time_left.hpp"
#include "watch.hpp"

namespace wye {

namespace detail::etcd {

namespace json = boost::json;

namespace {

constexpr int not_found = 5;

/// What was put with a ttl, and the lease that it is under.
struct held {
    std::uint64_t lease = 0;
    duration ttl{};
};

/// A client, and what this directory object has put. Calls hold it.
struct store {
    store(runtime& rt, settings s) : by{std::make_shared<client>(rt, std::move(s))} {}

    static task<> put(std::shared_ptr<store>, std::string name, wire::bytes metadata, duration ttl);
    static task<bool> keep(std::shared_ptr<store>, std::string name, duration ttl);
    static task<std::optional<directory::entry>> get(std::shared_ptr<client>, std::string name);
    static task<> remove(std::shared_ptr<store>, std::string name);
    static task<std::optional<directory::entry>> changed(std::shared_ptr<client>, std::string name, std::uint64_t seen,
                                                         duration at_most);

    const std::shared_ptr<client> by;
    std::map<std::string, held> holds;

private:
    static task<std::uint64_t> grant(std::shared_ptr<client>, duration ttl);
    static task<> revoke(std::shared_ptr<client>, std::uint64_t lease);
};

std::string question_of_lease(std::uint64_t lease)
{
    json::object o;
    o["ID"] = std::to_string(lease);
    return json::serialize(o);
}

task<std::uint64_t> store::grant(std::shared_ptr<client> c, duration ttl)
{
    json::object question;
    question["TTL"] = std::to_string(std::chrono::ceil<std::chrono::seconds>(ttl).count());
    const json::object answer = co_await client::call(c, "/v3/lease/grant", json::serialize(question), c->of().options.give_up_after);
    co_return number_in(answer, "ID");
}

/// One that has expired is no error.
task<> store::revoke(std::shared_ptr<client> c, std::uint64_t lease)
{
    try {
        co_await client::call(c, "/v3/lease/revoke", question_of_lease(lease), c->of().options.give_up_after);
    } catch (const system_error& e) {
        if (e.code() != error_code{not_found, etcd_category()}) throw;
    }
}

task<> store::put(std::shared_ptr<store> s, std::string name, wire::bytes metadata, duration ttl)
{
    check_entry_name(name);
    if (metadata.size() > wire::most_metadata || ttl < duration{}) throw system_error(errc::out_of_range, name);
    const std::shared_ptr<client> c = s->by;
    held before;
    if (const auto it = s->holds.find(name); it != s->holds.end()) before = it->second;
    held now{ttl != duration{} && before.ttl == ttl ? before.lease : 0, ttl};
    json::object question;
    question["key"] = to_base64(c->of().prefix + name);
    question["value"] = to_base64(metadata);
    for (bool put = false; !put;) {
        const bool old = now.lease != 0;
        if (!old && ttl != duration{}) now.lease = co_await grant(c, ttl);
        if (now.lease != 0) question["lease"] = std::to_string(now.lease);
        try {
            co_await client::call(c, "/v3/kv/put", json::serialize(question), c->of().options.give_up_after);
            put = true;
        } catch (const system_error& e) {
            if (!old || e.code() != error_code{not_found, etcd_category()}) throw;
            now.lease = 0; // it has expired
        }
    }
    if (now.lease != 0) s->holds[name] = now;
    else s->holds.erase(name);
    if (before.lease != 0 && before.lease != now.lease) co_await revoke(c, before.lease);
}

task<bool> store::keep(std::shared_ptr<store> s, std::string name, duration ttl)
{
    check_entry_name(name);
    const auto it = s->holds.find(name);
    if (it == s->holds.end() || it->second.ttl != ttl) co_return false;
    const std::uint64_t lease = it->second.lease;
    // What takes longer would come too late for the next one, and a lost lease is to be found out.
    const duration within = std::min(s->by->of().options.give_up_after, ttl / 3);
    const json::object answer = co_await client::call(s->by, "/v3/lease/keepalive", question_of_lease(lease), within);
    if (number_in(answer, "TTL") != 0) co_return true;
    s->holds.erase(name);
    co_return false;
}

task<std::optional<directory::entry>> store::get(std::shared_ptr<client> c, std::string name)
{
    check_entry_name(name);
    key_range key = key_range::one(c->of().prefix + name);
    listed found = co_await list(c, std::move(key), false, c->of().options.give_up_after);
    if (found.entries.empty()) co_return std::nullopt;
    co_return std::move(found.entries.begin()->second);
}

task<> store::remove(std::shared_ptr<store> s, std::string name)
{
    check_entry_name(name);
    const auto it = s->holds.find(name);
    if (it != s->holds.end()) { // with the lease goes what is under it, and nothing else
        const std::uint64_t lease = it->second.lease;
        co_await revoke(s->by, lease);
        s->holds.erase(name);
        co_return;
    }
    const json::object question = key_range::one(s->by->of().prefix + name).to_json();
    co_await client::call(s->by, "/v3/kv/deleterange", json::serialize(question), s->by->of().options.give_up_after);
}

task<std::optional<directory::entry>> store::changed(std::shared_ptr<client> c, std::string name, std::uint64_t seen, duration at_most)
{
    check_entry_name(name);
    if (at_most <= duration{}) { // a look, which takes its time
        std::optional<directory::entry> there = co_await get(c, std::move(name));
        co_return there;
    }
    const time_left left = time_left::of(at_most);
    watch w{c, key_range::one(c->of().prefix + name)};
    std::optional<directory::entry> now;
    for (bool first = true;; first = false) {
        std::vector<directory_change> news = co_await w.next(left.now());
        for (directory_change& n : news) {
            now.reset();
            if (n.what != directory_change::kind::left) now = std::move(n.entry);
        }
        const std::uint64_t version = now ? now->version : 0;
        if (version != seen || (news.empty() && !first)) co_return now;
    }
}

class in_etcd final : public directory {
public:
    in_etcd(runtime& rt, settings s) : store_{std::make_shared<store>(rt, std::move(s))} {}

    task<> put(std::string name, std::vector<std::byte> metadata, duration ttl) override
    {
        return store::put(store_, std::move(name), std::move(metadata), ttl);
    }
    task<bool> keep(std::string name, duration ttl) override
    {
        return store::keep(store_, std::move(name), ttl);
    }
    task<std::optional<entry>> get(std::string name) override
    {
        return store::get(store_->by, std::move(name));
    }
    task<> remove(std::string name) override
    {
        return store::remove(store_, std::move(name));
    }
    task<std::optional<entry>> changed(std::string name, std::uint64_t seen, duration at_most) override
    {
        return store::changed(store_->by, std::move(name), seen, at_most);
    }
    std::unique_ptr<directory_watch> watch(std::string prefix) override
    {
        check_entry_prefix(prefix);
        return std::make_unique<etcd::watch>(store_->by, key_range::all(store_->by->of().prefix + prefix));
    }

private:
    const std::shared_ptr<store> store_;
};

} // namespace

} // namespace detail::etcd

std::unique_ptr<directory> etcd_directory(runtime& rt, std::string url, const etcd_options& o)
{
    return std::make_unique<detail::etcd::in_etcd>(rt, detail::etcd::read_settings(url, o));
}

} // namespace wye
