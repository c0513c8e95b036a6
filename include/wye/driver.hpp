// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <wye/clock.hpp>
#include <wye/error.hpp>
#include <wye/gpu_order.hpp>
#include <wye/segment.hpp>
#include <wye/units.hpp>

namespace wye {

struct file_options;
class fabric;

/// What a chunk asks of a driver.
///
/// Things that appear whole or not at all (an object) are written as `open`, any number of `move`s in any
/// order, possibly at once, then `commit`, or `abandon` if anything failed; `commit` ends the session even when
/// it fails. Reading a large object is `open`, `move`s and `abandon`: all of them see the same generation of it.
/// An `open` names the object's side only, the other is empty. A chunk that is the whole of its object
/// (`chunk::sole`) is one `move` that does all of it. Everything else is `move`.
enum class step : std::uint8_t { move, open, commit, abandon };

/// A piece of a transfer, cut to suit one driver. The runtime owns it; a driver borrows it from `submit`
/// until it calls `done`, exactly once. Both sides have the same length.
struct chunk {
    slice from, to;
    chunk* next = nullptr;            ///< for whoever holds it: a driver may queue with it
    std::uint32_t rail = 0;           ///< which of the driver's rails carries it
    wye::step step = wye::step::move;
    bool sole = false;                ///< it is all of the object `to`, which must replace the old one at once
    bool urgent = false;              ///< for drivers that can tell the device
    std::uintptr_t session = 0;       ///< set by the driver at `open`, given back in all that follows
    std::uint64_t total = 0;          ///< bytes of the object being written; `open` for reading sets it
    std::uint64_t checksum = 0;       ///< see `has_checksum`
    bool has_checksum = false;        ///< writing an object (`sole`, `commit`): keep `checksum` (CRC32C) with it;
                                      ///< reading: the driver gives back what was kept, if it reads from the start
    std::uintptr_t order = 0;         ///< what it comes after, by `device_order::mark`; 0: nothing
    std::uint64_t scratch[3];         ///< the driver's, between `submit` and `done`

    /// Ends the loan: `bytes` arrived, or none of it can be relied on. Fewer bytes than asked without an
    /// error is a short transfer: the runtime asks again for the rest, and takes 0 for the end of the source.
    /// Call it from `driver::poll` (or a call that ends in it), never inside `submit`.
    void done(error_code error, std::size_t bytes) noexcept;
    void done() noexcept; ///< all of it arrived
    /// False once its operation was cancelled, is late or has failed: a driver may leave undone what has not reached the
    /// device (another try, a rest of a transfer), and end the loan with `operation_aborted`.
    bool wanted() const noexcept;
};

/// What a driver can take, and what it is expected to cost until it has been measured.
struct limits {
    std::size_t chunk_bytes = 1_MiB;          ///< largest piece
    std::size_t alignment = 1;                ///< pieces are cut at multiples of this in the tier's own offsets
    std::size_t granule = 1;                  ///< of drivers between VRAM and what stores: they carry transfers that begin and
                                              ///< end at multiples of this (a power of two) in the file and in memory; others,
                                              ///< and those under `verify`, which the processor must see, are staged
    bool on_trial = false;                    ///< of the same: the first transfers of each direction and device go straight and
                                              ///< staged in turn, and what took less time for a byte is kept to
    std::uint32_t window_chunks = 64;         ///< pieces in flight per rail
    std::size_t window_bytes = 16_MiB;        ///< bytes in flight per rail; one piece is always admitted
    std::uint32_t background_chunks = 4;      ///< of which background work may hold so many. On rails that may be lost, or are
                                              ///< several, its pieces take a millisecond each at most, by the rate that was
                                              ///< seen, but have 64 KiB at least
    std::size_t spread_bytes = 128_KiB;       ///< with several rails: what is left is not shared out in smaller pieces,
                                              ///< so that a transfer of so much rides one rail
    std::size_t at_once_bytes = 0;            ///< up to which `driver::move_at_once` is worth asking
    duration latency = std::chrono::microseconds{1}; ///< nominal, of one piece
    double bytes_per_second = 4e9;            ///< nominal, of one rail
    duration stutter{};                       ///< how long a rail that is well may say nothing: a kernel that sends again,
                                              ///< a processor that is elsewhere. No piece is missed sooner
};

/// How long a driver may work now. The budget of `runtime::poll` reaches drivers through this: code that
/// moves bytes or enters the kernel asks between pieces of at most ~20 us and leaves the rest for the next call.
class turn {
public:
    using clock = std::chrono::steady_clock;
    turn() = default; ///< without end
    explicit turn(clock::time_point end, const virtual_clock* by = nullptr) noexcept : end_{end}, by_{by} {}
    /// Reads the clock (80 ns on a virtual machine) when there is a budget.
    bool over() const noexcept { return end_ != clock::time_point::max() && (by_ ? by_->now() : clock::now()) >= end_; }
    bool bounded() const noexcept { return end_ != clock::time_point::max(); }

private:
    clock::time_point end_ = clock::time_point::max();
    const virtual_clock* by_ = nullptr;
};

/// What is known of an object without reading it.
struct object_info {
    std::string key;
    std::uint64_t size = 0;       ///< bytes
    std::chrono::system_clock::time_point modified{};
    std::string tag{};            ///< of this generation of it, where the store has such (S3's ETag, quotes and all)
};

/// What must hold of an object, or a copy from it or to it fails and changes nothing. The store looks at it in the same step as it
/// does what was asked, so of several who try one wins.
struct object_condition {
    bool absent = false; ///< of a target: there is none of this name
    std::string tag{};   ///< it is this generation still
};

/// A part of a listing, in the order of the keys' bytes.
struct object_page {
    std::vector<object_info> objects;
    bool more = false;            ///< ask again after the last key
};

/// What stands behind a `bucket`: directory and S3 alike. Calls return at once; the callback comes on the
/// runtime's thread, from `driver::poll`, exactly once each.
class object_store {
public:
    virtual ~object_store() = default;
    virtual wye::access access() const noexcept = 0;
    /// A name for an object; asks nobody, so it may not exist. Null when the key is malformed.
    virtual std::unique_ptr<segment> locate(std::string key) = 0;
    /// The same under a condition. Null, too, when the store has no conditions.
    virtual std::unique_ptr<segment> locate_if(std::string /*key*/, object_condition) { return nullptr; }
    virtual void stat(std::string key, std::function<void(error_code, object_info)>) = 0;
    /// Keys that begin with `prefix` and come after `after`, at most `most` of them.
    virtual void list(std::string prefix, std::string after, std::size_t most,
                      std::function<void(error_code, object_page)>) = 0;
    virtual void remove(std::string key, std::function<void(error_code)>) = 0;
    /// Of several, until one fails; one that is not there is no error.
    virtual void remove_all(std::vector<std::string> keys, std::function<void(error_code)> done)
    {
        std::string last = std::move(keys.back());
        keys.pop_back();
        remove(std::move(last), [this, keys = std::move(keys), done = std::move(done)](error_code e) mutable {
            if (e || keys.empty()) return done(e);
            remove_all(std::move(keys), std::move(done));
        });
    }
    /// One line about the last failure with this key, for messages; empty when there is nothing to add to the error.
    virtual std::string why(std::string_view /*key*/) const { return {}; }
};

/// Orders copies and what a device does for others: what stands behind `copy_options::after` and `before`. On the
/// runtime's thread; no call blocks.
class device_order {
public:
    virtual ~device_order() = default;

