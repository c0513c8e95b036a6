// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <wye/agent.hpp>
#include <wye/driver.hpp>
#include <wye/runtime.hpp>
#include <wye/task.hpp>
#include <wye/units.hpp>

/// A simulated world: hosts with memory, GPUs, disks and object stores, moving real bytes in virtual time. The
/// runtime over it is the one that ships; only drivers and clock are simulated. The same seed gives the same run,
/// to the byte.
///
/// \code
/// wye::sim::world world{17};
/// world.inject({.what = sim::fault_kind::shorten, .chance = 0.1, .device = "disk"});
/// wye::agent& agent = world.spawn("engine");
/// world.run(my_scheduler(agent));          // hours of it, in milliseconds
/// \endcode
namespace wye::sim {

/// How a device behaves when nothing is wrong with it, and what its driver tells the runtime.
struct device_model {
    double bytes_per_second = 4e9;          ///< of each channel
    duration latency = std::chrono::microseconds{1}; ///< of each operation, beside the time its bytes take
    double operations_per_second = 1e9;     ///< of each channel: no operation holds it for less
    std::uint32_t channels = 1;             ///< copy engines, for a GPU: work side by side
    std::uint32_t queue_depth = 256;        ///< operations that it takes before it refuses
    wye::limits limits;                     ///< `latency` and `bytes_per_second` are filled in from the above
};

device_model default_memory(); ///< DRAM to DRAM, by the processor
device_model default_gpu();    ///< each GPU's copy engines
device_model default_disk();   ///< NVMe
device_model default_store();  ///< objects, over a network

/// One rail of a host: a NIC port with a link to the like rail of every other host.
struct rail_model {
    double bytes_per_second = 12.5e9;       ///< each way
    double operations_per_second = 2e6;     ///< no operation holds it for less
    duration latency = std::chrono::microseconds{10}; ///< one way; a write is over after two
    std::uint32_t queue_depth = 4096;       ///< operations that it takes before it refuses
};

/// The rails of a host, and what their driver tells the runtime.
struct nic_model {
    std::vector<rail_model> rails;          ///< without any, the host has no way to others
    duration post_cost = std::chrono::nanoseconds{100}; ///< of the processor, for each operation
    duration fence_time = std::chrono::microseconds{50}; ///< to close an endpoint and flush it, or to open it
    bool hmem = true;                       ///< it reaches into VRAM by itself; otherwise agents serve that
    bool near = false;                      ///< what is in VRAM goes over the rails near its GPU, as long as any can be used
    bool by_processor = false;              ///< bytes of its host move only while their agent polls, as over tcp
    wye::limits limits;                     ///< `latency` and `bytes_per_second` are filled in from the above
};

/// As many equal rails as are asked for, with limits that suit them.
nic_model default_nic(std::size_t rails, rail_model = {});

/// What may be wrong with a rail for long.
enum class rail_state : std::uint8_t {
    up,
    dark,   ///< nothing comes through, and nobody says so
    broken, ///< operations end in an error; some of their bytes may arrive all the same, later
};

struct host_options {
    nic_model nic{};
    device_model memory = default_memory();
    device_model gpu = default_gpu();
    device_model disk = default_disk();
    device_model store = default_store();
    std::uint32_t gpus = 8;
    std::uint64_t disk_bytes = 1ull << 40; ///< beyond which writing ends in ENOSPC
};

enum class fault_kind : std::uint8_t {
    reorder,      ///< completions are delayed, each differently
    early_data,   ///< all bytes land long before the completion
    late_data,    ///< all bytes land, and are read, at the last moment
    refuse,       ///< `submit` is refused for a while
    shorten,      ///< fewer bytes than asked, but some
    io_error,     ///< EIO, after some of the bytes
    no_space,     ///< ENOSPC, after some of the bytes; of a disk
    registration, ///< memory is not accepted: ENOMEM
    unavailable,  ///< 503: EBUSY; of a store
    timeout,      ///< ETIMEDOUT, after a long time; of a store
    truncate,     ///< the body ends early, even at once; of a store
    stall,        ///< the device does nothing for a while
    clock_jump,   ///< the whole world's clock goes on by `extent` at `from`, as when a machine was suspended
    flip,         ///< a byte arrives changed; of a disk or a store
    dark,         ///< a rail goes dark for a while
    broken,       ///< a rail breaks for a while
    slow,         ///< a rail carries a tenth for a while
    twice,        ///< bytes or a message arrive twice; of a rail
    lose,         ///< a message does not arrive; of a rail
};
inline constexpr std::size_t fault_kind_count = 19;
std::string_view name_of(fault_kind) noexcept;

/// What goes wrong, how often, when and where. Each has a stream of random numbers of its own, so that leaving one
/// out changes nothing of what the others draw.
struct fault {
    fault_kind what{};
    double chance = 1;             ///< on each occasion
    duration from{}, until = duration::max(); ///< since the world began
    std::string device{};          ///< "memory", "gpu", "disk", "store" or "nic"; empty: wherever it can happen
    duration extent = std::chrono::microseconds{100}; ///< at most: delays, stalls, refusals, timeouts, jumps
    std::uint64_t seed = 0;        ///< of its stream, beside the world's; equal faults want different ones
};

/// Sees what devices do, as it happens: for oracles, traces and plots. It may not begin or cancel anything.
class observer {
public:
    virtual void submitted(std::string_view /*device*/, const chunk&) {}
    /// Bytes `[at, at + bytes)` of what the chunk asks for now are at their target.
    virtual void moved(std::string_view /*device*/, const chunk&, std::uint64_t /*at*/, std::uint64_t /*bytes*/) {}
    /// The byte at `at` of it arrived changed.
    virtual void flipped(std::string_view /*device*/, const chunk&, std::uint64_t /*at*/) {}
    /// Just before the runtime is told.
    virtual void ended(std::string_view /*device*/, const chunk&, const error_code&, std::size_t /*bytes*/) {}

protected:
    ~observer() = default;
};

/// The runtime can do nothing more, and neither can the world, and yet somebody waits.
struct stuck : std::runtime_error {
    using runtime_error::runtime_error;
};

/// An object as it was put.
struct stored_object {
    std::vector<std::byte> data;
    std::uint32_t checksum = 0; ///< CRC32C, if `has_checksum`
    bool has_checksum = false;
};

namespace detail {
struct universe;
struct machine;
}

/// A machine of a world. A handle; the world owns what it stands for.
class host {
public:
    explicit host(detail::machine& m) noexcept : machine_{&m} {}
    const std::string& name() const noexcept;
    /// What its disk has at this path: there from the start if `create`, else null when nobody wrote it.
    std::vector<std::byte>* file(const std::string& path, bool create = false) const;
    /// Operations that a device ("memory", "gpu", "disk", "store", "nic") has, and the most it ever had.
    std::size_t held(std::string_view device) const;
    std::size_t most_held(std::string_view device) const;
    /// A device that does nothing until it is let go. Holding all of them shows what windows admit.
    void hold(std::string_view device, bool on = true) const;
    /// From now on a rail is like this, and carries so much of its rate.
    void set_rail(std::uint32_t rail, rail_state, double speed = 1) const;
    /// Bytes that it has carried out of or into this host.
    std::uint64_t carried(std::uint32_t rail) const;

private:
    friend class world;
    detail::machine* machine_;
};

/// The world, and its clock. On one thread. Agents and what is registered with them go before it does; coroutines
/// that are still suspended then are destroyed.
class world {
public:
    explicit world(std::uint64_t seed = 1);
    world(const world&) = delete;
    world& operator=(const world&) = delete;
    ~world();

