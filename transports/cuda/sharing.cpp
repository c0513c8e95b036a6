// SPDX-License-Identifier: Apache-2.0
#include "sharing.hpp"

#include <cstring>

#include "errors.hpp"
#include "pointers.hpp"
#include "scope.hpp"

namespace wye::cu {

static_assert(sizeof(CUipcMemHandle) == sizeof(gpu_sharing::handle));

namespace {

constexpr std::size_t sample_bytes = 2_MiB; ///< CUDA shares no less: what is smaller has others' memory beside it

bool is_shared(std::int32_t device) noexcept { return device >= 0 && static_cast<std::size_t>(device) < gpu_sharing::most_devices; }

CUdeviceptr address(const std::byte* p) noexcept { return reinterpret_cast<CUdeviceptr>(p); }

/// The allocation that it lies in.
bool range_of(const api& a, CUdeviceptr at, CUdeviceptr& base, std::size_t& bytes) noexcept
{
    return a.cuPointerGetAttribute(&base, CU_POINTER_ATTRIBUTE_RANGE_START_ADDR, at) == CUDA_SUCCESS &&
           a.cuPointerGetAttribute(&bytes, CU_POINTER_ATTRIBUTE_RANGE_SIZE, at) == CUDA_SUCCESS && base <= at;
}

} // namespace

sharing::sharing(const api& a, const cuda_options& o) : api_{a}, gather_bytes_{o.gather_bytes}, machine_{a, o} {}

sharing::~sharing()
{
    for (std::size_t i = 0; i < samples_.size(); ++i) {
        if (!samples_[i]) continue;
        const scope in{api_, machine_.find(static_cast<int>(i))->context()};
        api_.cuMemFree(samples_[i]);
    }
}

error_code sharing::handle_of(CUdeviceptr at, gpu_sharing::handle& h) noexcept
{
    CUipcMemHandle got{};
    const CUresult r = api_.cuIpcGetMemHandle(&got, at);
    std::memcpy(h.data(), &got, h.size());
    return error_of(r);
}

error_code sharing::share(const segment& s, place& p) noexcept
{
    error_code why;
    if (!is_shared(s.device)) return cuda_errc::no_such_device;
    gpu* const g = machine_.open(s.device, why);
    if (!g) return why;
    const scope in{api_, g->context()};
    why = check_device_memory(api_, s.base, s.length, s.device);
    if (why) return why;
    CUdeviceptr base = 0;
    std::size_t bytes = 0;
    p.allocation = 0;
    if (!range_of(api_, address(s.base), base, bytes)) return {};
    p.offset = address(s.base) - base;
    const bool one = p.offset <= bytes && s.length <= bytes - p.offset; // several, if they were mapped side by side
    if (one && !handle_of(base, p.handle)) p.allocation = allocation_at(api_, s.base);
    return {};
}

error_code sharing::sample(std::int32_t device, gpu_sharing::handle& h) noexcept
{
    error_code why;
    if (!is_shared(device)) return cuda_errc::no_such_device;
    gpu* const g = machine_.open(device, why);
    if (!g) return why;
    const scope in{api_, g->context()};
    CUdeviceptr& at = samples_[static_cast<std::size_t>(device)];
    if (!at) why = error_of(api_.cuMemAlloc(&at, sample_bytes));
    return why ? why : handle_of(at, h);
}

std::byte* sharing::open(const gpu_sharing::handle& h, std::int32_t device, std::uint64_t& length) noexcept
{
    error_code why;
    gpu* const g = is_shared(device) ? machine_.open(device, why) : nullptr;
    if (!g) return nullptr;
    const scope in{api_, g->context()};
    CUipcMemHandle theirs;
    std::memcpy(&theirs, h.data(), h.size());
    CUdeviceptr at = 0, base = 0;
    if (api_.cuIpcOpenMemHandle(&at, theirs, CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS) != CUDA_SUCCESS) return nullptr;
    std::size_t bytes = 0; // by the driver: its owner may say what it likes
    if (range_of(api_, at, base, bytes) && at - base < bytes) {
        length = bytes - (at - base);
        return reinterpret_cast<std::byte*>(at);
    }
    api_.cuIpcCloseMemHandle(at);
    return nullptr;
}

void sharing::close(std::byte* opened, std::int32_t device) noexcept
{
    const scope in{api_, machine_.find(device)->context()};
    api_.cuIpcCloseMemHandle(address(opened));
}

/// Those of a device, open; null with the reason.
copies* sharing::copies_of(std::int32_t device, error_code& why) noexcept
{
    why = cuda_errc::no_such_device;
    if (!is_shared(device)) return nullptr;
    copies& by = copies_[static_cast<std::size_t>(device)];
    if (by.is_open()) return &by;
    gpu* const g = machine_.open(device, why);
    if (!g) return nullptr;
    const scope in{api_, g->context()};
    why = error_of(by.open(g->parts(), gather_bytes_));
    return why ? nullptr : &by;
}

bool sharing::start(gpu_copy& c) noexcept
{
    if (copies* const by = copies_of(c.device, c.error)) return by->start(c);
    failed_.push(c);
    return true;
}

void sharing::flush() noexcept
{
    for (copies& c : copies_)
        if (c.is_open()) c.flush();
}

gpu_copy* sharing::next_over() noexcept
{
    if (!failed_.empty()) return failed_.pop();
    for (copies& c : copies_)
        if (gpu_copy* const over = c.is_open() ? c.next_over() : nullptr) return over;
    return nullptr;
}

void sharing::settle() noexcept
{
    for (copies& c : copies_)
        if (c.is_open()) c.settle();
}

} // namespace wye::cu

namespace wye::drivers {

std::unique_ptr<gpu_sharing> cuda_sharing(const cuda_options& o)
{
    error_code why;
    const cu::api* const a = cu::load(why);
    if (!a) throw system_error(why, "no GPU here");
    return std::make_unique<cu::sharing>(*a, o);
}

} // namespace wye::drivers
