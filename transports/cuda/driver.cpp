// SPDX-License-Identifier: Apache-2.0
#include "driver.hpp"

#include <algorithm>
#include <utility>

#include <wye/cufile.hpp>

#include "errors.hpp"
#include "pointers.hpp"
#include "scope.hpp"

namespace wye::cu {

namespace {

/// Pinning takes some 75 us a MiB: more than this goes to a helper thread.
constexpr std::uint64_t at_once_bytes = 32_MiB;

bool is_vram(const slice& s) noexcept { return s.tier() == tier::vram; }

} // namespace

cuda_driver::cuda_driver(const api& a, const cuda_options& o)
    : api_{a}, options_{o}, machine_{a, o},
      orders_{a, machine_, machine_.size() * o.window_bytes / 2, machine_.size() * o.window_chunks / 2}, pinned_{pinned_of(a)}
{
    error_code why;
    first_ = machine_.open((*machine_.begin())->ordinal(), why);
    if (!first_) throw system_error(why, "GPU " + std::to_string((*machine_.begin())->ordinal()));
}

cuda_driver::~cuda_driver()
{
    for (registration& r : registering_) r.helper.join();
}

limits cuda_driver::limits() const noexcept
{
    wye::limits l;
    const auto devices = static_cast<std::uint32_t>(machine_.size());
    l.chunk_bytes = std::max<std::size_t>(options_.chunk_bytes, 4_KiB);
    l.window_chunks = std::max(options_.window_chunks, 2u) * devices;
    l.window_bytes = options_.window_bytes * devices;
    l.background_chunks = 1;
    l.latency = std::chrono::microseconds{8};
    l.bytes_per_second = 50e9;
    return l;
}

bool cuda_driver::carries(const slice& from, const slice& to) const noexcept
{
    const auto ours = [&](const slice& s) {
        return !s.of->home && (s.tier() == tier::dram || (is_vram(s) && machine_.find(s.of->device)));
    };
    return ours(from) && ours(to) && (is_vram(from) || is_vram(to));
}

/// Between here and files there is another driver, where there can be one.
std::string cuda_driver::declines(const slice& from, const slice& to) const
{
    const auto stored = [](const slice& s) { return s.tier() == tier::file || s.tier() == tier::block; };
    if (is_vram(from) ? !stored(to) : !is_vram(to) || !stored(from)) return {};
    const std::string missing = read_cufile().missing;
    return missing.empty() ? missing : "cuFile: " + missing;
}

/// It is told in `poll`, since a chunk may not end in `submit`.
bool cuda_driver::fail(chunk& c, int error) noexcept
{
    c.scratch[1] = static_cast<std::uint64_t>(error);
    failed_.push(c);
    return true;
}

/// Whether it goes with others of its kind.
bool cuda_driver::gathers(const chunk& c, const gpu& g) const noexcept
{
    if (c.from.length > options_.gather_bytes) return false;
    if (is_vram(c.from) && is_vram(c.to) && c.from.of->device != c.to.of->device) return false;
    if (!g.by_kernel()) return g.by_batch() && !pinned_.split();
    const auto at = [](const slice& s) { return reinterpret_cast<std::uintptr_t>(s.data()); };
    return ((at(c.from) ^ at(c.to)) & 15) == 0;
}

bool cuda_driver::submit(chunk& c) noexcept
{
    const note from = known(*c.from.of), to = known(*c.to.of);
    if (from == pending || to == pending) return false;
    if (from == unknown || to == unknown) return fail(c, static_cast<int>(cuda_errc::not_registered));
    gpu& g = *machine_.find((is_vram(c.from) ? c.from : c.to).of->device);
    if (g.lost() != CUDA_SUCCESS) return fail(c, g.lost());
    if (c.order != 0) {
        if (track* const side = orders_.side_of(c.order)) return gathers(c, g) ? side->gather(c, side->pages_out()) : side->copy(c);
    }
    way& w = !is_vram(c.from) ? g.up : is_vram(c.to) ? g.across : g.down;
    return gathers(c, g) ? w.gather(c) : w.copy(c);
}

void cuda_driver::flush() noexcept
{
    for (const auto& g : machine_)
        if (g->is_open()) g->flush();
}

std::size_t cuda_driver::poll(turn t) noexcept
{
    std::size_t n = registering_.empty() ? 0 : finish_registrations();
    while (chunk* c = failed_.front()) {
        failed_.pop();
        c->done({static_cast<int>(c->scratch[1]), cuda_category()}, 0);
        ++n;
    }
    for (const auto& g : machine_)
        if (g->is_open()) n += g->reap(t);
    return n;
}

bool cuda_driver::due() const noexcept
{
    return std::any_of(machine_.begin(), machine_.end(), [](const auto& g) { return g->is_open() && g->due(); });
}

void cuda_driver::enlist(segment& s, std::function<void(error_code)> done)
{
    s.notes[id()] = unknown;
    if (s.home || s.length == 0) return done({});
    if (s.tier == tier::dram) return enlist_host(s, std::move(done));
    if (s.tier != tier::vram) return done({});
    const error_code wrong = enlist_device(s);
    if (!wrong) s.notes[id()] = usable;
    done(wrong);
}

error_code cuda_driver::enlist_device(segment& s) noexcept
{
    error_code why;
    gpu* const g = machine_.open(s.device, why);
    if (!g) return why;
    const scope in{api_, g->context()};
    return check_device_memory(api_, s.base, s.length, s.device);
}

CUresult cuda_driver::pin(const segment& s) noexcept
{
    const scope in{api_, first_->context()};
    try {
        return in.error() != CUDA_SUCCESS ? in.error() : pinned_.pin(s.base, s.length);
    } catch (const std::bad_alloc&) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
}

void cuda_driver::enlist_host(segment& s, std::function<void(error_code)> done)
{
    error_code wrong;
    {
        const scope in{api_, first_->context()};
        wrong = check_host_memory(api_, s.base);
    }
    if (!wrong && s.length > at_once_bytes) {
        registration& r = registering_.emplace_back();
        r.of = &s;
        r.done = std::move(done);
        s.notes[id()] = pending;
        r.helper = std::thread{[this, &r] {
            r.error = error_of(pin(*r.of));
            r.over.store(true, std::memory_order_release);
        }};
        return;
    }
    if (!wrong) wrong = error_of(pin(s));
    if (!wrong) s.notes[id()] = usable;
    done(wrong);
}

std::size_t cuda_driver::finish_registrations() noexcept
{
    std::size_t n = 0;
    for (auto it = registering_.begin(); it != registering_.end();) {
        if (!it->over.load(std::memory_order_acquire)) {
            ++it;
            continue;
        }
        it->helper.join();
        it->of->notes[id()] = it->error ? unknown : usable;
        const auto done = std::move(it->done);
        const error_code error = it->error;
        it = registering_.erase(it);
        done(error);
        ++n;
    }
    return n;
}

void cuda_driver::dismiss(segment& s) noexcept
{
    // One that is under way is waited for: its memory is about to go.
    for (auto it = registering_.begin(); it != registering_.end(); ++it) {
        if (it->of != &s) continue;
        it->helper.join();
        s.notes[id()] = it->error ? unknown : usable;
        registering_.erase(it);
        break;
    }
    if (s.tier == tier::dram && known(s) == usable) {
        const scope in{api_, first_->context()};
        pinned_.unpin(s.base, s.length);
    }
    s.notes[id()] = unknown;
}

} // namespace wye::cu

namespace wye::drivers {

std::unique_ptr<driver> cuda(const cuda_options& o)
{
    error_code why;
    const cu::api* const a = cu::load(why);
    if (!a) throw system_error(why, "no GPU here");
    return std::make_unique<cu::cuda_driver>(*a, o);
}

} // namespace wye::drivers
