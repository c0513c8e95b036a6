// SPDX-License-Identifier: Apache-2.0
#include "track.hpp"

#include <algorithm>
#include <atomic>

#include "pinned.hpp"
#include "scope.hpp"

namespace wye::cu {

namespace {

CUdeviceptr address(const void* p) noexcept { return reinterpret_cast<CUdeviceptr>(p); }

page page_of(const chunk& c) noexcept
{
    return {address(c.from.data()), address(c.to.data()), c.from.length};
}

} // namespace

CUstream track::stream() noexcept
{
    if (!stream_ && shop_->api->cuStreamCreateWithPriority(&stream_, CU_STREAM_NON_BLOCKING, shop_->priority) != CUDA_SUCCESS)
        shop_->lost = CUDA_ERROR_OUT_OF_MEMORY; // nothing was issued, and nothing will be
    return stream_;
}

void track::close() noexcept
{
    if (!stream_) return;
    shop_->api->cuStreamSynchronize(stream_);
    shop_->api->cuStreamDestroy(stream_);
    stream_ = nullptr;
}

bool track::copy(chunk& c) noexcept
{
    const scope in{*shop_->api, shop_->context};
    const bool first = issued_.empty();
    c.scratch[1] = copy_now(page_of(c));
    c.scratch[0] = sent_ + 1;
    c.scratch[2] = false;
    issued_.push(c);
    untold_ = true;
    if (first || c.from.length >= told_at_once) write_word();
    return true;
}

/// Memory that was pinned in several stretches cannot be copied across their borders.
CUresult track::copy_parts(const page& p) noexcept
{
    for (unsigned long long done = 0; done < p.bytes;) {
        const unsigned long long left = p.bytes - done;
        const unsigned long long n = std::min(shop_->pinned->stretch(p.from + done, left), shop_->pinned->stretch(p.to + done, left));
        const CUresult r = shop_->api->cuMemcpyAsync(p.to + done, p.from + done, n, stream());
        if (r != CUDA_SUCCESS) return r;
        done += n;
    }
    return CUDA_SUCCESS;
}

CUresult track::copy_now(const page& p) noexcept
{
    if (shop_->pinned->split()) return copy_parts(p);
    return shop_->api->cuMemcpyAsync(p.to, p.from, p.bytes, stream());
}

/// What was read before the number came may be looked at after it.
std::uint32_t track::seen() const noexcept
{
    return std::atomic_ref{memory_->word}.load(std::memory_order_acquire);
}

/// The list after this one, if the device is done with it.
bool track::next_list() noexcept
{
    const unsigned next = (list_ + 1) % track_memory::lists;
    if (!written(free_at_[next])) reached_ = seen();
    if (!written(free_at_[next])) return false;
    list_ = next;
    count_ = 0;
    bytes_ = 0;
    return has_list_ = true;
}

bool track::gather(chunk& c, std::size_t pages_out) noexcept
{
    if (!has_list_ && !next_list()) return false;
    memory_->pages[list_][count_++] = page_of(c);
    c.scratch[2] = true;
    building_.push(c);
    ++pages_out_;
    bytes_ += c.from.length;
    // The device is to have work soon, and then as much at a time as it has already.
    const std::size_t enough = std::clamp<std::size_t>(pages_out, most_pages / 4, most_pages);
    if (count_ >= enough || bytes_ >= shop_->list_bytes) {
        const scope in{*shop_->api, shop_->context};
        send_list();
    }
    return true;
}

CUresult track::launch(const page* list, unsigned count, bool down) noexcept
{
    CUdeviceptr at = address(list);
    void* arguments[] = {&at, &count};
    const unsigned blocks = std::min(down ? shop_->blocks_down : shop_->blocks_up, count);
    return shop_->api->cuLaunchKernel(shop_->kernel, blocks, 1, 1, shop_->threads, 1, 1, 0, stream(), arguments, nullptr);
}

#if CUDA_VERSION >= 12080
CUresult track::copy_batch(const page* list, unsigned count) noexcept
{
    std::array<CUdeviceptr, most_pages> to, from;
    std::array<std::size_t, most_pages> bytes;
    for (unsigned i = 0; i < count; ++i) {
        to[i] = list[i].to;
        from[i] = list[i].from;
        bytes[i] = list[i].bytes;
    }
    CUmemcpyAttributes how{};
    how.srcAccessOrder = CU_MEMCPY_SRC_ACCESS_ORDER_STREAM;
    std::size_t first = 0, failed = 0;
    return shop_->api->cuMemcpyBatchAsync(to.data(), from.data(), bytes.data(), count, &how, &first, 1, &failed, stream());
}
#else
CUresult track::copy_batch(const page*, unsigned) noexcept { return CUDA_ERROR_NOT_SUPPORTED; }
#endif

/// What was gathered goes, as one.
void track::send_list() noexcept
{
    const page* const list = memory_->pages[list_].data();
    CUresult r = CUDA_SUCCESS;
    if (count_ < shop_->least || shop_->gather == gather_by::copies) {
        for (unsigned i = 0; i < count_ && r == CUDA_SUCCESS; ++i)
            r = copy_now(list[i]);
    } else {
        const bool down = building_.front()->to.tier() == tier::dram;
        r = shop_->gather == gather_by::kernel ? launch(list, count_, down) : copy_batch(list, count_);
    }
    for (chunk* c = building_.front(); c; c = c->next) {
        c->scratch[0] = sent_ + 1;
        c->scratch[1] = r;
    }
    issued_.take(building_);
    free_at_[list_] = sent_ + 1;
    has_list_ = false;
    write_word();
}

void track::write_word() noexcept
{
    ++sent_;
    untold_ = false;
    // Should this fail, the number does not come, and `doubt` finds out what has become of the stream.
    shop_->api->cuStreamWriteValue32(stream_, address(&memory_->word), sent_, CU_STREAM_WRITE_VALUE_DEFAULT);
}

void track::flush() noexcept
{
    if (building_.empty() && !untold_) return;
    const scope in{*shop_->api, shop_->context};
    if (!building_.empty()) send_list();
    if (untold_) write_word();
}

/// No number for a long time: is the stream still at work?
void track::doubt() noexcept
{
    fruitless_ = 0;
    const scope in{*shop_->api, shop_->context};
    const CUresult r = in.error() != CUDA_SUCCESS ? in.error() : shop_->api->cuStreamQuery(stream_);
    slow_ = r == CUDA_ERROR_NOT_READY;
    if (slow_) return;
    if (r == CUDA_SUCCESS) reached_ = sent_; // all that was issued is over, whatever the word says
    else shop_->lost = r;
}

/// The device is lost: it touches nothing any more.
std::size_t track::end_all(turn t) noexcept
{
    issued_.take(building_);
    std::size_t n = 0;
    while (chunk* c = issued_.front()) {
        issued_.pop();
        pages_out_ -= c->scratch[2];
        c->done({static_cast<int>(shop_->lost), cuda_category()}, 0);
        if (++n % most_pages == 0 && t.over()) break;
    }
    return n;
}

bool track::comes(std::uint32_t value, unsigned looks) noexcept
{
    for (; !written(value) && looks != 0; --looks) reached_ = seen();
    return written(value);
}

std::size_t track::reap(turn t) noexcept
{
    if (shop_->lost != CUDA_SUCCESS) return end_all(t);
    // A pass of the loop takes as long as many looks. With pages under way there is other work.
    const unsigned looks = pages_out_ == 0 && !slow_ ? patient : 1;
    std::size_t n = 0;
    while (chunk* c = issued_.front()) {
        if (!comes(static_cast<std::uint32_t>(c->scratch[0]), n == 0 ? looks : 1)) break;
        issued_.pop();
        pages_out_ -= c->scratch[2];
        if (c->scratch[1] == CUDA_SUCCESS) c->done();
        else c->done({static_cast<int>(c->scratch[1]), cuda_category()}, 0);
        if (++n % most_pages == 0 && t.over()) break;
    }
    if (n != 0) {
        fruitless_ = 0;
        slow_ = false;
    } else if (!issued_.empty() && ++fruitless_ >= doubtful_after) {
        doubt();
    }
    return n;
}

} // namespace wye::cu
