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

/// In the order of their numbers; until `f` says that it is enough.
template <class Frames, class Do>
void stream::each_under_way(Frames& frames, Do f)
{
    std::size_t n = 0;
    for (auto& x : frames)
        if (n++ == window || !f(x)) break;
}

/// Its memory is that of one that is over, if there is any.
stream::frame& stream::next_frame()
{
    if (spare_.empty()) spare_.emplace_back();
    frames_.splice(frames_.end(), spare_, spare_.begin());
    frame& f = frames_.back();
    f.number = ++last_;
    f.due = f.sent = 0;
    f.attempts = 0;
    f.records = 0;
    f.over = false;
    f.tell.clear();
    wire::begin_frame(f.bytes, header(0, f.number, false));
    return f;
}

void stream::push(const wire::record& r, told t)
{
    const bool fits = !frames_.empty() && frames_.back().attempts == 0 &&
                      frames_.back().bytes.size() + wire::size_of(r) <= wire::most_frame;
    frame& f = fits ? frames_.back() : next_frame();
    f.bytes.reserve(f.bytes.size() + wire::size_of(r));
    wire::append(f.bytes, r);
    if (t) f.tell.emplace_back(f.records, std::move(t));
    ++f.records;
}

stream::frame* stream::next_due(std::uint64_t now, std::uint64_t token)
{
    frame* due = nullptr;
    each_under_way(frames_, [&](frame& f) {
        if (!f.over && f.due <= now) due = &f;
        return !due;
    });
    if (due) wire::refresh_frame(due->bytes, header(token, due->number, true));
    return due;
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
    each_under_way(frames_, [&](const frame& f) {
        const std::uint64_t at = std::max<std::uint64_t>(f.due, 1);
        if (!f.over) first = first ? std::min(first, at) : at;
        return true;
    });
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
    for (const auto& [record, t] : f.tell) t(errc{}); // which may say more, but nothing in this frame
    f.tell.clear();
}

void stream::heard(const wire::frame_header& h, std::uint64_t now)
{
    each_under_way(frames_, [&](frame& f) {
        const std::uint64_t beyond = f.number - h.heard - 2; // wraps, for what is not beyond
        if (f.number <= h.heard || (f.number >= h.heard + 2 && beyond < span && (h.further >> beyond & 1))) close(f, now);
        return true;
    });
    while (!frames_.empty() && frames_.front().over) {
        if (spare_.size() < most_spare) spare_.splice(spare_.end(), frames_, frames_.begin());
        else frames_.pop_front();
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
