// SPDX-License-Identifier: Apache-2.0
#include <wye/sim.hpp>

#include <algorithm>
#include <exception>

#include <boost/asio/co_spawn.hpp>

#include "universe.hpp"

namespace wye::sim {

namespace {

/// Rounds in which somebody is busy and yet no time passes: a loop that spins, in virtual time.
constexpr std::size_t most_rounds = 1'000'000;

using namespace std::chrono_literals;

device_model model(double rate, duration latency, double operations, std::uint32_t depth)
{
    device_model m;
    m.bytes_per_second = rate;
    m.latency = latency;
    m.operations_per_second = operations;
    m.queue_depth = depth;
    return m;
}

} // namespace

device_model default_memory() { return model(10e9, 200ns, 5e6, 1024); }
device_model default_gpu()
{
    device_model m = model(50e9, 8us, 3e5, 1024);
    m.channels = 2;
    return m;
}
device_model default_disk() { return model(6e9, 80us, 1e6, 256); }
device_model default_store()
{
    device_model m = model(1e9, 15ms, 5e3, 64);
    m.limits.chunk_bytes = 8_MiB;
    m.limits.window_bytes = 64_MiB;
    return m;
}

nic_model default_nic(std::size_t rails, rail_model r)
{
    nic_model m;
    m.rails.assign(rails, r);
    // Deep enough to keep a rail busy over its round trip, and no deeper: what is posted cannot be overtaken,
    // nor be sent elsewhere before it is missed.
    m.limits.chunk_bytes = 256_KiB;
    m.limits.window_bytes = 768_KiB;
    m.limits.background_chunks = 2;
    return m;
}

std::string_view name_of(fault_kind k) noexcept
{
    constexpr std::string_view names[fault_kind_count] = {
        "reorder",      "early_data",  "late_data", "refuse",   "shorten", "io_error",   "no_space",
        "registration", "unavailable", "timeout",   "truncate", "stall",   "clock_jump", "flip",
        "dark",         "broken",      "slow",      "twice",    "lose"};
    return names[static_cast<std::size_t>(k)];
}

const std::string& host::name() const noexcept { return machine_->name; }

std::vector<std::byte>* host::file(const std::string& path, bool create) const
{
    const auto it = machine_->files.find(path);
    if (it != machine_->files.end()) return it->second.get();
    return create ? (machine_->files[path] = std::make_shared<detail::bytes>()).get() : nullptr;
}

std::size_t host::held(std::string_view device) const { return machine_->find(device)->held; }
std::size_t host::most_held(std::string_view device) const { return machine_->find(device)->most_held; }

void host::hold(std::string_view device, bool on) const
{
    detail::device& d = *machine_->find(device);
    d.on_hold = on;
    if (on) return;
    for (auto& what : std::exchange(d.parked, {})) machine_->in.at(machine_->in.now(), std::move(what));
}

void host::set_rail(std::uint32_t index, rail_state state, double speed) const
{
    detail::rail& r = machine_->nic.rails.at(index);
    r.state = state;
    r.speed = speed;
    if (state == rail_state::dark) return;
    for (auto& what : std::exchange(r.parked, {})) machine_->in.at(machine_->in.now(), std::move(what));
}

std::uint64_t host::carried(std::uint32_t rail) const { return machine_->nic.rails.at(rail).carried; }

world::world(std::uint64_t seed) : universe_{std::make_unique<detail::universe>(seed)} {}
world::~world() = default;

host world::add_host(std::string name, const host_options& o)
{
    return host{universe_->machines.emplace_back(*universe_, std::move(name), o)};
}

agent& world::spawn(std::string name, agent_options o)
{
    if (universe_->machines.empty()) add_host("host");
    return spawn(std::move(name), host{universe_->machines.front()}, o);
}

agent& world::spawn(std::string name, host on, agent_options o)
{
    o.default_drivers = false;
    auto p = std::make_unique<detail::party>(*universe_, std::move(name), *on.machine_, o);
    return *universe_->parties.emplace_back(std::move(p))->it;
}

void world::end(agent& a)
{
    detail::party& gone = universe_->party_of(a);
    gone.it.reset();
    settle(); // whoever waits is told, which takes the runtime
    std::erase_if(universe_->parties, [&](const auto& p) { return p.get() == &gone; }); // others may have come meanwhile
}

void world::inject(fault f)
{
    const std::uint64_t stream = universe_->seed ^ (f.seed + 1) * 0x2545f4914f6cdd1d;
    if (f.what == fault_kind::clock_jump)
        // Late for everything that should have happened meanwhile.
        at(f.from, [u = universe_.get(), f] { u->jump(f.extent); });
    universe_->hazards.push_back({std::move(f), detail::random_stream{stream}});
}

void world::calm() noexcept { universe_->hazards.clear(); }

void world::observe(observer* o) noexcept { universe_->seen_by = o; }

std::shared_ptr<const stored_object> world::object(const std::string& key) const
{
    const auto it = universe_->objects.find(key);
    return it == universe_->objects.end() ? nullptr : it->second;
}
void world::put(const std::string& key, stored_object o)
{
    universe_->objects[key] = std::make_shared<const stored_object>(std::move(o));
}

duration world::now() const noexcept { return universe_->now() - detail::beginning; }
void world::at(duration when, std::function<void()> what)
{
    universe_->at(detail::beginning + when, std::move(what));
}

void world::settle()
{
    for (std::size_t rounds = 0; universe_->poll_all() != 0;)
        if (++rounds == most_rounds) throw stuck{"a runtime spins: it is busy, and no time passes"};
}

bool world::step()
{
    settle();
    return universe_->pass(universe_->next_timer());
}

bool world::run_until(const std::function<bool()>& over)
{
    for (;;) {
        settle();
        if (over()) return true; // before time passes to what somebody has planned for later
        if (!universe_->pass(universe_->next_timer())) return false;
    }
}

void world::run(task<> work)
{
    struct end {
        bool over = false;
        std::exception_ptr thrown;
    };
    const auto state = std::make_shared<end>();
    boost::asio::co_spawn(runtime(), std::move(work), [state](std::exception_ptr e) {
        state->over = true;
        state->thrown = e;
    });
    if (!run_until([&] { return state->over; })) throw stuck{"somebody waits for what will never happen"};
    if (state->thrown) std::rethrow_exception(state->thrown);
}

runtime& world::runtime() noexcept { return *universe_->director; }
const std::vector<std::string>& world::complaints() const noexcept { return universe_->complaints; }
std::uint64_t world::digest() const noexcept { return universe_->digest; }
std::uint64_t world::events() const noexcept { return universe_->happened; }

} // namespace wye::sim
