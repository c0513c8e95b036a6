// SPDX-License-Identifier: Apache-2.0
// Chunks and their completions.
#include "driver.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <random>

#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <rdma/fi_errno.h>

#include "errors.hpp"

namespace wye::ofi {

namespace {

constexpr std::size_t most_posts = 192;   // on one rail: a bar names all of their keys
constexpr int batches_at_once = 8;        // of completions of one rail, before the others have their turn
constexpr double nominal_rate = 1.5e9;    // where no NIC says: loopback TCP
// TCP sends again after 200 ms at the earliest (RFC 6298, and as Linux has it).
constexpr auto kernel_stutter = std::chrono::milliseconds{250};
constexpr auto connecting_tick = std::chrono::milliseconds{1};
constexpr std::uint32_t wide_awake = 64;  // polls without sleep that found something
constexpr auto first_lull = std::chrono::milliseconds{1}, last_lull = std::chrono::milliseconds{128};

[[noreturn]] void fail(const char* what)
{
    throw system_error(error_code{errno, boost::system::generic_category()}, what);
}

std::uint64_t draw()
{
    std::random_device random;
    return std::uint64_t{random()} << 32 | random();
}

double rate_of(const rail& r, const libfabric_options& o) noexcept
{
    if (o.bytes_per_second > 0) return o.bytes_per_second;
    const fid_nic* const nic = r.what().nic;
    const bool known = nic && nic->link_attr && nic->link_attr->speed > 0;
    return known ? static_cast<double>(nic->link_attr->speed) / 8 : nominal_rate;
}

} // namespace

descriptor::~descriptor()
{
    if (fd_ >= 0) ::close(fd_);
}

libfabric_driver::libfabric_driver(const libfabric_options& o) : options_{o}, id_here_{draw()}, door_{draw()}
{
    provider p = choose(o);
    provider_ = p.name;
    closes_paths_ = p.closes_paths;
    asks_for_reads_ = p.asks_for_reads;
    emulated_writes_ = p.emulated_writes;
    gpu_memory_ = p.gpu_memory;
    open_rails(std::move(p.rails), o, o.rails.empty());
    near_ = nearness{rails_, o};
    stations_.resize(rails_.size());
    if (p.slow) off_loop_ = std::make_unique<off_loop>();
    if (sleeps_) make_descriptors();
}

/// All of them with descriptors, or none; a NIC that nobody named may be missing.
void libfabric_driver::open_rails(std::vector<provider::rail> all, const libfabric_options& o, bool partly)
{
    sleeps_ = o.waits != queue_waits::polled;
    std::optional<system_error> refusal;
    for (std::size_t i = 0; i < all.size(); ++i) {
        provider::rail again{all[i].name, info{::fi_dupinfo(all[i].what.get())}};
        try {
            rails_.push_back(std::make_unique<rail>(std::move(all[i]), most_posts, sleeps_));
        } catch (const system_error& e) {
            if (sleeps_ && o.waits == queue_waits::automatic && rails_.empty()) {
                sleeps_ = false;
                all[i--] = std::move(again);
                continue;
            }
            refusal.emplace(e.code(), provider_ + " at " + again.name);
            if (!partly) throw *refusal;
        }
    }
    if (rails_.empty()) throw *refusal;
}

void libfabric_driver::make_descriptors()
{
    epoll_ = descriptor{::epoll_create1(EPOLL_CLOEXEC)};
    timer_ = descriptor{::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)};
    if (epoll_.get() < 0 || timer_.get() < 0) fail("epoll or timerfd");
    std::vector<int> all = {timer_.get()};
    if (off_loop_) all.push_back(off_loop_->descriptor());
    for (const int fd : all) {
        epoll_event e{};
        e.events = EPOLLIN;
        if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &e) != 0) fail("epoll_ctl");
    }
    if (!watch(true)) fail("epoll_ctl");
}

