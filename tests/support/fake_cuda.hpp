// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api.hpp"
#include "page.hpp"

namespace wye::testing {

/// CUDA's driver library as a table of functions over ordinary memory. Streams hold what they are given until `step`, so a
/// test decides when the device works; anything may be made to fail. What is allocated by cuMemAlloc other processes may open.
/// One at a time; one thread, and another that registers.
class fake_cuda {
public:
    struct event {
        bool recorded = false, happened = false;
    };
    struct stream {
        std::deque<std::function<bool()>> work; ///< false: not yet
        bool capturing = false;
        int number = 0;
    };
    struct allocation {
        std::size_t bytes;
        unsigned kind; ///< CU_MEMORYTYPE_...
        int device;
        bool mapped;
        unsigned long long id;
        int file = -1;     ///< behind memory that is shared among processes
        bool opened = false; ///< it is another's
    };

    int devices = 2;
    CUresult lost = CUDA_SUCCESS;            ///< sticky
    std::map<std::string, int> calls;
    std::map<std::string, CUresult> failing; ///< these calls fail
    std::vector<std::unique_ptr<stream>> streams;
    std::map<std::uintptr_t, allocation> memory; ///< by base
    std::map<std::uintptr_t, std::uintptr_t> registered; ///< begin, end
    std::deque<event> events;                ///< which a stream may come to after they were destroyed
    bool works = false;                      ///< by itself, whenever it is asked how far it is
    bool at_once = false;                    ///< it does what it is given there and then
    unsigned pages_launched = 0;
    std::atomic<bool> contexts_were_right{true}; ///< every call that needs a context had one, and the relaxed mode

    /// Of this thread: its current contexts, as a stack, and its mode.
    struct thread_state {
        std::vector<CUcontext> contexts;
        CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_GLOBAL;
    };
    static thread_state& here()
    {
        static thread_local thread_state one;
        return one;
    }
    static fake_cuda& self()
    {
        static fake_cuda one;
        return one;
    }
    static const cu::api& table()
    {
        static const cu::api t = make();
        return t;
    }

    /// Lets every stream do as much as it can; false when nothing moved.
    bool step()
    {
        if (lost != CUDA_SUCCESS) return false;
        bool any = false;
        for (auto& s : streams)
            while (s && !s->work.empty() && s->work.front()()) {
                s->work.pop_front();
                any = true;
            }
        return any;
    }

    /// Nothing is left on any stream.
    bool idle() const
    {
        return std::all_of(streams.begin(), streams.end(), [](const auto& s) { return !s || s->work.empty(); });
    }

    stream& new_stream()
    {
        streams.push_back(std::make_unique<stream>());
        streams.back()->number = static_cast<int>(streams.size());
        return *streams.back();
    }
    std::byte* allocate(std::size_t bytes, unsigned kind, int device = 0, bool mapped = false)
    {
        auto* const p = static_cast<std::byte*>(std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096));
        memory[reinterpret_cast<std::uintptr_t>(p)] = {bytes, kind, device, mapped, ++ids_};
        return p;
    }
    /// As a device's memory, which other processes may open.
    std::byte* allocate_shared(std::size_t bytes, int device = 0)
    {
        const int file = ::memfd_create("device memory", MFD_CLOEXEC);
        if (file < 0 || ::ftruncate(file, static_cast<off_t>(bytes)) != 0) throw std::runtime_error{"memfd"};
        return map(file, bytes, device, false);
    }
    void free(void* p)
    {
        const auto it = memory.find(reinterpret_cast<std::uintptr_t>(p));
        const allocation was = it->second;
        memory.erase(it);
        if (was.file < 0) return std::free(p);
        ::munmap(p, was.bytes);
        ::close(was.file);
    }
    /// Allocations of other processes that are open here.
    std::size_t opened() const
    {
        std::size_t n = 0;
        for (const auto& [base, a] : memory) n += a.opened;
        return n;
    }
    bool quiet() const { return registered.empty() && here().contexts.empty() && here().mode == CU_STREAM_CAPTURE_MODE_GLOBAL; }

private:
    CUresult enter(const char* what, bool in_context = false)
    {
        const std::lock_guard lock{mutex_};
        ++calls[what];
        if (in_context && (here().contexts.empty() || here().mode != CU_STREAM_CAPTURE_MODE_RELAXED)) contexts_were_right = false;
        if (lost != CUDA_SUCCESS) return lost;
        const auto it = failing.find(what);
        return it == failing.end() ? CUDA_SUCCESS : it->second;
    }
    const std::pair<const std::uintptr_t, allocation>* at(CUdeviceptr p) const
    {
        auto it = memory.upper_bound(p);
        if (it == memory.begin()) return nullptr;
        --it;
        return p < it->first + it->second.bytes ? &*it : nullptr;
    }
    std::byte* map(int file, std::size_t bytes, int device, bool opened)
    {
        void* const p = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        if (p == MAP_FAILED) return nullptr;
        memory[reinterpret_cast<std::uintptr_t>(p)] = {bytes, CU_MEMORYTYPE_DEVICE, device, false, ++ids_, file, opened};
        return static_cast<std::byte*>(p);
    }
    /// What a handle says to other processes.
    struct shared_name {
        static constexpr std::uint64_t known = 0xc0da;
        std::uint64_t magic;
        std::int64_t pid, file;
    };
    CUresult name_of(CUipcMemHandle*, CUdeviceptr) const;
    CUresult open(CUdeviceptr*, const CUipcMemHandle&);
    void given(CUstream s, std::function<bool()> work)
    {
        reinterpret_cast<stream*>(s)->work.push_back(std::move(work));
        if (at_once) step();
    }
    static int current() { return static_cast<int>(reinterpret_cast<std::uintptr_t>(here().contexts.back())) - 100; }
    CUresult attribute(void* out, CUpointer_attribute what, CUdeviceptr p) const;
    CUresult host_register(void* base, std::size_t bytes);
    static cu::api make();

