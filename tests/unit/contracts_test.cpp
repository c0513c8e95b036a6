// SPDX-License-Identifier: Apache-2.0
// Contracts 1, 2, 7, 8 and 9 as one property: whatever devices do, and whatever callers change their minds about,
// every operation ends once, honestly, and when nothing touches its memory any more.
//
// WYE_SEEDS says how many worlds are tried, WYE_SEED picks one.
#define BOOST_TEST_MODULE contracts
#include <boost/test/unit_test.hpp>

#include <cstdlib>
#include <deque>
#include <map>
#include <optional>
#include <random>
#include <sstream>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/error.hpp>

#include <wye/wye.hpp>

#include <crc32c.hpp>

#include "support/co_test.hpp"
#include "support/lab_driver.hpp"

using namespace wye;
namespace asio = boost::asio;

namespace {

constexpr std::size_t area_bytes = 512_KiB;
constexpr std::size_t gap_bytes = 16; // that nobody may write

using place_name = std::pair<std::string, std::uint64_t>;

/// One transfer of an operation, and what is known of it.
struct plan {
    slice from, to;
    std::uint64_t length = 0;
    lab::bytes expected;          ///< what the target holds if all goes well
    std::optional<errc> doomed;   ///< it cannot go well
    std::string key;              ///< of the object that is its target
    std::shared_ptr<const lab::blob> before; ///< that object
    std::uint64_t landed = 0;
    bool starved = false;
    std::vector<place_name> names;
    std::vector<int> errors;      ///< of the lab, that its chunks ended in
    bool verified_file = false;   ///< written with a checksum, into a file
};

struct operation {
    std::deque<plan> plans;
    std::vector<transfer> batch;
    std::vector<error_code> status;
    copy_options options;
    asio::cancellation_signal signal;
    bool cancelled = false;
    int ends = 0;
};

std::uint32_t crc(const lab::bytes& b)
{
    return detail::crc32c_finish(detail::crc32c_extend(0, b.data(), b.size()), b.size());
}

/// A seeded world: an agent over lab devices, and operations that come and go.
class world {
public:
    explicit world(std::uint64_t seed) : random_{seed} {}

    void play()
    {
        build();
        std::size_t to_start = 10 + pick(50);
        const bool leaves = pick(4) == 0; // the agent, with operations in flight
        const std::size_t last = leaves ? pick(to_start) : 0;
        while (to_start != 0 && agent_) {
            if (pick(3) != 0) start(), --to_start;
            if (pick(6) == 0) cancel_one();
            if (pick(40) == 0) far_->manners.refuse_all = near_->manners.refuse_all = pick(2) == 0;
            turn_once();
            if (leaves && to_start <= last) leave();
        }
        if (agent_) far_->manners.refuse_all = near_->manners.refuse_all = false;
        std::size_t polls = 0;
        while (live_ != 0) {
            if (agent_ && pick(8) == 0) cancel_one();
            turn_once();
            if (++polls == 100'000) {
                expect(false, std::to_string(live_) + " operations hang");
                return std::abort(); // there is no way out that keeps the rules
            }
        }
        if (agent_) account(), probe();
        expect(dram_ == dram_shadow_, "stray bytes in DRAM");
        expect(vram_ == vram_shadow_, "stray bytes in VRAM");
        expect(*bench_.files.at("f") == file_shadow_, "stray bytes in FILE");
        expect(bench_.sessions == 0, "sessions left open");
        names_.clear();
        dram_region_.reset();
        vram_region_.reset();
        file_ = {};
        bucket_ = {};
        agent_.reset();
        expect(bench_.segments == 0, "files or objects left open");
        expect(!rt_.has_work(), "work left");
        for (const std::string& f : bench_.faults) expect(false, f);
    }

    bool fine() const noexcept { return fine_; }

private:
    void expect(bool so, const std::string& what)
    {
        BOOST_TEST(so, what);
        fine_ = fine_ && so;
    }
    std::size_t pick(std::size_t below) { return below ? random_() % below : 0; }

