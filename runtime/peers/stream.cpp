// SPDX-License-Identifier: Apache-2.0
#include "stream.hpp"

#include <algorithm>
#include <utility>

namespace wye::detail {

namespace {

constexpr std::uint64_t first_patience_ns = 5'000'000, least_patience_ns = 500'000, most_patience_ns = 100'000'000;
constexpr std::uint64_t put_off_ns = 20'000; // a full queue drains in microseconds

} // namespace

/// How long an answer may take before the frame is sent again: some round trips, and twice as long each time
/// (RFC 6298 in spirit; several rails make the spread large, so the variance is not worth tracking).
std::uint64_t stream::patience(std::uint32_t attempts) const noexcept
{
    const double base = round_trip_ > 0 ? std::clamp(4 * round_trip_, double{least_patience_ns}, double{most_patience_ns})
                                        : double{first_patience_ns};
    return std::min(static_cast<std::uint64_t>(base) << std::min(attempts, 8u), most_patience_ns);
}

void stream::push(const wire::record& r, told t)
{
    const bool fits = !frames_.empty() && frames_.back().attempts == 0 &&
                      frames_.back().bytes.size() + wire::size_of(r) <= wire::most_frame;
    if (!fits) {
        frame& made = frames_.emplace_back();
        made.number = ++last_;
        if (!spare_.empty()) {
            made.bytes = std::move(spare_.back());
            spare_.pop_back();
        }
        made.bytes.reserve(wire::frame_header_bytes + wire::size_of(r));
        wire::begin_frame(made.bytes, header(0, made.number, false));
    }
    frame& f = frames_.back();
    wire::append(f.bytes, r);
    if (t) f.tell.emplace_back(f.records, std::move(t));
    ++f.records;
}

stream::frame* stream::next_due(std::uint64_t now, std::uint64_t token)
{
    const std::size_t most = std::min(frames_.size(), window);
    for (std::size_t i = 0; i < most; ++i) {
        frame& f = frames_[i];
        if (f.over || f.due > now) continue;
        wire::refresh_frame(f.bytes, header(token, f.number, true));
        return &f;
    }
    return nullptr;
}

void stream::sent(frame& f, std::uint64_t now) noexcept
{
    if (f.attempts == 0) f.sent = now;
    f.due = now + patience(f.attempts++);
}

void stream::not_now(frame& f, std::uint64_t now) noexcept { f.due = now + put_off_ns; }

std::uint64_t stream::due() const noexcept
{
    std::uint64_t first = 0;
    const std::size_t most = std::min(frames_.size(), window);
    for (std::size_t i = 0; i < most; ++i) {
        const frame& f = frames_[i];
        if (f.over) continue;
        const std::uint64_t at = std::max<std::uint64_t>(f.due, 1);
        first = first ? std::min(first, at) : at;
    }
    return first;
}

void stream::close(frame& f, std::uint64_t now)
{
    if (f.over || f.attempts == 0) return;
    f.over = true;
    if (f.attempts == 1) { // of one that was sent again nobody knows which was answered (Karn)
        const auto took = static_cast<double>(now - f.sent);
        round_trip_ = round_trip_ > 0 ? 0.875 * round_trip_ + 0.125 * took : took;
    }
    for (const auto& [record, t] : std::exchange(f.tell, {})) t(errc{});
}

void stream::heard(const wire::frame_header& h, std::uint64_t now)
{
    for (std::size_t i = 0; i < std::min(frames_.size(), window); ++i) {
        frame& f = frames_[i];
        const std::uint64_t beyond = f.number - h.heard - 2; // wraps, for what is not beyond
        if (f.number <= h.heard || (f.number >= h.heard + 2 && beyond < span && (h.further >> beyond & 1))) close(f, now);
    }
    while (!frames_.empty() && frames_.front().over) {
        if (spare_.size() < most_spare) spare_.push_back(std::move(frames_.front().bytes));
        frames_.pop_front();
    }
}

void stream::give_up()
{
    for (frame& f : std::exchange(frames_, {}))
        for (const auto& [record, t] : f.tell) t(errc::peer_lost);
}

void stream::rejected(std::uint64_t number, std::uint16_t record, errc why)
{
    const auto f = std::find_if(frames_.begin(), frames_.end(), [&](const frame& x) { return x.number == number; });
    if (f == frames_.end()) return;
    const auto t = std::find_if(f->tell.begin(), f->tell.end(), [&](const auto& x) { return x.first == record; });
    if (t == f->tell.end()) return;
    const told tell = std::move(t->second);
    f->tell.erase(t);
    tell(why);
}

bool stream::fresh(std::uint64_t number) noexcept
{
    if (number <= all_) return false;
    if (!withheld_.empty() && number - withheld_.front() >= span) return false; // nobody may say so much before
    if (number == all_ + 1) {
        ++all_;
        // Bit 0 of `some_` stands for the number after the next.
        while (some_ & 1) {
            ++all_;
            some_ >>= 1;
        }
        some_ >>= 1;
        return true;
    }
    const std::uint64_t beyond = number - all_ - 2;
    if (beyond >= span) return false; // not taken, so it comes again
    const std::uint64_t bit = std::uint64_t{1} << beyond;
    return !(std::exchange(some_, some_ | bit) & bit);
}

bool stream::came(std::uint64_t number) const noexcept
{
    const std::uint64_t beyond = number - all_ - 2; // wraps, for what is not beyond
    return number <= all_ || (number >= all_ + 2 && beyond < span && (some_ >> beyond & 1));
}

void stream::withhold(std::uint64_t number)
{
    withheld_.insert(std::upper_bound(withheld_.begin(), withheld_.end(), number), number);
}

void stream::release(std::uint64_t number) noexcept
{
    const auto it = std::find(withheld_.begin(), withheld_.end(), number);
    if (it != withheld_.end()) withheld_.erase(it);
}

wire::frame_header stream::header(std::uint64_t token, std::uint64_t number, bool answer_please) const noexcept
{
    wire::frame_header h{token, number, all_, some_, answer_please};
    if (withheld_.empty()) return h;
    h.heard = std::min(all_, withheld_.front() - 1);
    h.further = 0;
    for (std::uint64_t i = 0; i < span; ++i) {
        const std::uint64_t n = h.heard + 2 + i;
        const bool heard_of = came(n) && !std::binary_search(withheld_.begin(), withheld_.end(), n);
        h.further |= std::uint64_t{heard_of} << i;
    }
    return h;
}

} // namespace wye::detail
