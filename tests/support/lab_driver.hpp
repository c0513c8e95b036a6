// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <wye/driver.hpp>

/// A world in memory whose devices do what a test tells them: hold chunks, end them in any order, early, short or
/// in error, refuse them. It moves real bytes, in bits between `submit` and `done` as hardware does, and keeps a
/// list of everything the runtime does that the seam forbids (`bench::faults`).
namespace wye::lab {

using bytes = std::vector<std::byte>;

inline bytes pattern(std::size_t n, std::uint64_t seed = 1)
{
    std::mt19937_64 random{seed};
    bytes v(n);
    for (std::size_t i = 0; i < n; i += sizeof(std::uint64_t)) {
        const std::uint64_t word = random();
        std::memcpy(v.data() + i, &word, std::min(n - i, sizeof word));
    }
    return v;
}

/// The errors that lab devices report: each has a number of its own, so that it is known whose it is.
inline const boost::system::error_category& category() noexcept
{
    struct numbered final : boost::system::error_category {
        const char* name() const noexcept override { return "lab"; }
        std::string message(int value) const override { return "lab error " + std::to_string(value); }
    };
    static const numbered it;
    return it;
}

/// An object as it was put: whole, and never changed.
struct blob {
    bytes data;
    std::optional<std::uint32_t> sum;
};

/// What the devices of one world share: what they store, and what they saw.
struct bench {
    std::map<std::string, std::shared_ptr<bytes>> files;
    std::map<std::string, std::shared_ptr<const blob>> objects;
    std::vector<std::string> faults;
    int segments = 0;      ///< files and objects that are open
    int sessions = 0;      ///< of objects, not ended
    int last_error = 0;    ///< the number given out last
    /// Tells of bytes that reached `to`, as the device knows it; none, when the source ended.
    std::function<void(const slice& from, const slice& to, std::size_t)> landed =
        [](const slice&, const slice&, std::size_t) {};
    /// Tells of an error that a chunk between these two ends in.
    std::function<void(int number, const slice& from, const slice& to)> failed =
        [](int, const slice&, const slice&) {};

    void fault(std::string what) { faults.push_back(std::move(what)); }
};

class device;

/// A file or object of the bench.
struct stored_segment final : segment {
    stored_segment(wye::tier t, bench& b, std::string k) : segment{t}, on{b}, key{std::move(k)}
    {
        length = unbounded;
        ++on.segments;
    }
    ~stored_segment() override { --on.segments; }
    std::string_view describe() const noexcept override { return key; }

    bench& on;
    const std::string key;
};

/// How a device treats chunks. Chances are out of 256.
struct manners {
    unsigned at_once = 0;     ///< what may be moved at once is
    unsigned refuse = 0;      ///< a submit
    unsigned fail = 0;        ///< a chunk ends in an error
    unsigned shorten = 0;     ///< it ends with fewer bytes than asked, but some
    unsigned starve = 0;      ///< it ends with none
    unsigned most_polls = 0;  ///< before it ends
    bool hold = false;        ///< nothing ends until this is off
    bool refuse_all = false;
};

struct device_options {
    std::string name = "lab";
    std::function<bool(tier, tier)> carries = [](tier, tier) { return true; };
    wye::limits limits;
    bool stores = false; ///< opens files, and buckets at "lab:"
    std::uint32_t rails = 1;
    std::function<std::uint64_t(tier, tier)> rails_between = [](tier, tier) { return ~std::uint64_t{0}; };
};

/// One driver of a bench.
class device final : public driver {
public:
    device(bench& b, device_options o, std::uint64_t seed = 1) : bench_{b}, options_{std::move(o)}, random_{seed} {}
    ~device() override
    {
        if (!loans_.empty()) bench_.fault(options_.name + " is destroyed with chunks on loan");
    }

    wye::lab::manners manners;
    std::function<bool(const chunk&)> admits; ///< refuses what it says false to; empty admits all