/// Whether what comes in wakes who sleeps on our descriptor: two more queues for each packet to go through, which costs
/// a busy loop a microsecond for each message.
bool libfabric_driver::watch(bool yes) noexcept
{
    watched_ = yes;
    busy_polls_ = 0;
    epoll_event e{};
    e.events = EPOLLIN;
    return std::all_of(rails_.begin(), rails_.end(), [&](const auto& r) {
        return ::epoll_ctl(epoll_.get(), yes ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, r->descriptor(), &e) == 0;
    });
}

/// The descriptor of a queue that is gone has left `epoll_` by itself.
void libfabric_driver::reopen(std::uint32_t index)
{
    rail& r = *rails_[index];
    const int before = r.descriptor();
    r.open();
    if (!watched_ || r.descriptor() == before) return;
    epoll_event e{};
    e.events = EPOLLIN;
    if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, r.descriptor(), &e) == 0) return;
    r.detach().reset();
    fail("epoll_ctl");
}

libfabric_driver::~libfabric_driver()
{
    off_loop_.reset();
    for (auto& r : rails_) r->detach().reset(); // before the memory that they may reach is deregistered
}

wye::limits libfabric_driver::rail_limits(std::uint32_t r) const noexcept
{
    wye::limits l;
    l.chunk_bytes = std::min<std::size_t>(options_.chunk_bytes, rails_[r]->what().ep_attr->max_msg_size);
    l.window_chunks = std::min(options_.window_chunks, static_cast<std::uint32_t>(most_posts));
    const bool sockets = provider_.starts_with("tcp");
    l.window_bytes = options_.window_bytes ? options_.window_bytes : sockets ? 4_MiB : 16_MiB;
    l.latency = options_.latency;
    if (sockets) l.stutter = kernel_stutter;
    l.bytes_per_second = rate_of(*rails_[r], options_);
    return l;
}

/// Every rail of ours leads to some rail of theirs.
std::uint64_t libfabric_driver::rails_between(const slice& from, const slice& to) const noexcept
{
    const segment& here = *(remote_of(to) ? from : to).of;
    return here.reach ? sorts_[here.reach - 1].rails : every_rail();
}

std::uint64_t libfabric_driver::near_rails(const slice& from, const slice& to) const noexcept
{
    const segment& here = *(remote_of(to) ? from : to).of;
    return here.reach ? sorts_[here.reach - 1].near : every_rail();
}

bool libfabric_driver::carries(const slice& from, const slice& to) const noexcept
{
    if (!remote_of(from) == !remote_of(to)) return false;
    const segment& here = *(remote_of(to) ? from : to).of;
    const segment& there = *(remote_of(to) ? to : from).of;
    const bool in_reach = here.tier == tier::dram || (here.tier == tier::vram && here.reach != 0);
    return in_reach && !here.home && there.home == this;
}

/// What would never come to anything. A bad key on tcp drops the connection of everybody else's chunks, too.
std::optional<error_code> libfabric_driver::unfit(const chunk& c) const noexcept
{
    const bool out = remote_of(c.to) != nullptr;
    const slice& there = out ? c.to : c.from;
    const slice& here = out ? c.from : c.to;
    const wire::description& d = keys_of(c).what;
    if (c.rail >= rails_.size() || c.step != step::move || c.from.length != c.to.length) return errc::invalid_slice;
    if (!here.of->notes[id()]) return errc::invalid_slice;
    if (here.offset > here.of->length || here.length > here.of->length - here.offset) return errc::out_of_range;
    if (there.offset > d.length || there.length > d.length - there.offset) return errc::out_of_range;
    if (out && d.access != access::read_write) return errc::read_only;
    if (numbers_[keys_of(c).number - 1].severed) return errc::peer_lost;
    if (!rails_[c.rail]->is_open()) return errc::rail_lost;
    return std::nullopt;
}