    unsigned long long ids_ = 0;
    std::mutex mutex_; // registering goes on beside the loop
};

inline CUresult fake_cuda::attribute(void* out, CUpointer_attribute what, CUdeviceptr p) const
{
    const auto* a = at(p);
    if (!a) {
        for (const auto& [begin, end] : registered)
            if (p >= begin && p < end && what == CU_POINTER_ATTRIBUTE_MEMORY_TYPE) {
                *static_cast<unsigned*>(out) = CU_MEMORYTYPE_HOST;
                return CUDA_SUCCESS;
            }
        return CUDA_ERROR_INVALID_VALUE;
    }
    switch (what) {
    case CU_POINTER_ATTRIBUTE_MEMORY_TYPE: *static_cast<unsigned*>(out) = a->second.kind; break;
    case CU_POINTER_ATTRIBUTE_IS_MANAGED: *static_cast<unsigned*>(out) = 0; break;
    case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL: *static_cast<int*>(out) = a->second.device; break;
    case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR: *static_cast<CUdeviceptr*>(out) = a->first; break;
    case CU_POINTER_ATTRIBUTE_RANGE_SIZE: *static_cast<std::size_t*>(out) = a->second.bytes; break;
    case CU_POINTER_ATTRIBUTE_MAPPING_BASE_ADDR: *static_cast<CUdeviceptr*>(out) = a->first; break;
    case CU_POINTER_ATTRIBUTE_MAPPING_SIZE: *static_cast<std::size_t*>(out) = a->second.bytes; break;
    case CU_POINTER_ATTRIBUTE_BUFFER_ID: *static_cast<unsigned long long*>(out) = a->second.id; break;
    default: return CUDA_ERROR_INVALID_VALUE;
    }
    return CUDA_SUCCESS;
}

inline CUresult fake_cuda::name_of(CUipcMemHandle* h, CUdeviceptr p) const
{
    const auto* a = at(p);
    if (!a || a->first != p || a->second.file < 0 || a->second.opened) return CUDA_ERROR_INVALID_VALUE;
    const shared_name name{shared_name::known, ::getpid(), a->second.file};
    *h = {};
    std::memcpy(h, &name, sizeof name);
    return CUDA_SUCCESS;
}

inline CUresult fake_cuda::open(CUdeviceptr* p, const CUipcMemHandle& h)
{
    shared_name name;
    std::memcpy(&name, &h, sizeof name);
    if (name.magic != shared_name::known) return CUDA_ERROR_INVALID_VALUE;
    if (name.pid == ::getpid()) return CUDA_ERROR_INVALID_CONTEXT;
    const std::string path = "/proc/" + std::to_string(name.pid) + "/fd/" + std::to_string(name.file);
    const int file = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
    struct stat is {};
    if (file < 0 || ::fstat(file, &is) != 0) return CUDA_ERROR_INVALID_VALUE;
    *p = reinterpret_cast<CUdeviceptr>(map(file, static_cast<std::size_t>(is.st_size), current(), true));
    return CUDA_SUCCESS;
}

inline CUresult fake_cuda::host_register(void* base, std::size_t bytes)
{
    const auto begin = reinterpret_cast<std::uintptr_t>(base), end = begin + bytes;
    for (const auto& [b, e] : registered)
        if (begin < e && b < end) return CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
    if (at(begin)) return CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
    registered[begin] = end;
    return CUDA_SUCCESS;
}