    // What a test asks.
    std::size_t held() const noexcept { return loans_.size(); }
    std::size_t held_bytes() const noexcept { return held_bytes_; }
    std::size_t most_held_bytes() const noexcept { return most_held_bytes_; }
    std::size_t most_held() const noexcept { return most_held_; }
    std::uint64_t submits() const noexcept { return submits_; }
    std::uint64_t refusals() const noexcept { return refusals_; }
    std::uint64_t polls() const noexcept { return polls_; }
    std::uint64_t ends() const noexcept { return ends_; }
    const std::vector<segment*>& enlisted() const noexcept { return enlisted_; }
    /// The chunks it has, oldest first.
    std::vector<chunk*> chunks() const
    {
        std::vector<chunk*> all;
        for (const loan& l : loans_) all.push_back(l.c);
        return all;
    }
    /// Whether any chunk on loan reads or writes bytes of `s`.
    bool touches(const slice& s) const
    {
        const auto meets = [&](const slice& t) {
            return t.of == s.of && t.of && t.offset < s.offset + s.length && s.offset < t.offset + t.length;
        };
        return std::any_of(loans_.begin(), loans_.end(),
                           [&](const loan& l) { return meets(l.c->from) || meets(l.c->to); });
    }
    /// Ends one chunk at the next poll: whole, or as told.
    void release(const chunk* c, error_code e = {}, std::optional<std::size_t> n = {})
    {
        for (loan& l : loans_)
            if (l.c == c) {
                l.polls = 0;
                l.released = true;
                l.error = e;
                l.goal = n.value_or(c->from.length);
            }
    }

    // driver
    std::string_view name() const noexcept override { return options_.name; }
    wye::limits limits() const noexcept override { return options_.limits; }
    std::uint32_t rails() const noexcept override { return options_.rails; }
    std::uint64_t rails_between(const slice& from, const slice& to) const noexcept override
    {
        return options_.rails_between(from.tier(), to.tier());
    }
    bool carries(const slice& from, const slice& to) const noexcept override
    {
        const auto near = [&](const slice& s) { return !s.of->home || s.of->home == this; };
        return near(from) && near(to) && options_.carries(from.tier(), to.tier());
    }
    bool move_at_once(const slice& from, const slice& to) noexcept override;
    bool submit(chunk& c) noexcept override;
    void flush() noexcept override { unflushed_ = false; }
    std::size_t poll(turn) noexcept override;
    bool busy() const noexcept override { return !later_.empty(); }
    void enlist(segment& s, std::function<void(error_code)> done) override
    {
        enlisted_.push_back(&s);
        if (slow_enlist) later_.push_back([done = std::move(done)] { done({}); });
        else done(enlist_error);
    }
    void dismiss(segment& s) noexcept override
    {
        if (std::erase(enlisted_, &s) != 1) bench_.fault("dismiss of what was not enlisted");
    }
    bool opens_files() const noexcept override { return options_.stores; }
    void open_file(std::string path, const file_options&,
                   std::function<void(error_code, std::unique_ptr<segment>)> done) override
    {
        auto& data = bench_.files[path];
        if (!data) data = std::make_shared<bytes>();
        done({}, std::make_unique<stored_segment>(tier::file, bench_, std::move(path)));
    }
    bool serves(std::string_view url) const noexcept override { return options_.stores && url.starts_with("lab:"); }
    void open_store(std::string, wye::access,
                    std::function<void(error_code, std::unique_ptr<object_store>)> done) override;

    bool slow_enlist = false; ///< answers `enlist` when `answer` is called
    error_code enlist_error;
    /// Lets the next poll give the answers that are due.
    void answer() noexcept { answers_ = later_.size(); }

private:
    /// A chunk on loan, and what will become of it.
    struct loan {
        chunk* c;
        unsigned polls;
        std::size_t goal;
        error_code error;
        std::size_t moved = 0;
        bool released = false;
    };
    /// An object that is being written, or read.
    struct session {
        std::string key;
        std::shared_ptr<const blob> read;
        bytes written;
        std::size_t landed = 0;
    };

    bool chance(unsigned of_256) { return of_256 != 0 && random_() % 256 < of_256; }
    void inspect(const chunk&);
    loan plan(chunk&);
    void work(loan&);
    std::size_t available(const chunk&, error_code&) const;
    std::byte* reach(const slice&, const chunk&, std::size_t at, std::size_t n);
    void end(loan);
    error_code end_step(chunk&, std::size_t n);
    error_code open(chunk&);
    error_code close(chunk&, bool keep);
    error_code put(chunk&, const bytes&);
    std::shared_ptr<const blob> object(const slice& s) const
    {
        const auto it = bench_.objects.find(static_cast<const stored_segment&>(*s.of).key);
        return it == bench_.objects.end() ? nullptr : it->second;
    }
    static bool is_object(const slice& s) noexcept { return s.of && s.tier() == tier::object; }

