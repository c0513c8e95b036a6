// SPDX-License-Identifier: Apache-2.0
// The OBJ tier: whole objects by key, in sessions, over a network that has its moods.

#include <algorithm>
#include <cerrno>

#include "device_driver.hpp"

namespace wye::sim::detail {

namespace {

struct object_segment final : segment {
    explicit object_segment(std::string k) : segment{tier::object}, key{std::move(k)} { length = unbounded; }
    std::string_view describe() const noexcept override { return key; }
    const std::string key;
};

using object_pointer = std::shared_ptr<const stored_object>;

class store final : public device_driver {
public:
    explicit store(machine& m) : device_driver{m, m.store} {}
    ~store() override
    {
        if (!sessions_.empty()) complain("destroyed with sessions open");
    }

    bool carries(const slice& from, const slice& to) const noexcept override
    {
        const auto mine = [&](const slice& s) { return s.tier() == tier::object && (!s.of->home || s.of->home == this); };
        return (from.tier() == tier::dram && mine(to)) || (mine(from) && to.tier() == tier::dram);
    }
    bool serves(std::string_view url) const noexcept override { return url.starts_with("sim:"); }
    void open_store(std::string url, wye::access, std::function<void(error_code, std::unique_ptr<object_store>)>) override;

    /// For the buckets: what there is, and a way to say it later.
    std::map<std::string, object_pointer>& objects() const noexcept { return machine_.in.objects; }
    void later(std::function<void(error_code)> f)
    {
        answer([this, f = std::move(f)] { f(strikes(fault_kind::unavailable) ? io_error(EBUSY) : error_code{}); });
    }

private:
    /// An object that is being written, or read.
    struct session {
        std::string key;
        object_pointer read;
        bytes written;
        std::uint64_t landed = 0;
    };

    static bool puts(const chunk& c) noexcept { return c.to.of && c.to.tier() == tier::object; }
    static const std::string& key_of(const slice& s) noexcept { return static_cast<object_segment&>(*s.of).key; }
    object_pointer found(const slice& s) const
    {
        const auto it = objects().find(key_of(s));
        return it == objects().end() ? nullptr : it->second;
    }
    object_pointer read_by(const chunk& c) const { return c.session ? sessions_.at(c.session).read : found(c.from); }

    error_code io_error(int number) const noexcept override { return object_error(number); }
    bool stores() const noexcept override { return true; }
    bool must_be_whole(const chunk& c) const noexcept override { return puts(c) && c.sole; }

    void tempt(loan&) noexcept override;
    std::uint64_t available(const chunk&, error_code&) const override;
    std::byte* target(loan&, std::uint64_t at, std::uint64_t n) override;
    const std::byte* source(const loan& l, std::uint64_t at) const override
    {
        const chunk& c = *l.c;
        return puts(c) ? device_driver::source(l, at) : read_by(c)->data.data() + c.from.offset + at;
    }
    error_code conclude(loan&) override;
    void give_up(loan& l) override
    {
        if (l.c->step == step::commit) close(*l.c, false); // it ends the session however it goes
    }

    error_code open(chunk&);
    error_code close(chunk&, bool keep);
    error_code put(const chunk&, bytes);

