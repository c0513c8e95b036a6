// SPDX-License-Identifier: Apache-2.0
#include "copies.hpp"

#include <algorithm>
#include <atomic>
#include <new>

#include "errors.hpp"
#include "scope.hpp"

namespace wye::cu {

namespace {

CUdeviceptr address(const void* p) noexcept { return reinterpret_cast<CUdeviceptr>(p); }
page page_of(const gpu_copy& c) noexcept { return {address(c.from), address(c.to), c.bytes}; }

} // namespace

CUresult copies::open(shop& s, std::size_t gather_bytes) noexcept
{
    void* memory = nullptr;
    CUresult r = s.api->cuMemHostAlloc(&memory, sizeof(track_memory), CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP);
    if (r != CUDA_SUCCESS) return r;
    r = s.api->cuStreamCreateWithPriority(&stream_, CU_STREAM_NON_BLOCKING, s.priority);
    if (r != CUDA_SUCCESS) {
        s.api->cuMemFreeHost(memory);
        return r;
    }
    shop_ = &s;
    memory_ = new (memory) track_memory;
    gather_bytes_ = gather_bytes;
    return CUDA_SUCCESS;
}

void copies::close() noexcept
{
    if (!memory_) return;
    const scope in{*shop_->api, shop_->context};
    shop_->api->cuStreamSynchronize(stream_);
    shop_->api->cuStreamDestroy(stream_);
    shop_->api->cuMemFreeHost(memory_);
}

/// Whether it goes with others of its kind, by the kernel.
bool copies::gathers(const gpu_copy& c) const noexcept
{
    return shop_->gather == gather_by::kernel && c.bytes <= gather_bytes_ && ((address(c.from) ^ address(c.to)) & 15) == 0;
}

std::uint32_t copies::seen() const noexcept { return std::atomic_ref{memory_->word}.load(std::memory_order_acquire); }

/// The list after this one, if the device is done with it. One that is lost reads none: what is given to it ends in an error.
bool copies::next_list() noexcept
{
    const unsigned next = (list_ + 1) % track_memory::lists;
    const bool lost = shop_->lost != CUDA_SUCCESS;
    if (!lost && !written(free_at_[next])) reached_ = seen();
    if (!lost && !written(free_at_[next])) return false;
    list_ = next;
    count_ = 0;
    return has_list_ = true;
}

CUresult copies::copy(const page& p) noexcept { return shop_->api->cuMemcpyAsync(p.to, p.from, p.bytes, stream_); }

/// It is over once the next word has been written.
void copies::issued(gpu_copy& c, CUresult r) noexcept
{
    c.error = error_of(r);
    c.word = sent_ + 1;
}

bool copies::start(gpu_copy& c) noexcept
{
    if (gathers(c)) {
        if (!has_list_ && !next_list()) return false;
        memory_->pages[list_][count_++] = page_of(c);
        building_.push(c);
        // The device is to have work soon, and then as much at a time as it has already.
        if (count_ < std::clamp<std::size_t>(pages_out_, most_pages / 4, most_pages)) return true;
        const scope in{*shop_->api, shop_->context};
        return send_list(), true;
    }
    const scope in{*shop_->api, shop_->context};
    if (has_list_) send_list(); // which was first
    const bool first = issued_.empty();
    issued(c, copy(page_of(c)));
    issued_.push(c);
    untold_ = true;
    if (first || c.bytes >= track::told_at_once) write_word();
    return true;
}

/// What was gathered goes, as one.
void copies::send_list() noexcept
{
    const page* const list = memory_->pages[list_].data();
    CUresult r = CUDA_SUCCESS;
    if (count_ < shop_->least) {
        for (unsigned i = 0; i < count_ && r == CUDA_SUCCESS; ++i) r = copy(list[i]);
    } else {
        CUdeviceptr at = address(list);
        void* arguments[] = {&at, &count_};
        const unsigned blocks = std::min(shop_->blocks_up, count_);
        r = shop_->api->cuLaunchKernel(shop_->kernel, blocks, 1, 1, shop_->threads, 1, 1, 0, stream_, arguments, nullptr);
    }
    for (gpu_copy* c = building_.front(); c; c = c->next) issued(*c, r);
    pages_out_ += count_;
    issued_.take(building_);
    free_at_[list_] = sent_ + 1;
    has_list_ = false;
    write_word();
}

void copies::write_word() noexcept
{
    ++sent_;
    untold_ = false;
    // Should this fail, the number does not come, and `doubt` finds out what has become of the stream.
    shop_->api->cuStreamWriteValue32(stream_, address(&memory_->word), sent_, CU_STREAM_WRITE_VALUE_DEFAULT);
}

void copies::flush() noexcept
{
    if (!has_list_ && !untold_) return;
    const scope in{*shop_->api, shop_->context};
    if (has_list_) send_list();
    if (untold_) write_word();
}

/// No number for a long time: is the stream still at work?
void copies::doubt() noexcept
{
    fruitless_ = 0;
    const scope in{*shop_->api, shop_->context};
    const CUresult r = in.error() != CUDA_SUCCESS ? in.error() : shop_->api->cuStreamQuery(stream_);
    if (r == CUDA_ERROR_NOT_READY) return;
    if (r == CUDA_SUCCESS) reached_ = sent_; // all that was issued is over, whatever the word says
    else shop_->lost = r;
}

gpu_copy* copies::next_over() noexcept
{
    if (issued_.empty()) return nullptr;
    gpu_copy& c = *issued_.front();
    const bool lost = shop_->lost != CUDA_SUCCESS; // then it touches nothing any more
    if (!lost && !written(c.word)) reached_ = seen();
    if (!lost && !written(c.word)) {
        if (++fruitless_ >= doubtful_after) doubt();
        return nullptr;
    }
    fruitless_ = 0;
    if (lost) c.error = error_of(shop_->lost);
    if (gathers(c)) --pages_out_;
    return issued_.pop();
}

void copies::settle() noexcept
{
    flush();
    if (issued_.empty()) return;
    const scope in{*shop_->api, shop_->context};
    const CUresult r = in.error() != CUDA_SUCCESS ? in.error() : shop_->api->cuStreamSynchronize(stream_);
    if (r == CUDA_SUCCESS) reached_ = sent_;
    else shop_->lost = r;
}

} // namespace wye::cu