    /// Marks a point that a copy which touches this device comes after. Given back by `forget`; 0 with the reason.
    virtual std::uintptr_t mark(const gpu_order&, std::int32_t device, error_code& why) noexcept = 0;
    /// What would wait.
    struct waiting {
        bool on_device;             ///< all its chunks are this driver's own first, and touch that device
        std::uint64_t bytes, chunks;
    };
    /// Whether the copy may go: the device has passed the point, or will see to it that chunks with this `chunk::order`
    /// wait for it. Asked again, until it is true, and then no more. With an error it will never pass.
    virtual bool passed(std::uintptr_t mark, const waiting&, error_code& why) noexcept = 0;
    /// The copy is over.
    virtual void forget(std::uintptr_t mark) noexcept = 0;

    /// From here on the stream waits, until it is let go. 0 with the reason.
    virtual std::uintptr_t hold(const gpu_wait&, std::int32_t device, error_code& why) noexcept = 0;
    virtual void let_go(std::uintptr_t held, bool landed) noexcept = 0;
};

/// Moves chunks between tiers: the whole seam between the runtime and the world. Derive from it to teach
/// wye a device; `agent::add` takes it.
///
/// Every call is made on the runtime's thread, and none may block, the destructor excepted: it ends what
/// it started (helper threads, kernel work) before it returns. A driver is destroyed only when no chunk is
/// out on loan. Callbacks given to `enlist`, `open_file`, `sync`, `open_store`, `fence` and `open_rail` are called
/// exactly once, at once or from `poll`.
class driver {
public:
    virtual ~driver() = default;

    /// Short, stable, lower case: "host", "file". Metrics and messages use it.
    virtual std::string_view name() const noexcept = 0;
    virtual wye::limits limits() const noexcept { return {}; }
    virtual std::uint32_t rails() const noexcept { return 1; } ///< at most 64
    /// With several rails: windows and nominal rates of each. How pieces are cut is for `limits` to say.
    virtual wye::limits rail_limits(std::uint32_t /*rail*/) const noexcept { return limits(); }
    /// With several rails: bits of those that may carry from the one to the other (near the GPU, known to the peer).
    /// Remembered, as `carries` is.
    virtual std::uint64_t rails_between(const slice& /*from*/, const slice& /*to*/) const noexcept
    {
        return ~std::uint64_t{0};
    }
    /// Of these the ones that are to carry it as long as any of them can: behind the same PCIe switch, of the same NUMA
    /// node. The others are there for when those are lost. Remembered, too.
    virtual std::uint64_t near_rails(const slice& /*from*/, const slice& /*to*/) const noexcept
    {
        return ~std::uint64_t{0};
    }