    void build()
    {
        options_.default_drivers = false;
        options_.staging_piece = 4_KiB << pick(2);
        options_.staging_bytes = options_.staging_piece * (2 + pick(5));
        agent_.emplace(rt_, "lab", options_);
        near_ = &agent_->add(std::make_unique<lab::device>(
            bench_, some_device("near", lab::memory_pairs, false), random_()));
        far_ = &agent_->add(std::make_unique<lab::device>(
            bench_, some_device("far", lab::storage_pairs, true), random_()));
        for (lab::device* d : {near_, far_}) d->manners = some_manners();
        bench_.landed = [this](const slice& from, const slice& to, std::size_t n) { landed(from, to, n); };
        bench_.failed = [this](int e, const slice& from, const slice& to) {
            for (plan* p : {plan_of(from), plan_of(to)})
                if (p) p->errors.push_back(e);
        };
        dram_ = lab::pattern(area_bytes, random_());
        vram_ = lab::pattern(area_bytes, random_());
        bench_.files["f"] = std::make_shared<lab::bytes>(lab::pattern(area_bytes, random_()));
        dram_shadow_ = dram_;
        vram_shadow_ = vram_;
        file_shadow_ = *bench_.files["f"];
        testing::finish(rt_, open());
    }

    task<> open()
    {
        dram_region_ = co_await agent_->register_memory(wye::dram(dram_));
        vram_region_ = co_await agent_->register_memory(wye::vram(vram_.data(), vram_.size()));
        file_ = co_await agent_->open_file("f");
        bucket_ = co_await agent_->open_bucket("lab:");
    }

    /// Some have rails, of which some carry one pair of tiers and some another.
    lab::device_options some_device(std::string name, bool (*carries)(tier, tier), bool stores)
    {
        lab::device_options o{std::move(name), carries, some_limits(), stores};
        if (pick(2) == 0) return o;
        o.rails = static_cast<std::uint32_t>(2 + pick(7));
        const bool apart = pick(2) == 0;
        o.rails_between = [apart, all = (1u << o.rails) - 1](tier from, tier to) -> std::uint64_t {
            return !apart ? all : from < to ? all & 0x55 : all & ~2u;
        };
        return o;
    }

    limits some_limits()
    {
        limits l;
        l.chunk_bytes = 1_KiB << pick(5);
        l.alignment = std::size_t{1} << pick(13);
        l.window_chunks = static_cast<std::uint32_t>(1 + pick(16));
        l.window_bytes = 1_KiB << pick(7);
        l.at_once_bytes = pick(2) * pick(2 * l.chunk_bytes);
        l.background_chunks = static_cast<std::uint32_t>(1 + pick(4));
        l.spread_bytes = std::size_t{512} << pick(5);
        return l;
    }

    /// Some worlds are calm, so that success is seen too.
    lab::manners some_manners()
    {
        lab::manners m;
        const bool calm = pick(3) == 0;
        m.at_once = static_cast<unsigned>(pick(2) * pick(257));
        m.refuse = static_cast<unsigned>(pick(2) * pick(200));
        m.shorten = static_cast<unsigned>(pick(2) * pick(128));
        m.most_polls = static_cast<unsigned>(pick(12));
        m.fail = static_cast<unsigned>(calm ? 0 : pick(12));
        m.starve = static_cast<unsigned>(calm ? 0 : pick(6));
        return m;
    }

    // Making operations.

