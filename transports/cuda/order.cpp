// SPDX-License-Identifier: Apache-2.0
#include "order.hpp"

#include <atomic>
#include <bit>
#include <mutex>
#include <vector>

#include "errors.hpp"
#include "scope.hpp"

namespace wye::cu {

namespace {

mark& mark_of(std::uintptr_t m) noexcept { return *reinterpret_cast<mark*>(m); }

/// Words to hold streams by. A stream waits until its word is at least a value, and values only grow: a word may be
/// used again before the stream has come to it.
class words {
public:
    std::uint32_t* take(const api& a, const gpu& g) noexcept
    {
        const std::lock_guard lock{mutex_};
        if (free_.empty() && !more(a, g)) return nullptr;
        std::uint32_t* const one = free_.back();
        free_.pop_back();
        return one;
    }
    void give_back(std::uint32_t* one) noexcept
    {
        const std::lock_guard lock{mutex_};
        free_.push_back(one);
    }

private:
    static constexpr std::size_t page_bytes = 4096, apart = 64;

    /// Such memory goes with its context, so this one is kept for good.
    bool more(const api& a, const gpu& g) noexcept
    {
        CUcontext kept = nullptr;
        if (a.cuDevicePrimaryCtxRetain(&kept, g.handle()) != CUDA_SUCCESS) return false;
        const scope in{a, kept};
        void* page = nullptr;
        if (a.cuMemHostAlloc(&page, page_bytes, CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP) != CUDA_SUCCESS) return false;
        for (std::size_t at = 0; at < page_bytes; at += apart)
            free_.push_back(new (static_cast<std::byte*>(page) + at) std::uint32_t{0});
        return true;
    }

    std::mutex mutex_;
    std::vector<std::uint32_t*> free_;
};

words& all_words()
{
    static words& one = *new words; // streams may wait for them to the very end
    return one;
}

/// The stream's context is current in here.
class in_stream {
public:
    in_stream(const api& a, CUcontext if_default, CUstream s) noexcept : outer_{a, if_default}, inner_{a, context_of(a, s)} {}

    /// Whether something may be put into it.
    error_code check(const api& a, CUstream s) const noexcept
    {
        CUstreamCaptureStatus status{};
        const CUresult r = inner_.error() != CUDA_SUCCESS ? inner_.error() : a.cuStreamIsCapturing(s, &status);
        if (r != CUDA_SUCCESS) return error_of(r);
        if (status != CU_STREAM_CAPTURE_STATUS_NONE) return cuda_errc::capturing;
        return {};
    }

private:
    static CUcontext context_of(const api& a, CUstream s) noexcept
    {
        CUcontext c = nullptr;
        a.cuStreamGetCtx(s, &c);
        return c;
    }
    scope outer_, inner_;
};

} // namespace

CUresult orders::record(wye::cu::mark& m, CUstream s) noexcept
{
    CUresult r = api_.cuEventCreate(&m.event, CU_EVENT_DISABLE_TIMING);
    if (r != CUDA_SUCCESS) return r;
    m.ours = true;
    r = api_.cuEventRecord(m.event, s);
    if (r != CUDA_SUCCESS) api_.cuEventDestroy(m.event);
    return r;
}

std::uintptr_t orders::mark(const gpu_order& o, std::int32_t device, error_code& why) noexcept
{
    gpu* const g = machine_.open(device, why);
    if (!g) return 0;
    wye::cu::mark m;
    m.on = g;
    if (o.at == gpu_order::point::event) {
        m.event = static_cast<CUevent>(o.handle);
    } else {
        const auto s = static_cast<CUstream>(o.handle);
        const in_stream in{api_, g->context(), s};
        why = in.check(api_, s);
        if (!why) why = error_of(record(m, s));
        if (why) return 0;
    }
    return reinterpret_cast<std::uintptr_t>(new wye::cu::mark{m});
}

bool orders::passed(std::uintptr_t which, const waiting& w, error_code& why) noexcept
{
    wye::cu::mark& m = mark_of(which);
    if (m.over || m.side >= 0) return true;
    const scope in{api_, m.on->context()};
    m.error = api_.cuEventQuery(m.event);
    if (m.error == CUDA_ERROR_NOT_READY) {
        m.error = CUDA_SUCCESS;
        return wait_on_device(m, w);
    }
    why = error_of(m.error);
    return m.over = true;
}

/// Lets it wait on a side track, if one is free and the window has room for what waits with it.
bool orders::wait_on_device(wye::cu::mark& m, const waiting& w) noexcept
{
    const auto side = static_cast<unsigned>(std::countr_one(m.on->side_used));
    if (!w.on_device || side >= gpu::sides || w.bytes > bytes_left_ || w.chunks > chunks_left_) return false;
    if (api_.cuStreamWaitEvent(m.on->side[side].stream(), m.event, CU_EVENT_WAIT_DEFAULT) != CUDA_SUCCESS) return false;
    m.on->side_used |= 1u << side;
    m.side = static_cast<int>(side);
    m.bytes = w.bytes;
    m.chunks = w.chunks;
    bytes_left_ -= w.bytes;
    chunks_left_ -= w.chunks;
    return true;
}

track* orders::side_of(std::uintptr_t which) noexcept
{
    const wye::cu::mark& m = mark_of(which);
    return m.side < 0 ? nullptr : &m.on->side[static_cast<std::size_t>(m.side)];
}

void orders::forget(std::uintptr_t which) noexcept
{
    wye::cu::mark& m = mark_of(which);
    if (m.side >= 0) m.on->side_used &= ~(1u << m.side);
    bytes_left_ += m.bytes;
    chunks_left_ += m.chunks;
    if (m.ours) {
        const scope in{api_, m.on->context()};
        api_.cuEventDestroy(m.event);
    }
    delete &m;
}

std::uintptr_t orders::hold(const gpu_wait& w, std::int32_t device, error_code& why) noexcept
{
    gpu* const g = machine_.open(device, why);
    if (!g) return 0;
    const auto s = static_cast<CUstream>(w.stream);
    const in_stream in{api_, g->context(), s};
    why = in.check(api_, s);
    if (why) return 0;
    std::uint32_t* const word = all_words().take(api_, *g);
    if (!word) {
        why = error_of(CUDA_ERROR_OUT_OF_MEMORY);
        return 0;
    }
    const std::uint32_t value = *word + 1;
    if (w.status) std::atomic_ref{*w.status}.store(static_cast<std::uint32_t>(gpu_status::pending), std::memory_order_release);
    why = error_of(api_.cuStreamWaitValue32(s, reinterpret_cast<CUdeviceptr>(word), value, CU_STREAM_WAIT_VALUE_GEQ));
    if (why) {
        all_words().give_back(word);
        return 0;
    }
    return reinterpret_cast<std::uintptr_t>(new held_stream{word, value, w.status});
}

void orders::let_go(std::uintptr_t which, bool landed) noexcept
{
    auto* const h = reinterpret_cast<held_stream*>(which);
    const gpu_status s = landed ? gpu_status::landed : gpu_status::failed;
    if (h->status) std::atomic_ref{*h->status}.store(static_cast<std::uint32_t>(s), std::memory_order_release);
    std::atomic_ref{*h->word}.store(h->value, std::memory_order_release);
    all_words().give_back(h->word);
    delete h;
}

} // namespace wye::cu
