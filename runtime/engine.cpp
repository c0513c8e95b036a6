// SPDX-License-Identifier: Apache-2.0
#include "engine.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "ledger.hpp"

namespace wye {

segment::segment(wye::tier t) noexcept : tier{t} {}
segment::~segment()
{
    if (engine) engine->dismiss(*this);
}

void driver::open_file(std::string, const file_options&, std::function<void(error_code, std::unique_ptr<segment>)> done)
{
    done(errc::not_supported, nullptr);
}
void driver::sync(segment&, std::function<void(error_code)> done) { done(errc::not_supported); }
void driver::open_store(std::string, wye::access, std::function<void(error_code, std::unique_ptr<object_store>)> done)
{
    done(errc::not_supported, nullptr);
}

void driver::lost(std::uint32_t rail) noexcept
{
    if (engine_) engine_->lose(*this, rail);
}

void chunk::done(error_code error, std::size_t bytes) noexcept
{
    auto& p = static_cast<detail::piece&>(*this);
    p.op->by->ended(p, error, bytes);
}
void chunk::done() noexcept
{
    auto& p = static_cast<detail::piece&>(*this);
    if (p.simple) p.op->by->landed_simple(p);
    else p.op->by->ended(p, {}, from.length);
}

bool chunk::wanted() const noexcept
{
    const auto& p = static_cast<const detail::piece&>(*this);
    return !p.op->stopping && !p.of->failed;
}

namespace detail {

void segment_handle::reset() noexcept
{
    segment* s = std::exchange(segment_, nullptr);
    if (!s) return;
    if (s->in_flight == 0) {
        delete s;
    } else if (strict_) {
        const auto what = s->describe();
        std::fprintf(stderr,
                     "wye: %.*s %.*s is destroyed with %u transfers in flight, which would go on touching it\n",
                     static_cast<int>(name_of(s->tier).size()), name_of(s->tier).data(),
                     static_cast<int>(what.size()), what.data(), s->in_flight);
        std::abort();
    } else {
        s->released = true;
    }
}

namespace {

/// Whether the driver is told of it: of memory all are, of files that are ours some.
bool is_for(const segment& s, const driver& d) noexcept
{
    return s.base || ((s.tier == tier::file || s.tier == tier::block) && !s.via && d.takes_files());
}

} // namespace

engine::engine(progress_loop& l, std::string name, const agent_options& o)
    : loop_{l}, name_{std::move(name)}, rails_{o.rails}, staging_{o.staging_bytes, o.staging_piece},
      notifications_{l}, peers_{*this, o.peers}
{
    loop_.add(*this);
}

engine::~engine()
{
    drain();
    peers_.shut();
    while (peers_.severing()) poll_or_pass();
    loop_.remove(*this);
    for (auto& d : ports_) loop_.timers().remove(*d);
    while (!segments_.empty()) {
        segment& s = *segments_.back();
        dismiss(s);
        s.home = nullptr; // it outlives its driver
    }
    if (staging_.made()) {
        for (auto& d : drivers_) d->dismiss(staging_.segment());
        staging_.segment().engine = nullptr;
    }
    while (spares_) {
        piece* p = std::exchange(spares_, static_cast<piece*>(spares_->next));
        loop_.memory().deallocate(p, sizeof(piece));
    }
}

driver& engine::add(std::unique_ptr<driver> d)
{
    if (drivers_.size() == segment::most_drivers) throw system_error(errc::not_supported, "too many drivers");
    d->id_ = drivers_.size();
    d->engine_ = this;
    if (d->rails() > most_rails) throw system_error(errc::not_supported, "too many rails");
    port& made = *ports_.emplace_back(std::make_unique<port>(*d, loop_.stamp()));
    if (!made.many()) made.line_of(1, 1, lines_++);
    if (auto* const f = dynamic_cast<fabric*>(d.get())) peers_.add(*f);
    drivers_.push_back(std::move(d));
    std::fill(by_kinds_.begin(), by_kinds_.end(), nullptr); // there may be a better way now
    for (segment* s : segments_)
        if (is_for(*s, *drivers_.back())) drivers_.back()->enlist(*s, [this, s](error_code) { s->kind = kind_of(*s); });
    if (staging_.made()) enlist_staging(*drivers_.back());
    return *drivers_.back();
}

void engine::enlist_staging(driver& d)
{
    staging_.enlisting();
    d.enlist(staging_.segment(), [this](error_code) {
        if (!staging_.enlisted()) return;
        for (std::size_t i = 0; i < staging_.buffers(); ++i) staging_freed();
    });
}

void engine::adopt(segment& s)
{
    s.engine = this;
    s.kind = kind_of(s);
    s.place = static_cast<std::uint32_t>(segments_.size());
    segments_.push_back(&s);
}

void engine::dismiss(segment& s) noexcept
{
    segments_.back()->place = s.place;
    segments_[s.place] = segments_.back();
    segments_.pop_back();
    if (s.shown) peers_.gone(s);
    for (auto& d : drivers_)
        if (is_for(s, *d)) d->dismiss(s);
    s.engine = nullptr;
}

bool engine::busy_drivers() const noexcept
{
    return std::any_of(drivers_.begin(), drivers_.end(), [](const auto& d) { return d->busy(); });
}

void engine::poll_or_pass() noexcept
{
    if (poll(turn{}) == 0) loop_.pass_time();
}

std::size_t engine::poll(turn t) noexcept
{
    std::size_t n = summing_.empty() ? 0 : sum(t);
    if (!waiting_.empty()) n += go_on_in_order();
    const std::size_t ports = ports_.size();
    // Whoever comes first may use up the turn, so they take it in turns to be that.
    if (++first_port_ >= ports) first_port_ = 0;
    for (std::size_t i = 0, at = first_port_; i < ports; ++i, at = at + 1 == ports ? 0 : at + 1) {
        if (i != 0 && t.over()) break;
        port& d = *ports_[at];
        if (d.many()) {
            n += poll_rails(d, t);
            continue;
        }
        lane& l = d.lanes.front();
        line& w = *d.lines.front();
        if (w.asked || !l.resumed.empty()) n += pump(w, l, t);
        if (d.posted) {
            d.posted = false;
            d.by->flush();
        }
        if (l.chunks == 0 && !d.by->busy() && !d.by->attentive()) continue;
        const std::size_t reaped = d.by->poll(t);
        if (reaped || l.out == 0) l.refused = false;
        n += reaped;
    }
    if (peers_.listening()) n += peers_.poll();
    return n;
}

std::size_t engine::outstanding() const noexcept
{
    std::size_t out = 0;
    for (const auto& d : ports_)
        for (const lane& l : d->lanes) out += l.out;
    return out;
}

bool engine::descriptors(std::vector<int>& out) const noexcept
{
    bool all = true;
    for (const auto& d : ports_) {
        const bool busy = d->by->busy();
        if (!d->holds_any() && !busy && !d->by->attentive()) continue;
        const int fd = d->by->wait_handle();
        const auto put_off = [](const lane& l) { return l.chunks != 0 && l.out == 0; }; // to be offered again
        if (fd < 0 || (!busy && std::any_of(d->lanes.begin(), d->lanes.end(), put_off))) all = false;
        else out.push_back(fd);
    }
    return all && summing_.empty() && waiting_.empty();
}

bool engine::arm() noexcept
{
    for (const auto& d : ports_)
        if ((d->holds_any() || d->by->busy() || d->by->attentive()) && !d->by->arm()) return false;
    return true;
}

bool engine::due() const noexcept
{
    return std::any_of(ports_.begin(), ports_.end(), [](const auto& d) { return d->holds_any() && d->by->due(); });
}

void engine::idle(steady::time_point now) noexcept
{
    for (auto& row : pairs_)
        for (auto& p : row) p.busy.idle(now);
    for (auto& d : ports_) {
        for (lane& l : d->lanes) l.meter.busy.idle(now);
        if (d->many()) d->drift(static_cast<std::uint64_t>(now.time_since_epoch().count()));
    }
}

void engine::drain() noexcept
{
    peers_.stop_serving();
    // Stopping one may finish it, and so unlink it; those that must wait for hardware stay.
    for (auto at = operations_.begin(); at != operations_.end();) {
        operation& op = *at++;
        stop(op, loop_.shut() ? make_error_code(errc::shut_down)
                              : error_code{boost::asio::error::operation_aborted});
    }
    peers_.recall();
    while (active_ != telling_ || peers_.serves()) poll_or_pass();
    peers_.hush();
    while (active_ != 0) poll_or_pass();
    while (busy_drivers()) {
        std::size_t n = 0;
        for (auto& d : drivers_) n += d->poll(turn{});
        if (n == 0) loop_.pass_time();
    }
}

} // namespace detail
} // namespace wye
