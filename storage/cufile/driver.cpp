// SPDX-License-Identifier: Apache-2.0
#include "driver.hpp"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "errors.hpp"
#include "ready.hpp"

namespace wye::cuf {

namespace {

constexpr unsigned most_threads = 64;

unsigned threads_of(const cufile_options& o) noexcept { return std::clamp(o.threads, 1u, most_threads); }

/// A GPU's memory of ours.
bool is_vram(const slice& s) noexcept { return s.tier() == tier::vram && !s.of->home; }
bool is_file(const slice& s) noexcept { return s.tier() == tier::file || s.tier() == tier::block; }

bool whole(const slice& s, std::uint64_t page) noexcept
{
    return ((reinterpret_cast<std::uintptr_t>(s.of->base) + s.offset) & (page - 1)) == 0 && (s.length & (page - 1)) == 0;
}

} // namespace

cufile_driver::cufile_driver(const api* a, std::string missing, const cufile_options& o)
    : api_{a}, on_trial_{o.mode == cufile_mode::automatic}, chunk_bytes_{std::clamp<std::size_t>(o.chunk_bytes, 64_KiB, 1_GiB) & ~std::size_t{page - 1}},
      missing_{std::move(missing)}, contexts_{a}, calls_(std::size_t{2} * threads_of(o)), pool_{threads_of(o)}
{
    if (o.mode == cufile_mode::off) missing_ = "switched off";
    else if (missing_.empty()) missing_ = make_ready(*a);
    if (o.mode == cufile_mode::always && !real()) throw system_error(errc::not_supported, "cuFile: " + missing_);
    for (call& c : calls_) c.by = this, c.next_free = std::exchange(free_, &c);
}

limits cufile_driver::limits() const noexcept
{
    wye::limits l;
    l.chunk_bytes = chunk_bytes_;
    l.alignment = page;
    l.granule = page;
    l.on_trial = on_trial_;
    // As many again as are moved at a time, so that no helper waits for this thread.
    l.window_chunks = static_cast<std::uint32_t>(calls_.size());
    l.window_bytes = calls_.size() * chunk_bytes_;
    l.background_chunks = 2;
    l.latency = std::chrono::microseconds{100};
    l.bytes_per_second = 4e9;
    return l;
}

bool cufile_driver::carries(const slice& from, const slice& to) const noexcept
{
    const auto both = [&](const slice& vram, const slice& file) {
        return is_vram(vram) && is_file(file) && file.of->reach == reach() && contexts_.find(vram.of->device);
    };
    return real() && (both(from, to) || both(to, from));
}

std::string cufile_driver::declines(const slice& from, const slice& to) const
{
    const bool writes = is_vram(from) && is_file(to);
    if (!writes && !(is_file(from) && is_vram(to))) return {};
    const slice& file = writes ? to : from;
    const slice& vram = writes ? from : to;
    const known_file* const known = file_of(file);
    if (!real()) return "cuFile: " + missing_;
    if (!known) return {};
    if (!known->refusal().empty()) return "cuFile: " + known->refusal();
    if (!contexts_.find(vram.of->device)) return "cuFile: no GPU " + std::to_string(vram.of->device) + " here";
    if (!whole(file, page) || !whole(vram, page)) return "cuFile: not in whole blocks of 4 KiB, in the file and in memory";
    return {};
}

// ---- Chunks ---------------------------------------------------------------------------------------------

bool cufile_driver::submit(chunk& c) noexcept
{
    const bool writes = is_vram(c.from);
    const slice& vram = writes ? c.from : c.to;
    const slice& file = writes ? c.to : c.from;
    const known_vram* const memory = vram_of(vram);
    if (!free_ || (memory && memory->pending())) return false;
    call& it = *std::exchange(free_, free_->next_free);
    it.of = &c;
    it.where = contexts_.find(vram.of->device);
    it.file = file_of(file) ? file_of(file)->handle() : nullptr;
    // Registered memory is named by its beginning.
    const bool registered = memory && memory->registered();
    it.base = registered ? vram.of->base : vram.data();
    it.offset = registered ? static_cast<off_t>(vram.offset) : 0;
    it.place = static_cast<off_t>(file.offset);
    it.bytes = c.from.length;
    it.writes = writes;
    pool_.submit(it, c.urgent);
    return true;
}

/// On a helper thread. What comes short is reported so: the runtime asks for the rest, and finds the file's end that way.
void cufile_driver::call::work() noexcept
{
    const api& a = *by->api_;
    moved = 0;
    error = {};
    const scope in{a, where};
    if (!in.entered()) {
        error = error_of({cuda_failed, 0});
        return;
    }
    ssize_t n;
    do {
        errno = 0;
        n = writes ? a.write(file, base, bytes, place, offset) : a.read(file, base, bytes, place, offset);
    } while (n == -1 && errno == EINTR);
    if (n < 0) error = error_of(n, errno);
    else if (static_cast<std::size_t>(n) > bytes) error = file_error(EIO);
    else moved = static_cast<std::size_t>(n);
}

void cufile_driver::call::finished() noexcept
{
    chunk& c = *of;
    next_free = std::exchange(by->free_, this);
    c.done(error, moved);
}

// ---- Memory and files -----------------------------------------------------------------------------------

void cufile_driver::enlist(segment& s, std::function<void(error_code)> done)
{
    s.notes[id()] = 0;
    const slice all{&s, 0, s.length};
    if (!real() || s.length == 0) return done({});
    if (is_file(all)) {
        s.notes[id()] = reinterpret_cast<std::uintptr_t>(new known_file{s, *api_, pool_, reach(), std::move(done)});
        return;
    }
    const context c = is_vram(all) ? contexts_.open(s.device) : nullptr;
    if (!c) return done({});
    s.notes[id()] = reinterpret_cast<std::uintptr_t>(new known_vram{s, c, *api_, pool_, std::move(done)});
}

void cufile_driver::dismiss(segment& s) noexcept
{
    const std::uintptr_t note = std::exchange(s.notes[id()], 0);
    if (!note) return;
    if (s.tier == tier::vram) reinterpret_cast<known_vram*>(note)->forget();
    else reinterpret_cast<known_file*>(note)->forget();
}

} // namespace wye::cuf

namespace wye::drivers {

std::unique_ptr<driver> cufile(const cufile_options& o)
{
    std::string missing;
    const cuf::api* const a = o.mode == cufile_mode::off ? nullptr : cuf::load(missing);
    return std::make_unique<cuf::cufile_driver>(a, std::move(missing), o);
}

} // namespace wye::drivers
