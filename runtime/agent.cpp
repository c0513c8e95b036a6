// SPDX-License-Identifier: Apache-2.0
#include <wye/agent.hpp>

#include <algorithm>
#include <utility>

#include <wye/drivers.hpp>
#include <wye/s3.hpp>

#include "engine.hpp"
#include "eventual.hpp"
#include "ledger.hpp"

namespace wye {

namespace {

constexpr std::size_t most_a_page = 1000; // keys, as S3 gives them

detail::engine& checked(detail::engine& e)
{
    if (!e.loop().here()) throw system_error(errc::wrong_thread);
    return e;
}

} // namespace

agent::agent(wye::runtime& rt, std::string name, const agent_options& o)
    : runtime_{&rt}, engine_{std::make_unique<detail::engine>(detail::full(rt.loop()), std::move(name), o)}
{
    if (!o.default_drivers) return;
    add(drivers::host());
    add(drivers::file());
    add(drivers::directory());
#ifdef WYE_HAS_S3
    add(make_s3());
#endif
}

agent::~agent() = default;

const std::string& agent::name() const noexcept { return engine_->name(); }
driver& agent::add(std::unique_ptr<driver> d) { return checked(*engine_).add(std::move(d)); }

task<region> agent::register_memory(memory m)
{
    detail::engine& e = checked(*engine_);
    if (!m.base && m.bytes) throw system_error(errc::invalid_slice, "memory without an address");
    auto s = std::make_unique<segment>(m.tier);
    s->base = m.base;
    s->length = m.bytes;
    s->device = m.device;
    for (std::size_t i = 0; i < e.drivers().size(); ++i) { // by index: one more may be added meanwhile
        driver* const by = e.drivers()[i].get();
        segment* const it = s.get();
        const auto enlist = [by, it](auto done) { by->enlist(*it, std::move(done)); };
        const error_code failed = co_await detail::eventually<error_code>(e.loop(), enlist);
        if (!failed) continue;
        while (i != 0) e.drivers()[--i]->dismiss(*it);
        throw system_error(failed, std::string{by->name()});
    }
    e.adopt(*s);
    co_return region{detail::segment_handle{std::move(s), true}};
}

namespace {

/// A file that is open gets known to the drivers that move what others have opened. It is adopted already, so that it may go
/// meanwhile, and so that a driver that comes meanwhile hears of it there.
task<> introduce(detail::engine& e, segment& file)
{
    const std::size_t known = e.drivers().size();
    for (std::size_t i = 0; i < known; ++i) {
        driver* const by = e.drivers()[i].get();
        segment* const it = &file;
        if (!by->takes_files()) continue;
        const auto enlist = [by, it](auto done) { by->enlist(*it, std::move(done)); };
        static_cast<void>(co_await detail::eventually<error_code>(e.loop(), enlist)); // without it the file is staged
        file.kind = e.kind_of(file);
    }
}

} // namespace

task<file> agent::open_file(std::string path, file_options o)
{
    detail::engine& e = checked(*engine_);
    for (const auto& d : e.drivers()) {
        if (!d->opens_files()) continue;
        driver* const by = d.get();
        using opened = std::pair<error_code, std::shared_ptr<std::unique_ptr<segment>>>;
        const auto open = [by, path, o](auto done) {
            by->open_file(path, o, [done](error_code failed, std::unique_ptr<segment> s) {
                done(opened{failed, std::make_shared<std::unique_ptr<segment>>(std::move(s))});
            });
        };
        opened r = co_await detail::eventually<opened>(e.loop(), open);
        if (r.first) throw system_error(r.first, path);
        std::unique_ptr<segment> s = std::move(*r.second);
        s->home = by;
        s->access = o.access;
        e.adopt(*s);
        co_await introduce(e, *s);
        co_return file{detail::segment_handle{std::move(s), true}};
    }
    throw system_error(errc::not_supported, "no driver opens files");
}

/// Among drivers that serve it the last one added, so that one with options of its own comes before the agent's.
task<bucket> agent::open_bucket(std::string url, access a)
{
    detail::engine& e = checked(*engine_);
    for (std::size_t i = e.drivers().size(); i-- > 0;) {
        driver* const by = e.drivers()[i].get();
        if (!by->serves(url)) continue;
        using opened = std::pair<error_code, std::shared_ptr<std::unique_ptr<object_store>>>;
        const auto open = [by, url, a](auto done) {
            by->open_store(url, a, [done](error_code failed, std::unique_ptr<object_store> s) {
                done(opened{failed, std::make_shared<std::unique_ptr<object_store>>(std::move(s))});
            });
        };
        opened r = co_await detail::eventually<opened>(e.loop(), open);
        if (r.first) throw system_error(r.first, url);
        std::unique_ptr<object_store> s = std::move(*r.second);
        co_return bucket{std::move(s), e, *by};
    }
    throw system_error(errc::not_supported, "no driver serves " + url);
}

prepared agent::prepare(std::vector<slice> blocks) const
{
    for (const slice& s : blocks) {
        if (!s.of || s.of->engine != engine_.get()) throw system_error(errc::invalid_slice);
        if (s.offset > s.of->length || s.length > s.of->length - s.offset) throw system_error(errc::out_of_range);
    }
    return prepared{std::move(blocks)};
}

route_plan agent::explain(const slice& from, const slice& to) const { return checked(*engine_).explain(from, to); }

task<notification> agent::notified(const wanted& w)
{
    return checked(*engine_).notes().wait(std::string{w.key}, std::string{w.peer}, w.count, w.deadline);
}

task<> agent::publish(std::string name, const region& r, access a)
{
    detail::engine& e = checked(*engine_);
    const slice all = r;
    segment* const s = all.of;
    if (!s || s->engine != &e) throw system_error(errc::invalid_slice, name);
    return e.others().publish(std::move(name), *s, a);
}

task<> agent::publish(std::string name, const file& f, access a)
{
    detail::engine& e = checked(*engine_);
    segment* const s = f.at(0, 0).of;
    if (!s || s->engine != &e) throw system_error(errc::invalid_slice, name);
    return e.others().publish(std::move(name), *s, std::min(a, s->access));
}

task<> agent::publish(std::string name, const bucket& b, access a)
{
    detail::engine& e = checked(*engine_);
    segment* const s = b.root();
    if (!s || s->engine != &e) throw system_error(errc::invalid_slice, name);
    return e.others().publish(std::move(name), *s, std::min(a, s->access));
}

task<> agent::unpublish(std::string name) { return checked(*engine_).others().unpublish(std::move(name)); }

task<> agent::revoke(std::string name, std::string peer)
{
    return checked(*engine_).others().revoke(std::move(name), std::move(peer));
}

std::vector<std::byte> agent::metadata() const { return checked(*engine_).others().metadata({}, true); }

std::vector<std::byte> agent::metadata(std::span<const std::string_view> names) const
{
    return checked(*engine_).others().metadata(names, false);
}

task<peer> agent::connect(std::vector<std::byte> metadata)
{
    return checked(*engine_).others().connect(std::move(metadata));
}

task<> agent::notify(const peer& to, std::string key, std::vector<std::byte> payload)
{
    detail::engine& e = checked(*engine_);
    if (!to || to.link()->of != &e.others()) throw system_error(errc::peer_lost);
    return e.others().notify(*to.link(), std::move(key), std::move(payload));
}

metrics agent::measure() const
{
    metrics m;
    checked(*engine_).count(m);
    return m;
}

task<> file::sync()
{
    segment* const s = segment_.get();
    if (!s || !s->engine) throw system_error(errc::invalid_slice);
    detail::engine& e = checked(*s->engine);
    const auto sync = [s](auto done) { s->home->sync(*s, std::move(done)); };
    const error_code failed = co_await detail::eventually<error_code>(e.loop(), sync);
    if (failed) throw system_error(failed, std::string{s->describe()});
}

namespace {

/// A call of a bucket that failed. What never reached a server has no story.
system_error failure_of(const error_code& e, const object_store& store, const std::string& key, const std::string& called)
{
    const bool asked = e.category() != wye_category() || e == errc::not_found;
    const std::string why = asked ? store.why(key) : std::string{};
    return {e, why.empty() ? called : why};
}

} // namespace

bucket::bucket(std::unique_ptr<object_store> store, detail::engine& e, driver& home)
    : store_{std::move(store)}, root_{std::make_unique<detail::bucket_root>(*store_)}, engine_{&e}, home_{&home}
{
    root_->home = home_;
    root_->access = store_->access();
    e.adopt(*root_);
}
bucket::~bucket() = default;

object bucket::object(std::string_view key) const
{
    auto s = store_->locate(std::string{key});
    if (!s) throw system_error(errc::bad_name, std::string{key});
    return named(std::move(s));
}

object bucket::object(std::string_view key, const object_condition& when) const
{
    auto s = store_->locate_if(std::string{key}, when);
    if (!s) throw system_error(store_->locate(std::string{key}) ? errc::not_supported : errc::bad_name, std::string{key});
    return named(std::move(s));
}

object bucket::named(std::unique_ptr<segment> s) const
{
    s->home = home_;
    s->access = store_->access();
    checked(*engine_).adopt(*s);
    return wye::object{detail::segment_handle{std::move(s), false}};
}

task<object_info> bucket::stat(std::string_view key) const
{
    detail::engine& e = checked(*engine_);
    using found = std::pair<error_code, object_info>;
    std::string name{key};
    object_store* const store = store_.get();
    const auto stat = [store, name](auto done) {
        store->stat(name, [done](error_code failed, object_info i) { done(found{failed, std::move(i)}); });
    };
    found r = co_await detail::eventually<found>(e.loop(), stat);
    if (r.first) throw failure_of(r.first, *store, name, name);
    co_return std::move(r.second);
}

task<std::vector<object_info>> bucket::list(std::string_view prefix) const
{
    detail::engine& e = checked(*engine_);
    using found = std::pair<error_code, object_page>;
    std::vector<object_info> all;
    const std::string under{prefix};
    object_store* const store = store_.get();
    for (bool more = true; more;) {
        const std::string after = all.empty() ? std::string{} : all.back().key;
        const auto list = [store, under, after](auto done) {
            store->list(under, after, most_a_page, [done](error_code failed, object_page p) {
                done(found{failed, std::move(p)});
            });
        };
        found r = co_await detail::eventually<found>(e.loop(), list);
        if (r.first) throw failure_of(r.first, *store, {}, under);
        more = r.second.more && !r.second.objects.empty();
        std::move(r.second.objects.begin(), r.second.objects.end(), std::back_inserter(all));
    }
    co_return all;
}

task<> bucket::remove(std::string_view key) const
{
    detail::engine& e = checked(*engine_);
    const std::string name{key};
    object_store* const store = store_.get();
    const auto remove = [store, name](auto done) { store->remove(name, std::move(done)); };
    const error_code failed = co_await detail::eventually<error_code>(e.loop(), remove);
    if (failed) throw failure_of(failed, *store, name, name);
}

task<> bucket::remove(std::vector<std::string> keys) const
{
    detail::engine& e = checked(*engine_);
    if (keys.empty()) co_return;
    object_store* const store = store_.get();
    const auto remove = [store, keys](auto done) { store->remove_all(keys, std::move(done)); };
    const error_code failed = co_await detail::eventually<error_code>(e.loop(), remove);
    if (failed) throw failure_of(failed, *store, {}, keys.front());
}

std::string bucket::why(std::string_view key) const { return store_->why(key); }

} // namespace wye