    /// Whether it moves bytes from the one to the other in one hop. May depend only on tiers, devices and
    /// `segment::home`, `reach` and `open_to`, since the answer is remembered.
    virtual bool carries(const slice& from, const slice& to) const noexcept = 0;
    /// Why this goes by no one hop of its, though it might be expected to: a few words, for `agent::explain`. Empty: no business
    /// of its.
    virtual std::string declines(const slice& /*from*/, const slice& /*to*/) const { return {}; }

    /// Moves a little (`limits::at_once_bytes`) here and now, if that takes microseconds and cannot wait for
    /// anything: true when all of it has arrived. If not, the same bytes come again as a chunk, so that failing is
    /// for `submit` to tell. Asked only when nothing waits for the driver and nobody counts the microseconds.
    virtual bool move_at_once(const slice& /*from*/, const slice& /*to*/) noexcept { return false; }

    /// Takes the chunk and returns true, or refuses for now (a full queue: back-pressure); it is then offered
    /// again after the next `poll` that reaps something.
    virtual bool submit(chunk&) noexcept = 0;
    /// The end of a round of `submit`s: tell the device now.
    virtual void flush() noexcept {}
    /// Reaps what completed, calling `done` for each; returns how many chunks and callbacks that were, plus
    /// any other progress made. Called while chunks are in flight or `busy()`.
    virtual std::size_t poll(turn) noexcept = 0;
    /// Whether it has work beside chunks (an open, a listing) that needs `poll`.
    virtual bool busy() const noexcept { return false; }
    /// Whether something may come from outside at any time: then it is polled, or slept on, whatever is asked of it. That
    /// alone keeps nothing going.
    virtual bool attentive() const noexcept { return false; }

    /// A descriptor that turns readable when `poll` would find something, or -1: then the loop must poll.
    virtual int wait_handle() const noexcept { return -1; }
    /// Before the loop sleeps on `wait_handle()`. False: something is there already, poll instead.
    virtual bool arm() noexcept { return true; }

    /// Whether rails may be lost, and are worth watching: silence, too, is then taken for a loss. A chunk that ends in
    /// `errc::rail_lost` did not fail, its rail did; its bytes may still be on their way, and it is sent again over
    /// another rail.
    virtual bool may_lose_rails() const noexcept { return false; }
    /// Closes what the rail posts through and flushes it, asynchronously. When `fenced` is called, every chunk that
    /// the rail had has ended (in `errc::rail_lost`, if it did not arrive), and nothing that was ever posted on it
    /// touches memory any more. Nothing is submitted to it until it is open again.
    virtual void fence(std::uint32_t /*rail*/, std::function<void()> fenced) { fenced(); }
    /// Opens a fenced rail again, and finds out whether it carries anything; asked again later if not.
    virtual void open_rail(std::uint32_t /*rail*/, std::function<void(error_code)> opened) { opened({}); }

    /// Memory is registered or leaves. Slow work goes to a helper thread; `done` then comes from `poll`, or no more when the
    /// memory has left meanwhile.
    virtual void enlist(segment&, std::function<void(error_code)> done) { done({}); }
    virtual void dismiss(segment&) noexcept {}
    /// Whether it moves bytes of files that others open: then those are enlisted, too, when they are open, and no error of that
    /// keeps them from being used.
    virtual bool takes_files() const noexcept { return false; }

    /// Whether what it can only be polled for is a matter of microseconds: then the loop neither naps nor yields.
    virtual bool due() const noexcept { return false; }

    /// Where it knows streams of a device; null elsewhere.
    virtual device_order* order() noexcept { return nullptr; }

    /// Whether it opens files at paths (one driver of an agent does).
    virtual bool opens_files() const noexcept { return false; }
    virtual void open_file(std::string path, const file_options&,
                           std::function<void(error_code, std::unique_ptr<segment>)> done);
    /// Makes what was written to the file durable.
    virtual void sync(segment& file, std::function<void(error_code)> done);

    /// Whether it serves buckets of this URL ("dir:/var/cache/kv").
    virtual bool serves(std::string_view /*url*/) const noexcept { return false; }
    virtual void open_store(std::string url, wye::access,
                            std::function<void(error_code, std::unique_ptr<object_store>)> done);

    /// Its place in `segment::notes`, given by `agent::add`.
    std::size_t id() const noexcept { return id_; }

protected:
    /// A rail is lost, though no chunk may have told of it. From `poll`.
    void lost(std::uint32_t rail) noexcept;

private:
    friend class detail::engine;
    friend class fabric;
    std::size_t id_ = 0;
    detail::engine* engine_ = nullptr;
};

} // namespace wye