bool libfabric_driver::submit(chunk& c) noexcept
{
    key_set& keys = *(remote_of(c.to) ? remote_of(c.to) : remote_of(c.from))->keys;
    c.scratch[0] = reinterpret_cast<std::uintptr_t>(&keys);
    ++keys.out;
    ++numbers_[keys.number - 1].out;
    if (const auto e = unfit(c)) {
        end(c, *e, 0);
        return true;
    }
    path& p = keys.of->paths[c.rail];
    if (p.bar != 0 || p.owes() || !p.pending.empty()) {
        wait_in(p, c);
        return true;
    }
    const ssize_t result = post(p, c);
    if (result == 0) return true;
    if (result == -FI_EAGAIN && p.out != 0) { // what is under way will make room
        --keys.out;
        --numbers_[keys.number - 1].out;
        return false;
    }
    if (result == -FI_EAGAIN) wait_in(p, c); // for the connection, it seems
    else refused(p, c, static_cast<int>(-result));
    return true;
}

ssize_t libfabric_driver::post(path& p, chunk& c) noexcept
{
    rail& r = *rails_[p.mine];
    const entry& e = p.to->of(p);
    if (e.at == FI_ADDR_UNSPEC) return -FI_EHOSTUNREACH;
    const bool out = remote_of(c.to) != nullptr;
    if (!out && asks_for_reads_) return ask(p, c);
    slot* const s = r.take(slot::use::chunk);
    if (!s) return -FI_EAGAIN;
    const key_set& k = keys_of(c);
    const slice& here = out ? c.from : c.to;
    const std::uint64_t at = k.what.base + (out ? c.to : c.from).offset;
    s->by = &p;
    s->c = &c;
    s->key = k.what.keys[e.theirs];
    fid_mr& local = *reinterpret_cast<enlisted*>(here.of->notes[id()])->mrs[p.mine];
    const ssize_t result = out ? r.write(*s, here, local, e.at, at, true) : r.read(*s, here, local, e.at, at);
    if (result < 0) {
        r.give_back(*s);
    } else {
        ++p.out;
        stations_[p.mine].only_just = r.in_flight() == 1;
    }
    return result;
}

void libfabric_driver::wait_in(path& p, chunk& c) noexcept
{
    if (p.pending.empty()) p.patience_ends = steady::now() + options_.connect_within;
    urge(p);
    p.pending.push_back(&c);
}

void libfabric_driver::end(chunk& c, error_code e, std::size_t bytes) noexcept
{
    key_set& k = keys_of(c);
    --k.out;
    --numbers_[k.number - 1].out;
    over_.push_back({&c, e, bytes});
}

std::size_t libfabric_driver::reap(std::uint32_t index, turn t) noexcept
{
    std::array<rail::completion, 16> some;
    std::size_t n = 0;
    if (stations_[index].closing) return 0; // the helper has it
    for (int batch = 0; batch < batches_at_once; ++batch) {
        const int got = rails_[index]->reap(some);
        if (got < 0 && rails_[index]->is_open()) lost_rails_ |= std::uint64_t{1} << index;
        if (got <= 0) break;
        for (int i = 0; i < got; ++i) completed(index, some[static_cast<std::size_t>(i)]);
        n += static_cast<std::size_t>(got);
        // A look costs a system call. That there are no more is found out next time, with what has come by then.
        if (static_cast<std::size_t>(got) < some.size() || t.over()) break;
    }
    return n;
}

/// After something was closed: what it had has its end in the queue.
void libfabric_driver::reap_all(std::uint32_t index) noexcept
{
    while (reap(index, {}) != 0) {}
}

void libfabric_driver::completed(std::uint32_t index, const rail::completion& done) noexcept
{
    rail& r = *rails_[index];
    if (!done.what) { // of what a peer began, say: it tells nothing of ours
        ++strays_;
        return;
    }
    slot& s = *done.what;
    if (s.what == slot::use::receive) {
        s.length = static_cast<std::uint32_t>(done.length);
        if (done.error == 0) arrived_.push_back({index, r.endpoint(), &s});
        else if (r.is_open() && done.error != FI_ECANCELED) r.receive(s); // it was with an endpoint that is closed
        return;
    }
    path& p = *s.by;
    chunk* const c = s.c;
    const std::uint64_t by_key = s.key;
    if (s.what == slot::use::serving) {
        if (done.error != 0) failed_to_serve(*s.to, s.number);
        r.give_back(s);
        --p.out;
        return;
    }
    r.give_back(s);
    --p.out;
    if (done.error == 0) proved(p);
    if (!c) {
        if (done.error != 0 && p.reads != 0) broke(p); // it may have been what asked for them
        if (done.error != 0 && asked_about(p)) begin_ping(p);
        return;
    }
    if (done.error == 0) end(*c, {}, c->from.length);
    else failed(p, *c, by_key, done.error);
}