    bench& bench_;
    device_options options_;
    std::mt19937_64 random_;
    std::vector<loan> loans_;
    std::map<chunk*, bytes> sole_; // what was gathered for an object that is written in one move
    std::map<std::uintptr_t, session> sessions_;
    std::uintptr_t last_session_ = 0;
    std::vector<segment*> enlisted_;
    std::deque<std::function<void()>> later_;
    std::size_t answers_ = 0;
    std::size_t held_bytes_ = 0, most_held_bytes_ = 0, most_held_ = 0;
    std::uint64_t submits_ = 0, refusals_ = 0, polls_ = 0, ends_ = 0;
    bool unflushed_ = false;
};

inline void device::inspect(const chunk& c)
{
    const auto say = [&](const char* what) { bench_.fault(options_.name + ": " + what); };
    const wye::limits& l = options_.limits;
    if (c.rail >= options_.rails) return say("a rail that it does not have");
    for (const loan& other : loans_)
        if (other.c == &c) say("a chunk that it has already");
    std::size_t chunks = 0, held = 0; // of the rail
    for (const loan& other : loans_) {
        if (other.c->rail != c.rail) continue;
        ++chunks;
        held += other.c->step == step::move ? other.c->from.length : 0;
    }
    if (chunks >= l.window_chunks) say("more chunks than its window");
    if (c.step != step::move) return;
    // What is admitted last may reach over the edge, and need not be submitted last.
    if (chunks && held + c.from.length >= l.window_bytes + l.chunk_bytes) say("more bytes than its window");
    if (options_.rails > 1 && !(options_.rails_between(c.from.tier(), c.to.tier()) >> c.rail & 1))
        say("a rail that may not carry it");
    if (c.from.length != c.to.length) say("sides of different length");
    if (c.from.length > l.chunk_bytes) say("a chunk larger than its largest");
    if (!carries(c.from, c.to)) say("a pair of tiers that it does not carry");
    if (c.session && !sessions_.contains(c.session)) say("a session that is over");
    if (!c.session && is_object(c.to) && !c.sole) say("a part of an object without a session");
}

inline device::loan device::plan(chunk& c)
{
    loan l{&c, manners.most_polls ? static_cast<unsigned>(random_() % (manners.most_polls + 1)) : 0, c.from.length, {}};
    const bool whole_put = is_object(c.to) && c.sole;
    if (c.step == step::abandon) return l; // there is no way for that to go wrong
    if (chance(manners.fail)) {
        l.error = {++bench_.last_error, category()};
        l.goal = c.step == step::move ? random_() % (c.from.length + 1) : 0; // some of it may have arrived
    } else if (c.step == step::move && !whole_put && c.from.length > 1 && chance(manners.shorten)) {
        l.goal = 1 + random_() % (c.from.length - 1);
    } else if (c.step == step::move && !whole_put && c.from.length && chance(manners.starve)) {
        l.goal = 0;
    }
    return l;
}

/// What is refused may have moved in part.
inline bool device::move_at_once(const slice& from, const slice& to) noexcept
{
    if (from.length > options_.limits.at_once_bytes) bench_.fault(options_.name + ": more at once than it said");
    if (!carries(from, to)) bench_.fault(options_.name + ": at once, a pair of tiers that it does not carry");
    const bool all = !manners.refuse_all && !manners.hold && chance(manners.at_once);
    chunk c;
    c.from = from;
    c.to = to;
    error_code e;
    const std::size_t n = std::min(available(c, e), all ? from.length : random_() % (from.length + 1));
    if (e) return false;
    if (n != 0) {
        std::byte* const there = reach(to, c, 0, n); // first, as above
        std::memmove(there, reach(from, c, 0, n), n);
    }
    if (!all || n != from.length) return false;
    bench_.landed(from, to, n);
    return true;
}

inline bool device::submit(chunk& c) noexcept
{
    inspect(c);
    if (manners.refuse_all || chance(manners.refuse) || (admits && !admits(c))) {
        ++refusals_;
        return false;
    }
    ++submits_;
    loans_.push_back(plan(c));
    unflushed_ = true;
    held_bytes_ += c.step == step::move ? c.from.length : 0;
    most_held_bytes_ = std::max(most_held_bytes_, held_bytes_);
    most_held_ = std::max(most_held_, loans_.size());
    return true;
}

/// How much of it there is to read.
inline std::size_t device::available(const chunk& c, error_code& e) const
{
    const std::size_t most = c.from.length;
    const auto of = [&](std::size_t size) {
        return c.from.offset >= size ? 0 : std::min<std::size_t>(most, size - c.from.offset);
    };
    if (c.from.tier() == tier::file)
        return of(bench_.files.at(static_cast<const stored_segment&>(*c.from.of).key)->size());
    if (!is_object(c.from)) return most;
    const auto it = sessions_.find(c.session);
    const auto data = it != sessions_.end() ? it->second.read : object(c.from);
    if (!data) {
        e = errc::not_found;
        return 0;
    }
    if (!c.session && c.sole && data->data.size() > c.from.offset + most) e = errc::length_mismatch;
    return of(data->data.size());
}

/// Where `n` bytes of a side of `c` lie now.
inline std::byte* device::reach(const slice& s, const chunk& c, std::size_t at, std::size_t n)
{
    if (s.of->base) return s.data() + at;
    const auto in = [&](bytes& v, std::size_t offset) {
        if (v.size() < offset + n) v.resize(offset + n);
        return v.data() + offset;
    };
    if (s.tier() == tier::file)
        return in(*bench_.files.at(static_cast<const stored_segment&>(*s.of).key), s.offset + at);
    if (&s == &c.to) return in(c.session ? sessions_.at(c.session).written : sole_[const_cast<chunk*>(&c)], s.offset + at);
    const auto data = c.session ? sessions_.at(c.session).read : object(s);
    return const_cast<std::byte*>(data->data.data()) + s.offset + at;
}

/// Moves some of what is to be moved.
inline void device::work(loan& l)
{
    chunk& c = *l.c;
    if (c.step != step::move) return;
    error_code e;
    const std::size_t goal = std::min(l.goal, available(c, e));
    if (e && !l.error) l.error = e;
    if (e || l.moved >= goal) return;
    const std::size_t n = l.polls == 0 ? goal - l.moved : random_() % (goal - l.moved + 1);
    if (n == 0) return;
    std::byte* const to = reach(c.to, c, l.moved, n); // first: it may make the file that is read longer, and move it
    const std::byte* const from = reach(c.from, c, l.moved, n);
    std::memmove(to, from, n);
    l.moved += n;
}

inline error_code device::open(chunk& c)
{
    const bool reads = is_object(c.from);
    if (reads && c.to.of) bench_.fault("an open that names both sides");
    session s{static_cast<stored_segment&>(*(reads ? c.from : c.to).of).key, {}, {}};
    if (reads) {
        s.read = object(c.from);
        if (!s.read) return errc::not_found;
        c.total = s.read->data.size();
        c.has_checksum = s.read->sum && c.from.offset == 0 && c.from.length >= s.read->data.size();
        c.checksum = s.read->sum.value_or(0);
    } else {
        s.written.resize(c.total);
    }
    sessions_.emplace(c.session = ++last_session_, std::move(s));
    ++bench_.sessions;
    return {};
}

inline error_code device::put(chunk& c, const bytes& data)
{
    blob b{data, {}};
    if (c.has_checksum) b.sum = static_cast<std::uint32_t>(c.checksum);
    bench_.landed(c.from, c.to, data.size());
    bench_.objects[static_cast<stored_segment&>(*c.to.of).key] = std::make_shared<const blob>(std::move(b));
    return {};
}

inline error_code device::close(chunk& c, bool keep)
{
    const auto it = sessions_.find(c.session);
    if (it == sessions_.end()) {
        bench_.fault("the end of a session that is over");
        return {};
    }
    for (const loan& l : loans_)
        if (l.c->session == c.session) bench_.fault("the end of a session with chunks of it under way");
    const session s = std::move(it->second);
    sessions_.erase(it);
    --bench_.sessions;
    if (!keep) return {};
    if (s.read || s.landed != c.total || s.written.size() != c.total) {
        bench_.fault("a commit of an object that is not whole");
        return {};
    }
    return put(c, s.written);
}

inline error_code device::end_step(chunk& c, std::size_t n)
{
    switch (c.step) {
    case step::open: return open(c);
    case step::commit: return close(c, true);
    case step::abandon: return close(c, false);
    case step::move: break;
    }
    if (is_object(c.to)) {
        if (!c.session) return put(c, sole_[&c]);
        sessions_.at(c.session).landed += n;
        if (n == 0 && c.from.length != 0) bench_.landed(c.from, c.to, 0);
        return {};
    }
    if (is_object(c.from) && c.from.offset == 0) {
        const auto data = c.session ? sessions_.at(c.session).read : object(c.from);
        c.has_checksum = data && data->sum && c.from.length >= data->data.size();
        c.checksum = c.has_checksum ? *data->sum : 0;
    }
    bench_.landed(c.from, c.to, n);
    return {};
}

inline void device::end(loan l)
{
    chunk& c = *l.c;
    held_bytes_ -= c.step == step::move ? c.from.length : 0;
    ++ends_;
    if (l.error && c.step == step::commit) close(c, false); // a commit ends the session however it goes
    if (!l.error) l.error = end_step(c, l.moved);
    if (l.error.category() == category()) bench_.failed(l.error.value(), c.from, c.to);
    sole_.erase(&c);
    const bool moves = c.step == step::move;
    c.done(l.error, l.error || !moves ? 0 : l.moved);
}

inline std::size_t device::poll(turn t) noexcept
{
    ++polls_;
    if (unflushed_) bench_.fault(options_.name + ": polled before the flush");
    std::size_t n = 0;
    for (; answers_ != 0 && !later_.empty(); --answers_, ++n) {
        auto call = std::move(later_.front());
        later_.pop_front();
        call();
    }
    std::vector<loan> over;
    if (!manners.hold) std::shuffle(loans_.begin(), loans_.end(), random_);
    for (std::size_t i = 0; i < loans_.size();) {
        loan& l = loans_[i];
        if (manners.hold && !l.released) {
            ++i;
            continue;
        }
        work(l);
        if (l.polls != 0) {
            --l.polls;
            ++i;
            continue;
        }
        const loan ended = l;
        loans_.erase(loans_.begin() + static_cast<std::ptrdiff_t>(i));
        end(ended);
        ++n;
        if (t.over()) break;
    }
    return n;
}

/// The buckets of the bench.
class store final : public object_store {
public:
    store(bench& b, wye::access a) : bench_{b}, access_{a} {}
    wye::access access() const noexcept override { return access_; }
    std::unique_ptr<segment> locate(std::string key) override
    {
        if (key.empty()) return nullptr;
        return std::make_unique<stored_segment>(tier::object, bench_, std::move(key));
    }
    void stat(std::string key, std::function<void(error_code, object_info)> done) override
    {
        const auto it = bench_.objects.find(key);
        if (it == bench_.objects.end()) return done(errc::not_found, {});
        done({}, {std::move(key), it->second->data.size(), {}});
    }
    void list(std::string prefix, std::string after, std::size_t most,
              std::function<void(error_code, object_page)> done) override
    {
        object_page page;
        for (const auto& [key, b] : bench_.objects)
            if (key.starts_with(prefix) && key > after) {
                if (page.objects.size() == most) {
                    page.more = true;
                    break;
                }
                page.objects.push_back({key, b->data.size(), {}});
            }
        done({}, std::move(page));
    }
    void remove(std::string key, std::function<void(error_code)> done) override
    {
        bench_.objects.erase(key);
        done({});
    }

private:
    bench& bench_;
    wye::access access_;
};

inline void device::open_store(std::string, wye::access a,
                               std::function<void(error_code, std::unique_ptr<object_store>)> done)
{
    done({}, std::make_unique<store>(bench_, a));
}

/// Drivers as agents usually have them: one between memories, one between DRAM and what stores.
inline bool memory_pairs(tier a, tier b) { return a <= tier::vram && b <= tier::vram; }
inline bool storage_pairs(tier a, tier b)
{
    const auto stores = [](tier t) { return t == tier::file || t == tier::object; };
    return (a == tier::dram && stores(b)) || (stores(a) && b == tier::dram);
}

} // namespace wye::lab