    /// Bytes of an area that no other transfer uses.
    std::optional<slice> place(std::size_t area, std::uint64_t length)
    {
        const std::uint64_t at = used_[area];
        if (at + length + gap_bytes > area_bytes) return std::nullopt;
        used_[area] += length + gap_bytes;
        if (area == 0) return dram_region_.at(at, length);
        if (area == 1) return vram_region_.at(at, length);
        return file_.at(at, length);
    }
    lab::bytes& area_of(const slice& s)
    {
        return s.tier() == tier::dram ? dram_ : s.tier() == tier::vram ? vram_ : *bench_.files.at("f");
    }
    lab::bytes& shadow_of(const slice& s)
    {
        return s.tier() == tier::dram ? dram_shadow_ : s.tier() == tier::vram ? vram_shadow_ : file_shadow_;
    }
    lab::bytes content(const slice& s)
    {
        const auto at = area_of(s).begin() + static_cast<std::ptrdiff_t>(s.offset);
        return {at, at + static_cast<std::ptrdiff_t>(s.length)};
    }

    std::uint64_t some_length()
    {
        switch (pick(10)) {
        case 0: return 0;
        case 1: return 1 + pick(100);
        case 2: return 4_KiB * (1 + pick(4));
        default: return 1 + pick(20'000);
        }
    }

    bool choose_source(plan& p, bool verify)
    {
        p.length = some_length();
        const std::size_t kind = pick(6);
        if (kind == 5) return choose_object(p, verify);
        if (verify && kind >= 3 && !verified_.empty()) { // read back what was written under verify
            p.from = verified_.back();
            verified_.pop_back();
            p.length = p.from.length;
            if (p.length != 0 && pick(5) == 0) {
                const std::size_t at = p.from.offset + pick(p.length);
                for (lab::bytes* b : {bench_.files.at("f").get(), &file_shadow_}) (*b)[at] ^= std::byte{4};
                p.doomed = errc::corrupt;
            }
        } else {
            const auto s = place(verify ? pick(2) : kind % 3, p.length);
            if (!s) return false;
            p.from = *s;
        }
        p.expected = content(p.from);
        return true;
    }

    bool choose_object(plan& p, bool verify)
    {
        const std::string key = "source/" + std::to_string(++keys_);
        p.expected = lab::pattern(p.length, random_());
        lab::blob b{p.expected, crc(p.expected)};
        if (verify) {
            if (p.length != 0 && pick(4) == 0) b.data[pick(p.length)] ^= std::byte{1}, p.doomed = errc::corrupt;
            if (p.length != 0 && pick(6) == 0) b.sum.reset(), p.doomed = errc::unverified;
        }
        p.from = names_.emplace_back(bucket_.object(key));
        if (verify || p.length == 0 || pick(2) == 0) {
            p.from.length = slice::whole;
            if (p.length != 0 && pick(10) == 0) b.data.push_back({}), p.doomed = errc::length_mismatch;
            else if (p.length > 1 && pick(10) == 0) b.data.pop_back(), p.doomed = errc::short_transfer;
        } else { // a range
            const std::size_t before = pick(5000);
            b.data.insert(b.data.begin(), before, std::byte{9});
            b.data.insert(b.data.end(), pick(5000), std::byte{9});
            p.from.offset = before;
            p.from.length = p.length;
        }
        if (p.length != 0 && pick(12) == 0) p.doomed = errc::not_found;
        else bench_.objects[key] = std::make_shared<lab::blob>(std::move(b));
        return true;
    }

    bool choose_target(plan& p, bool verify)
    {
        const std::size_t kind = pick(4);
        if (kind < 3) {
            const auto s = place(kind, p.length);
            if (!s) return false;
            p.to = *s;
            p.verified_file = verify && kind == 2 && !p.doomed;
            return true;
        }
        p.key = "target/" + std::to_string(++keys_);
        p.to = names_.emplace_back(bucket_.object(p.key));
        if (p.from.length == slice::whole) {
            p.length = p.from.length; // the object decides
            if (p.doomed != errc::not_found) {
                const auto source = bench_.objects.at(static_cast<lab::stored_segment&>(*p.from.of).key);
                p.expected = source->data;
                p.doomed.reset();
                if (verify && !source->sum) p.doomed = errc::unverified;
                else if (verify && source->sum != crc(source->data)) p.doomed = errc::corrupt;
            }
            p.length = p.expected.size();
        }
        if (pick(2) == 0) bench_.objects[p.key] = std::make_shared<lab::blob>(lab::blob{lab::pattern(77), {}});
        const auto it = bench_.objects.find(p.key);
        p.before = it == bench_.objects.end() ? nullptr : it->second;
        return true;
    }

    void start()
    {
        operation& op = operations_.emplace_back();
        op.options.verify = pick(4) == 0;
        op.options.priority = static_cast<priority>(pick(3));
        if (pick(12) == 0) op.options.deadline = std::chrono::nanoseconds{1};
        else if (pick(4) == 0) op.options.deadline = std::chrono::hours{1};
        const std::size_t count = pick(2) == 0 ? 1 : 1 + pick(8);
        for (std::size_t i = 0; i < count; ++i) {
            plan p;
            if (!choose_source(p, op.options.verify) || !choose_target(p, op.options.verify)) break;
            op.plans.push_back(std::move(p));
        }
        if (op.plans.empty()) return operations_.pop_back();
        for (plan& p : op.plans) {
            op.batch.push_back({p.from, p.to});
            for (const slice& s : {p.from, p.to}) {
                plans_[{name_of(s), s.offset}] = &p;
                p.names.push_back({name_of(s), s.offset});
            }
        }
        op.status.resize(op.plans.size());
        if (pick(2) == 0) op.options.status = op.status;
        ++live_;
        auto over = asio::bind_cancellation_slot(
            op.signal.slot(), [this, &op](error_code e, std::size_t n) { ended(op, e, n); });
        if (op.batch.size() == 1 && pick(2) == 0) copy(op.batch[0].from, op.batch[0].to, op.options, std::move(over));
        else copy(std::span<const transfer>{op.batch}, op.options, std::move(over));
        op.batch.clear(); // it is read when the operation begins, and not after
        op.batch.shrink_to_fit();
        names_.clear();   // an object may go once the transfer has started
    }

    void cancel_one()
    {
        operation* op = nullptr;
        for (operation& o : operations_)
            if (o.ends == 0 && !o.cancelled && (!op || pick(3) == 0)) op = &o;
        if (!op) return;
        op->cancelled = true;
        op->signal.emit(asio::cancellation_type::terminal);
    }

    void leave()
    {
        leaving_ = true;
        for (lab::device* d : {near_, far_}) d->manners.refuse_all = false;
        agent_.reset();
    }

    void turn_once()
    {
        if (pick(3) == 0) rt_.poll(duration{0});
        else rt_.poll();
    }

    // What is seen.

    plan* plan_of(const slice& s)
    {
        if (!s.of) return nullptr;
        const std::string name = name_of(s);
        auto it = plans_.upper_bound({name, s.offset});
        if (it == plans_.begin() || (--it)->first.first != name) return nullptr;
        return it->second;
    }
    /// What outlives a segment, whose address may be another's soon.
    static std::string name_of(const slice& s)
    {
        if (s.tier() == tier::object) return static_cast<const lab::stored_segment&>(*s.of).key;
        const void* const address = s.of;
        return std::to_string(reinterpret_cast<std::uintptr_t>(address));
    }

    void landed(const slice& from, const slice& to, std::size_t n)
    {
        if (plan* p = plan_of(to)) p->landed += n;
        for (plan* p : {plan_of(from), plan_of(to)})
            if (p && n == 0) p->starved = true;
    }

    bool arrived(const plan& p)
    {
        if (p.key.empty()) return content(p.to) == p.expected;
        const auto it = bench_.objects.find(p.key);
        return it != bench_.objects.end() && it->second->data == p.expected;
    }

    static std::string describe(const plan& p)
    {
        std::string s = std::to_string(p.length) + " bytes from " + p.names[0].first + " at " +
                        std::to_string(p.names[0].second) + " to " + p.names[1].first;
        return p.doomed ? s + " (doomed: " + make_error_code(*p.doomed).message() + ")" : s;
    }

    /// Whether this may be what became of the transfer.
    bool fair(const operation& op, const plan& p, const error_code& e)
    {
        if (!e) return !p.doomed && p.landed == p.length && arrived(p);
        if (e == asio::error::operation_aborted) return op.cancelled || leaving_;
        if (e == errc::deadline_missed) return op.options.deadline == std::chrono::nanoseconds{1};
        if (e.category() == lab::category())
            return std::find(p.errors.begin(), p.errors.end(), e.value()) != p.errors.end();
        if (e == errc::short_transfer && p.starved) return true;
        return p.doomed && e == *p.doomed;
    }

    void ended(operation& op, error_code e, std::size_t n)
    {
        expect(++op.ends == 1, "ended twice");
        --live_;
        std::uint64_t landed = 0;
        bool all_well = true, somebody = false;
        for (std::size_t i = 0; i < op.plans.size(); ++i) {
            plan& p = op.plans[i];
            landed += p.landed;
            if (agent_)
                for (const slice& s : {p.from, p.to})
                    if (is_area(s)) expect(!near_->touches(s) && !far_->touches(s), "touched after its end");
            const bool has_status = !op.options.status.empty();
            if (has_status) {
                expect(fair(op, p, op.status[i]), describe(p) + ": " + op.status[i].message());
                all_well = all_well && !op.status[i];
            }
            somebody = somebody || fair(op, p, e);
            if (!e) expect(fair(op, p, e), describe(p) + " has not arrived");
            if (!p.key.empty()) {
                const auto it = bench_.objects.find(p.key);
                const auto now = it == bench_.objects.end() ? nullptr : it->second;
                expect(now == p.before || arrived(p), "half an object");
                expect(now == p.before || !p.doomed, "an object of what was not to be trusted");
            }
            if (p.verified_file && (has_status ? !op.status[i] : !e)) verified_.push_back(p.to);
        }
        expect(somebody, "nobody's error: " + e.message());
        if (!op.options.status.empty()) {
            const bool stopped = e == asio::error::operation_aborted || e == errc::deadline_missed;
            expect(all_well ? !e || stopped : e.failed(), "statuses and " + e.message());
        }
        expect(n == landed, std::to_string(n) + " bytes said, " + std::to_string(landed) + " landed");
        bytes_ += n;
        let_be(op);
    }

    /// From here on nothing may change its targets, or look at its sources.
    void let_be(operation& op)
    {
        for (plan& p : op.plans) {
            for (const place_name& n : p.names) plans_.erase(n);
            if (p.key.empty()) {
                const lab::bytes now = content(p.to);
                std::copy(now.begin(), now.end(), shadow_of(p.to).begin() + static_cast<std::ptrdiff_t>(p.to.offset));
            }
            if (p.from.length == slice::whole || p.from.length != p.expected.size() || !is_area(p.from)) continue;
            for (lab::bytes* b : {&area_of(p.from), &shadow_of(p.from)})
                std::fill_n(b->begin() + static_cast<std::ptrdiff_t>(p.from.offset), p.from.length, std::byte{0xee});
        }
    }
    // Segments of objects may be gone by now, so this compares and does not look.
    bool is_area(const slice& s)
    {
        return s.of == dram_region_.at(0, 0).of || s.of == vram_region_.at(0, 0).of || s.of == file_.at(0, 0).of;
    }

    /// Counters agree with what was seen, and everything that was taken has come back.
    void account()
    {
        const metrics m = agent_->measure();
        std::uint64_t bytes = 0;
        for (const pair_metrics& p : m.pairs) {
            expect(p.in_flight == 0, "a pair in flight");
            bytes += p.bytes;
        }
        expect(bytes == bytes_, "bytes of pairs");
        for (const driver_metrics& d : m.drivers) expect(d.in_flight == 0, "a driver in flight");
        expect(m.staging_in_use == 0, "staging in use");
        expect(near_->held() == 0 && far_->held() == 0, "chunks held");
    }

    static std::size_t depth(const limits& l, std::size_t piece)
    {
        std::size_t n = 1;
        while (n < l.window_chunks && n * piece < l.window_bytes) ++n;
        return n;
    }

    /// A poll's budget is time, so that on a busy machine one poll need not post all.
    void fills(lab::device& d, std::size_t chunks, const std::string& otherwise)
    {
        if (d.rails() > 1) return; // they fill as fast as each is seen to be
        testing::poll_until(rt_, [&] { return d.held() >= chunks; });
        rt_.poll();
        expect(d.held() == chunks,
               otherwise + ": " + std::to_string(d.held()) + " chunks held instead of " + std::to_string(chunks));
    }

    /// The windows and the staging can be filled as if nothing had happened.
    void probe()
    {
        for (lab::device* d : {near_, far_}) d->manners = {.hold = true};
        const limits l = near_->limits(), f = far_->limits();
        int ends = 0;
        const auto over = [&](error_code e, std::size_t) {
            expect(!e, "probe: " + e.message());
            ++ends;
        };
        copy(dram_region_.at(0, 256_KiB), vram_region_.at(0, 256_KiB), over);
        fills(*near_, depth(l, l.chunk_bytes), "a window that leaks");
        near_->manners.hold = false;
        expect(testing::poll_until(rt_, [&] { return ends == 1; }), "the probe hangs");
        std::copy_n(vram_.begin(), 256_KiB, vram_shadow_.begin());

        const std::size_t piece = std::min({l.chunk_bytes, f.chunk_bytes, options_.staging_piece});
        copy(file_.at(0, 256_KiB), vram_region_.at(0, 256_KiB), over);
        fills(*far_, std::min(depth(f, piece), options_.staging_bytes / options_.staging_piece),
              "staging that leaks");
        far_->manners.hold = false;
        expect(testing::poll_until(rt_, [&] { return ends == 2; }), "the staged probe hangs");
        expect(agent_->measure().staging_in_use == 0, "staging in use after the probe");
        expect(std::equal(vram_.begin(), vram_.begin() + 256_KiB, file_shadow_.begin()), "the probe's bytes");
        std::copy_n(vram_.begin(), 256_KiB, vram_shadow_.begin());
    }

    std::mt19937_64 random_;
    lab::bench bench_;
    lab::bytes dram_, vram_, dram_shadow_, vram_shadow_, file_shadow_;
    agent_options options_;
    runtime rt_;
    std::optional<agent> agent_;
    lab::device* near_ = nullptr;
    lab::device* far_ = nullptr;
    region dram_region_, vram_region_;
    file file_;
    bucket bucket_;
    std::size_t used_[3]{};
    std::deque<object> names_;
    std::size_t keys_ = 0, live_ = 0;
    std::deque<operation> operations_;
    std::map<place_name, plan*> plans_;
    std::vector<slice> verified_;
    std::uint64_t bytes_ = 0;
    bool leaving_ = false, fine_ = true;
};

std::uint64_t number(const char* name, std::uint64_t otherwise)
{
    const char* value = std::getenv(name);
    return value ? std::strtoull(value, nullptr, 10) : otherwise;
}

} // namespace

BOOST_AUTO_TEST_CASE(every_operation_ends_once_honestly_and_quiescent)
{
    const std::uint64_t only = number("WYE_SEED", 0);
    const std::uint64_t first = only ? only : 1, last = only ? only : number("WYE_SEEDS", 200);
    for (std::uint64_t seed = first; seed <= last; ++seed) {
        BOOST_TEST_CONTEXT("WYE_SEED=" << seed)
        {
            world w{seed};
            w.play();
            BOOST_REQUIRE(w.fine()); // one failing world says enough
        }
    }
}