std::size_t libfabric_driver::poll(turn t) noexcept
{
    std::size_t n = 0;
    const std::uint32_t rails = this->rails();
    for (std::uint32_t i = 0; i < rails; ++i) {
        const std::uint32_t r = (first_ + i) % rails;
        if (!std::exchange(stations_[r].only_just, false)) n += reap(r, t);
    }
    first_ = (first_ + 1) % rails;
    if (n != 0 && watched_ && ++busy_polls_ == wide_awake) watch(false);
    n += hear(t);
    if (!hungry_.empty() || !verdicts_.empty()) n += serve_all(t);
    if (!eager_.empty()) n += push_on();
    if (off_loop_) n += off_loop_->reap();
    if (due_ != steady::time_point::max())
        if (const auto now = steady::now(); now >= due_) n += look(now);
    if (!admissions_.empty()) n += see_admissions(steady::now());
    while (lost_rails_) {
        const auto r = static_cast<std::uint32_t>(std::countr_zero(lost_rails_));
        lost_rails_ &= lost_rails_ - 1;
        if (!stations_[r].fenced) lost(r);
    }
    return n + deliver();
}

/// Tries again what could not be posted.
std::size_t libfabric_driver::push_on() noexcept
{
    const auto now = steady::now();
    std::size_t n = 0;
    fresh_ = false;
    for (path* p : std::exchange(eager_, {})) {
        const std::size_t before = p->pending.size();
        if (push_on(*p, now)) urge(*p);
        n += before - p->pending.size();
    }
    return n;
}

/// Whether there is more to push.
bool libfabric_driver::push_on(path& p, steady::time_point now) noexcept
{
    if (!rails_[p.mine]->is_open()) return false;
    if (p.wants_ping) {
        wire::letter l = letter_to(*p.to);
        l.records.emplace_back(wire::ping{static_cast<std::uint8_t>(p.mine), rails_[p.mine]->address()});
        p.wants_ping = !send_over(p, std::byte{1}, wire::encode(l));
    }
    std::size_t n = 0;
    while (n < p.pending.size() && p.bar == 0 && !p.owes()) {
        const ssize_t result = post(p, *p.pending[n]);
        if (result == -FI_EAGAIN) break;
        chunk& c = *p.pending[n++];
        if (result == 0) p.patience_ends = now + options_.connect_within;
        else refused(p, c, static_cast<int>(-result));
    }
    p.pending.erase(p.pending.begin(), p.pending.begin() + static_cast<std::ptrdiff_t>(n));
    if (!p.pending.empty() && p.bar == 0 && p.out == 0 && now >= p.patience_ends)
        for (chunk* c : std::exchange(p.pending, {})) end(*c, errc::path_lost, 0); // none of it was posted
    const bool asked = send_asks(p, now);
    return p.wants_ping || !p.pending.empty() || !asked;
}

/// The end of a poll: what is over is told, chunks before what waited for them.
std::size_t libfabric_driver::deliver() noexcept
{
    std::size_t n = 0;
    while (!over_.empty()) {
        for (const ended& e : std::exchange(over_, {})) {
            e.c->done(e.error, e.bytes);
            ++n;
        }
        if (n > 4 * most_posts) break;
    }
    if (over_.empty()) n += see_drained() + see_fences() + see_severed();
    for (auto& f : std::exchange(answers_, {})) {
        f();
        ++n;
    }
    return n;
}