inline cu::api fake_cuda::make()
{
    cu::api t;
    t.cuInit = [](unsigned) { return CUDA_SUCCESS; };
    t.cuDriverGetVersion = [](int* v) { return *v = 13000, CUDA_SUCCESS; };
    t.cuGetErrorString = [](CUresult r, const char** text) { return *text = r == CUDA_ERROR_ILLEGAL_ADDRESS ? "illegal" : "?", CUDA_SUCCESS; };
    t.cuDeviceGetCount = [](int* n) { return *n = self().devices, CUDA_SUCCESS; };
    t.cuDeviceGet = [](CUdevice* d, int i) { return *d = i, CUDA_SUCCESS; };
    t.cuDeviceGetAttribute = [](int* v, CUdevice_attribute, CUdevice) { return *v = 1, CUDA_SUCCESS; };
    t.cuDeviceCanAccessPeer = [](int* can, CUdevice, CUdevice) { return *can = 1, CUDA_SUCCESS; };
    t.cuDevicePrimaryCtxRetain = [](CUcontext* c, CUdevice d) {
        const CUresult r = self().enter("retain");
        *c = reinterpret_cast<CUcontext>(static_cast<std::uintptr_t>(d) + 100);
        return r;
    };
    t.cuDevicePrimaryCtxRelease = [](CUdevice) { return CUDA_SUCCESS; };
    t.cuCtxPushCurrent = [](CUcontext c) { return here().contexts.push_back(c), CUDA_SUCCESS; };
    t.cuCtxPopCurrent = [](CUcontext* c) { return *c = here().contexts.back(), here().contexts.pop_back(), CUDA_SUCCESS; };
    t.cuCtxGetCurrent = [](CUcontext* c) { return *c = here().contexts.empty() ? nullptr : here().contexts.back(), CUDA_SUCCESS; };
    t.cuCtxEnablePeerAccess = [](CUcontext, unsigned) { return self().enter("peer", true); };
    t.cuCtxGetStreamPriorityRange = [](int* l, int* g) { return *l = 0, *g = -5, CUDA_SUCCESS; };
    t.cuThreadExchangeStreamCaptureMode = [](CUstreamCaptureMode* m) { return std::swap(*m, here().mode), CUDA_SUCCESS; };
    t.cuStreamCreateWithPriority = [](CUstream* s, unsigned flags, int) {
        const CUresult r = flags == CU_STREAM_NON_BLOCKING ? self().enter("stream", true) : CUDA_ERROR_INVALID_VALUE;
        if (r == CUDA_SUCCESS) *s = reinterpret_cast<CUstream>(&self().new_stream());
        return r;
    };
    t.cuStreamDestroy = [](CUstream s) {
        for (auto& one : self().streams)
            if (one.get() == reinterpret_cast<stream*>(s)) one.reset();
        return CUDA_SUCCESS;
    };
    t.cuStreamQuery = [](CUstream s) {
        const CUresult r = self().enter("query", true);
        if (r != CUDA_SUCCESS) return r;
        if (self().works) self().step();
        return reinterpret_cast<stream*>(s)->work.empty() ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
    };
    t.cuStreamSynchronize = [](CUstream s) {
        while (self().lost == CUDA_SUCCESS && !reinterpret_cast<stream*>(s)->work.empty() && self().step()) {}
        return self().lost;
    };
    t.cuStreamGetCtx = [](CUstream, CUcontext* c) { return *c = reinterpret_cast<CUcontext>(100), CUDA_SUCCESS; };
    t.cuStreamIsCapturing = [](CUstream s, CUstreamCaptureStatus* status) {
        *status = reinterpret_cast<stream*>(s)->capturing ? CU_STREAM_CAPTURE_STATUS_ACTIVE : CU_STREAM_CAPTURE_STATUS_NONE;
        return CUDA_SUCCESS;
    };
    t.cuStreamWaitEvent = [](CUstream s, CUevent e, unsigned) {
        const CUresult r = self().enter("wait_event", true);
        if (r == CUDA_SUCCESS) reinterpret_cast<stream*>(s)->work.push_back([e] { return reinterpret_cast<event*>(e)->happened; });
        return r;
    };
    t.cuStreamWaitValue32 = [](CUstream s, CUdeviceptr at, cuuint32_t value, unsigned) {
        const CUresult r = self().enter("wait_value", true);
        if (r == CUDA_SUCCESS) reinterpret_cast<stream*>(s)->work.push_back([at, value] {
            return static_cast<std::int32_t>(*reinterpret_cast<std::uint32_t*>(at) - value) >= 0;
        });
        return r;
    };
    t.cuStreamWriteValue32 = [](CUstream s, CUdeviceptr at, cuuint32_t value, unsigned) {
        const CUresult r = self().enter("write", true);
        if (r == CUDA_SUCCESS) self().given(s, [at, value] {
            *reinterpret_cast<std::uint32_t*>(at) = value;
            return true;
        });
        return r;
    };
    t.cuEventCreate = [](CUevent* e, unsigned) { return *e = reinterpret_cast<CUevent>(&self().events.emplace_back()), self().enter("event", true); };
    t.cuEventDestroy = [](CUevent) { return CUDA_SUCCESS; };
    t.cuEventRecord = [](CUevent e, CUstream s) {
        const CUresult r = self().enter("record", true);
        reinterpret_cast<event*>(e)->recorded = true;
        reinterpret_cast<stream*>(s)->work.push_back([e] { return reinterpret_cast<event*>(e)->happened = true; });
        return r;
    };
    t.cuEventQuery = [](CUevent e) {
        const CUresult r = self().enter("event_query", true);
        if (r != CUDA_SUCCESS) return r;
        return reinterpret_cast<event*>(e)->happened ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
    };
    t.cuMemAlloc = [](CUdeviceptr* p, std::size_t bytes) {
        const CUresult r = self().enter("alloc", true);
        if (r == CUDA_SUCCESS) *p = reinterpret_cast<CUdeviceptr>(self().allocate_shared(bytes, current()));
        return r;
    };
    t.cuMemFree = [](CUdeviceptr p) { return self().free(reinterpret_cast<void*>(p)), CUDA_SUCCESS; };
    t.cuIpcGetMemHandle = [](CUipcMemHandle* h, CUdeviceptr p) {
        const CUresult r = self().enter("ipc_get", true);
        return r == CUDA_SUCCESS ? self().name_of(h, p) : r;
    };
    t.cuIpcOpenMemHandle = [](CUdeviceptr* p, CUipcMemHandle h, unsigned) {
        const CUresult r = self().enter("ipc_open", true);
        return r == CUDA_SUCCESS ? self().open(p, h) : r;
    };
    t.cuIpcCloseMemHandle = [](CUdeviceptr p) {
        const auto* a = self().at(p);
        if (!a || a->first != p || !a->second.opened) return CUDA_ERROR_INVALID_VALUE;
        return self().free(reinterpret_cast<void*>(p)), CUDA_SUCCESS;
    };
    t.cuMemHostAlloc = [](void** p, std::size_t bytes, unsigned) {
        const CUresult r = self().enter("host_alloc", true);
        if (r == CUDA_SUCCESS) *p = self().allocate(bytes, CU_MEMORYTYPE_HOST);
        return r;
    };
    t.cuMemFreeHost = [](void* p) { return self().free(p), CUDA_SUCCESS; };
    t.cuMemHostRegister = [](void* p, std::size_t bytes, unsigned) {
        const CUresult r = self().enter("register", true);
        return r == CUDA_SUCCESS ? self().host_register(p, bytes) : r;
    };
    t.cuMemHostUnregister = [](void* p) {
        return self().registered.erase(reinterpret_cast<std::uintptr_t>(p)) ? CUDA_SUCCESS : CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED;
    };
    t.cuMemRetainAllocationHandle = [](CUmemGenericAllocationHandle*, void* p) {
        const auto* a = self().at(reinterpret_cast<CUdeviceptr>(p));
        return a && a->second.mapped ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
    };
    t.cuMemRelease = [](CUmemGenericAllocationHandle) { return CUDA_SUCCESS; };
    t.cuPointerGetAttribute = [](void* out, CUpointer_attribute what, CUdeviceptr p) { return self().attribute(out, what, p); };
    t.cuMemcpyAsync = [](CUdeviceptr to, CUdeviceptr from, std::size_t bytes, CUstream s) {
        const CUresult r = self().enter("copy", true);
        if (r == CUDA_SUCCESS) self().given(s, [=] {
            std::memmove(reinterpret_cast<void*>(to), reinterpret_cast<const void*>(from), bytes);
            return true;
        });
        return r;
    };
    t.cuModuleLoadData = [](CUmodule* m, const void*) { return *m = reinterpret_cast<CUmodule>(1), self().enter("module", true); };
    t.cuModuleUnload = [](CUmodule) { return CUDA_SUCCESS; };
    t.cuModuleGetFunction = [](CUfunction* f, CUmodule, const char*) { return *f = reinterpret_cast<CUfunction>(1), CUDA_SUCCESS; };
    t.cuLaunchKernel = [](CUfunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, CUstream s, void** arguments, void**) {
        const CUresult r = self().enter("launch", true);
        if (r != CUDA_SUCCESS) return r;
        const auto* list = *static_cast<const cu::page**>(arguments[0]);
        const unsigned count = *static_cast<unsigned*>(arguments[1]);
        self().pages_launched += count;
        self().given(s, [list, count] { // read when it runs, as the device does
            for (unsigned i = 0; i < count; ++i)
                std::memcpy(reinterpret_cast<void*>(list[i].to), reinterpret_cast<const void*>(list[i].from), list[i].bytes);
            return true;
        });
        return r;
    };
    return t;
}

} // namespace wye::testing