    host add_host(std::string name, const host_options& = {});
    /// An agent on a runtime of its own, with drivers for what its host has: files by any path, buckets at "sim:NAME".
    /// Without a host it is on the first, which is made if there is none.
    agent& spawn(std::string name, agent_options = {});
    agent& spawn(std::string name, host, agent_options = {});
    /// Memory of another host's agent, as this one may read and write it. That region outlives this one.
    region reach(agent& here, agent& there, const region& theirs);
    /// The end of an agent and its runtime: what it has in flight is cancelled and drained, which takes virtual time,
    /// and who waits for it is told.
    void end(agent&);
    /// An agent's process is killed: it does nothing any more, nothing of its arrives, and nobody is told. What belongs
    /// to it must be in coroutines of its own runtime, or outlive the world. On a host with rails.
    void crash(agent&);
    /// An agent does nothing for a while, as when its thread is busy elsewhere; its devices go on.
    void stall(agent&, duration);

    void inject(fault);
    void calm() noexcept; ///< no more faults
    void observe(observer*) noexcept; ///< one; null for none
    /// An object of bucket `name`, as "NAME/KEY"; null when there is none.
    std::shared_ptr<const stored_object> object(const std::string& key) const;
    void put(const std::string& key, stored_object);

    /// Since the world began.
    duration now() const noexcept;
    /// Calls it at that time, or now if that is past.
    void at(duration when, std::function<void()>);
    /// Runs a coroutine to its end, and everything else meanwhile. Throws what it throws, and `stuck`.
    void run(task<>);
    /// Runs until `over` says so. False: nothing will ever happen again.
    bool run_until(const std::function<bool()>& over);
    /// Lets every runtime do what it can now, and time pass until the next event. False: there is none.
    bool step();
    /// The same, but no time passes: until nobody can do anything.
    void settle();

    /// Where `run` runs its coroutine; agents have others.
    wye::runtime& runtime() noexcept;
    /// What the runtime did that the driver's seam forbids, in words.
    const std::vector<std::string>& complaints() const noexcept;
    /// Sums up everything that every device did, and when. Equal for equal runs.
    std::uint64_t digest() const noexcept;
    std::uint64_t events() const noexcept; ///< that have happened

private:
    std::unique_ptr<detail::universe> universe_;
};

} // namespace wye::sim