/// What is overdue.
std::size_t libfabric_driver::look(steady::time_point now) noexcept
{
    due_ = steady::time_point::max();
    look_at_bars(now);
    for (station& s : stations_) {
        if (!s.opened) continue;
        if (now < s.opening_ends) look_by(s.opening_ends);
        else answer([f = std::exchange(s.opened, {})] { f(errc::rail_lost); });
    }
    each_path([&](path& p) {
        std::erase_if(p.openings, [&](path::opening& o) {
            if (now < o.ends) return look_by(o.ends), false;
            answer([f = std::move(o.opened)] { f(errc::path_lost); });
            return true;
        });
    });
    return 0;
}

bool libfabric_driver::busy() const noexcept
{
    const auto asked = [](const station& s) { return s.fenced || s.opened; };
    // A ping that nobody waits for any more is no work: who it goes to may never come back.
    const auto owed = [this](const path* p) { return !p->pending.empty() || !p->asks.empty() || asked_about(*p); };
    return !admissions_.empty() || !severings_.empty() || !answers_.empty() || !hungry_.empty() ||
           std::any_of(eager_.begin(), eager_.end(), owed) ||
           !verdicts_.empty() || !renewed_.empty() ||
           !over_.empty() || (off_loop_ && !off_loop_->idle()) ||
           std::any_of(stations_.begin(), stations_.end(), asked);
}

bool libfabric_driver::arm() noexcept
{
    if (!sleeps_) return true;
    if (!over_.empty() || !answers_.empty() || !arrived_.empty() || lost_rails_ || fresh_) return false;
    if (watched_) busy_polls_ = 0;
    else if (!watch(true)) return false;
    steady::time_point next = due_;
    if (!eager_.empty() || !hungry_.empty() || !verdicts_.empty() || !admissions_.empty()) next = std::min(next, steady::now() + connecting_tick);
    // fi_trywait over rxm makes progress last of all, and may leave a response half sent without asking to be woken when
    // there is room for the rest (1.17). So there are a few more looks, further and further apart, before real sleep.
    std::uint64_t fired;
    lull_ = ::read(timer_.get(), &fired, sizeof fired) > 0 ? std::min(2 * lull_, 2 * last_lull) : first_lull;
    if (lull_ <= last_lull) next = std::min(next, steady::now() + lull_);
    if (next != steady::time_point::max() || timer_set_) {
        timer_set_ = next != steady::time_point::max();
        itimerspec when{};
        const auto ns = timer_set_ ? std::max<std::int64_t>(1, next.time_since_epoch().count()) : 0;
        when.it_value = {ns / 1'000'000'000, ns % 1'000'000'000};
        ::timerfd_settime(timer_.get(), TFD_TIMER_ABSTIME, &when, nullptr);
    }
    for (std::uint32_t r = 0; r < rails(); ++r)
        if (!stations_[r].closing && !rails_[r]->may_sleep()) return false;
    return true;
}

void libfabric_driver::work(std::function<void()> slow, std::function<void()> finished)
{
    if (off_loop_) return off_loop_->run(std::move(slow), std::move(finished));
    slow();
    finished();
}

libfabric_facts libfabric_driver::facts() const
{
    libfabric_facts f;
    f.provider = provider_;
    f.version = std::to_string(FI_MAJOR(::fi_version())) + "." + std::to_string(FI_MINOR(::fi_version()));
    f.sleeps = sleeps_;
    f.emulated_writes = emulated_writes_;
    f.gpu_memory = gpu_memory_;
    for (const auto& r : rails_) {
        const fi_domain_attr& d = *r->what().domain_attr;
        f.rails.push_back({r->name(), d.name, r->printable_address(), rate_of(*r, options_), d.ep_cnt, d.mr_cnt});
    }
    return f;
}

} // namespace wye::ofi

namespace wye {

std::unique_ptr<fabric> make_libfabric(const libfabric_options& o) 
{
    return std::make_unique<ofi::libfabric_driver>(o);
}

libfabric_facts facts_of(const fabric& f)
{
    const auto* const d = dynamic_cast<const ofi::libfabric_driver*>(&f);
    return d ? d->facts() : libfabric_facts{};
}

} // namespace wye