    std::map<std::uintptr_t, session> sessions_;
    std::uintptr_t last_session_ = 0;
};

void store::tempt(loan& l) noexcept
{
    chunk& c = *l.c;
    if (l.error) return;
    if (strikes(fault_kind::unavailable)) {
        l.error = io_error(EBUSY);
        l.goal = 0;
    } else if (hazard* const slow = strikes(fault_kind::timeout)) {
        l.error = io_error(ETIMEDOUT);
        l.goal = slow->random.below(l.goal + 1);
        l.ends = machine_.in.now() + slow->fault.extent;
    } else if (!puts(c) && c.step == step::move && c.from.length != 0) {
        if (hazard* const h = strikes(fault_kind::truncate)) l.goal = h->random.below(c.from.length);
    }
    if (c.session && !sessions_.contains(c.session)) complain("a session that is over");
    if (c.step == step::move && !c.session && puts(c) && !c.sole) complain("a part of an object without a session");
}

std::uint64_t store::available(const chunk& c, error_code& e) const
{
    if (puts(c)) return c.from.length;
    const object_pointer o = read_by(c);
    if (!o) {
        e = errc::not_found;
        return 0;
    }
    const std::uint64_t size = o->data.size();
    if (!c.session && c.sole && size > c.from.offset + c.from.length) e = errc::length_mismatch;
    return c.from.offset >= size ? 0 : std::min(c.from.length, size - c.from.offset);
}

std::byte* store::target(loan& l, std::uint64_t at, std::uint64_t n)
{
    const chunk& c = *l.c;
    if (!puts(c)) return device_driver::target(l, at, n);
    bytes& b = c.session ? sessions_.at(c.session).written : l.gathered;
    const std::uint64_t end = c.to.offset + at + n;
    if (b.size() < end) b.resize(end);
    return b.data() + c.to.offset + at;
}

error_code store::conclude(loan& l)
{
    chunk& c = *l.c;
    switch (c.step) {
    case step::open: return open(c);
    case step::commit: return close(c, true);
    case step::abandon: return close(c, false);
    case step::move: break;
    }
    if (puts(c)) {
        if (!c.session) return put(c, std::move(l.gathered));
        sessions_.at(c.session).landed += l.moved;
        return {};
    }
    error_code e;
    available(c, e); // one of no bytes has not been looked at
    if (!e && c.from.offset == 0) {
        const object_pointer o = read_by(c);
        c.has_checksum = o->has_checksum && c.from.length >= o->data.size();
        c.checksum = c.has_checksum ? o->checksum : 0;
    }
    return e;
}

error_code store::open(chunk& c)
{
    const bool reads = c.from.of;
    if (reads && c.to.of) complain("an open that names both sides");
    session s{key_of(reads ? c.from : c.to), nullptr, {}, 0};
    if (reads) {
        if (!(s.read = found(c.from))) return errc::not_found;
        c.total = s.read->data.size();
        c.has_checksum = s.read->has_checksum && c.from.offset == 0 && c.from.length >= s.read->data.size();
        c.checksum = s.read->checksum;
    } else {
        s.written.resize(c.total);
    }
    sessions_.emplace(c.session = ++last_session_, std::move(s));
    return {};
}

error_code store::close(chunk& c, bool keep)
{
    const auto it = sessions_.find(c.session);
    if (it == sessions_.end()) return {};
    session s = std::move(it->second);
    sessions_.erase(it);
    if (!keep) return {};
    if (s.read || s.landed != c.total || s.written.size() != c.total) complain("a commit of an object that is not whole");
    return put(c, std::move(s.written));
}

error_code store::put(const chunk& c, bytes data)
{
    stored_object o{std::move(data), 0, c.has_checksum};
    if (c.has_checksum) o.checksum = static_cast<std::uint32_t>(c.checksum);
    objects()[key_of(c.to)] = std::make_shared<const stored_object>(std::move(o));
    return {};
}

/// A bucket: the objects whose keys begin with its name.
class bucket final : public object_store {
public:
    bucket(store& s, std::string name, wye::access a) : store_{s}, prefix_{std::move(name) + '/'}, access_{a} {}

    wye::access access() const noexcept override { return access_; }
    std::unique_ptr<segment> locate(std::string key) override
    {
        if (key.empty()) return nullptr;
        return std::make_unique<object_segment>(prefix_ + key);
    }
    void stat(std::string key, std::function<void(error_code, object_info)> done) override
    {
        store_.later([this, key = std::move(key), done = std::move(done)](error_code e) {
            const auto it = store_.objects().find(prefix_ + key);
            if (!e && it == store_.objects().end()) e = errc::not_found;
            if (e) return done(e, {});
            done({}, {key, it->second->data.size(), {}});
        });
    }
    void list(std::string prefix, std::string after, std::size_t most,
              std::function<void(error_code, object_page)> done) override
    {
        store_.later([this, prefix, after, most, done = std::move(done)](error_code e) {
            if (e) return done(e, {});
            done({}, page(prefix, after, most));
        });
    }
    void remove(std::string key, std::function<void(error_code)> done) override
    {
        store_.later([this, key = std::move(key), done = std::move(done)](error_code e) {
            if (!e) store_.objects().erase(prefix_ + key);
            done(e);
        });
    }

private:
    object_page page(const std::string& prefix, const std::string& after, std::size_t most) const
    {
        object_page p;
        for (auto it = store_.objects().upper_bound(prefix_ + after); it != store_.objects().end(); ++it) {
            if (!it->first.starts_with(prefix_ + prefix)) {
                if (it->first > prefix_ + prefix) break;
                continue;
            }
            if ((p.more = p.objects.size() == most)) break;
            p.objects.push_back({it->first.substr(prefix_.size()), it->second->data.size(), {}});
        }
        return p;
    }

    store& store_;
    const std::string prefix_;
    const wye::access access_;
};

void store::open_store(std::string url, wye::access a,
                       std::function<void(error_code, std::unique_ptr<object_store>)> done)
{
    answer([this, url = std::move(url), a, done = std::move(done)] {
        done({}, std::make_unique<bucket>(*this, url.substr(url.find(':') + 1), a));
    });
}

} // namespace

std::unique_ptr<driver> store_driver(machine& m) { return std::make_unique<store>(m); }

} // namespace wye::sim::detail
