// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <wye/driver.hpp>
#include <wye/gpu_sharing.hpp>
#include <wye/memory.hpp>
#include <wye/units.hpp>

namespace wye {

/// How pieces too small for the copy engines go, when several are submitted together.
enum class gather_by : std::uint8_t {
    automatic, ///< `kernel` where it is built in, else `batch`, else `copies`
    kernel,    ///< a few blocks of a kernel that reads and writes pinned memory
    batch,     ///< cuMemcpyBatchAsync, of drivers of CUDA 12.8 and newer
    copies,    ///< one asynchronous copy each
};

struct cuda_options {
    std::vector<int> devices{};                ///< ordinals, as CUDA counts them here; empty: all
    gather_by gather = gather_by::automatic;
    unsigned gather_blocks = 16;               ///< of the kernel: how much of the device gathering may take (1 to 64)
    unsigned gather_blocks_down = 5;           ///< where it writes host memory. Reads wait behind writes on the link: with as
                                               ///< many of these, pages would come up at half the rate at which they go down
    unsigned gather_threads = 256;             ///< of each block (256 to 1024)
    std::size_t gather_list_bytes = 8_MiB;     ///< in one launch, about
    std::size_t gather_bytes = 256_KiB;        ///< larger pieces are copied one by one
    unsigned gather_least = 4;                 ///< fewer pieces than this are, too
    std::size_t chunk_bytes = 16_MiB;          ///< largest piece: each costs the copy engine some 3 us
    std::uint32_t window_chunks = 4096;        ///< pieces in flight for each device
    std::size_t window_bytes = 128_MiB;        ///< bytes in flight for each device
};

/// What there is, for a report. Cheap after the first call; makes no context.
struct cuda_facts {
    struct device {
        int ordinal = 0;
        std::string name, pci;      ///< "NVIDIA H200", "0000:4f:00.0"
        std::uint64_t bytes = 0;    ///< of memory
        int compute = 0;            ///< capability, 90 for 9.0
        bool dma_buf = false;       ///< its memory can be exported to NICs
    };
    bool built = false;             ///< wye was built with CUDA's headers
    bool kernel = false;            ///< and with the copy kernel, by nvcc
    int driver = 0;                 ///< version of CUDA that the driver library has, 13000 for 13.0; 0: none
    std::string missing;            ///< why there is no GPU, in one line; empty when there is one
    std::string direct_storage;     ///< whether cuFile is real here, in one line
    std::vector<device> devices;
};
cuda_facts read_cuda();

/// What CUDA has no number for, in `cuda_category`. Its own errors are there by its own numbers.
enum class cuda_errc {
    unknown_pointer = 10'001, ///< no allocation is there: never made, or freed
    host_pointer,             ///< host memory, registered as VRAM
    other_device,             ///< it is on another device than the one named
    past_the_end,             ///< it reaches past the end of its allocation
    managed_memory,           ///< which moves by itself
    device_pointer,           ///< device memory, registered as DRAM
    not_registered,           ///< the driver does not know this memory: registering it failed
    capturing,                ///< the stream is being captured into a graph
    no_such_device,
    no_library,               ///< libcuda.so.1 is not here, or lacks something
};
/// CUresult values and `cuda_errc`; `message()` begins with "cuda: ".
const boost::system::error_category& cuda_category() noexcept;
inline error_code make_error_code(cuda_errc e) noexcept { return {static_cast<int>(e), cuda_category()}; }

namespace drivers {

/// VRAM: DRAM to a GPU and back, within a GPU, and between GPUs of this process. For `agent::add`.
///
/// Throws system_error with one line that says why when there is no GPU here (`read_cuda().missing`).
/// It works in the primary contexts of its devices, which CUDA's runtime and frameworks use, on streams of its own; it
/// leaves the current context and capture mode of the calling thread as they were. The first use of a device makes its
/// context, if nobody has yet, which takes a moment.
std::unique_ptr<driver> cuda(const cuda_options& = {});

/// Lets `make_same_host` copy VRAM straight to and from that of other processes: `same_host_options::gpus`. By CUDA IPC,
/// on a stream of its own for each device; pages are gathered as `cuda_options` say. Throws as `cuda` does.
///
/// What is shared is the whole allocation that a region lies in (cuMemAlloc, cudaMalloc; of one below 2 MiB also what CUDA
/// has put beside it), from when it is registered until its region goes. Which devices reach which is found out when two
/// agents come to know each other, among those that have memory registered by then. **Unpublish memory, and let its region
/// go, before you free it**: to free what another process has mapped and still copies from is undefined for that process.
std::unique_ptr<gpu_sharing> cuda_sharing(const cuda_options& = {});

} // namespace drivers

/// Memory of a GPU, allocated here: for programs that have no CUDA code of their own. Move-only; `agent::register_memory`
/// takes what `memory()` gives, and the region must go first. Any thread.
class gpu_memory {
public:
    gpu_memory() = default;
    /// Throws system_error, CUDA's out-of-memory error (`boost::system::errc::not_enough_memory`) among others.
    explicit gpu_memory(std::size_t bytes, int device = 0);
    gpu_memory(gpu_memory&& o) noexcept
        : base_{std::exchange(o.base_, nullptr)}, bytes_{std::exchange(o.bytes_, 0)}, device_{o.device_} {}
    gpu_memory& operator=(gpu_memory&& o) noexcept
    {
        std::swap(base_, o.base_);
        std::swap(bytes_, o.bytes_);
        std::swap(device_, o.device_);
        return *this;
    }
    ~gpu_memory();

    std::byte* data() const noexcept { return base_; } ///< an address of the device: not to be read here
    std::size_t size() const noexcept { return bytes_; }
    wye::memory memory() const noexcept { return vram(base_, bytes_, device_); }

private:
    std::byte* base_ = nullptr;
    std::size_t bytes_ = 0;
    int device_ = 0;
};

} // namespace wye

template <>
struct boost::system::is_error_code_enum<wye::cuda_errc> : std::true_type {};
