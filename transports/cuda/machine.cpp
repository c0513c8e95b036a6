// SPDX-License-Identifier: Apache-2.0
#include "machine.hpp"

#include <string>

#include "errors.hpp"
#include "scope.hpp"

namespace wye::cu {

machine::machine(const api& a, const cuda_options& o) : api_{a}
{
    int count = 0;
    must(a.cuDeviceGetCount(&count), "counting devices");
    std::vector<int> wanted = o.devices;
    for (int i = 0; o.devices.empty() && i < count; ++i) wanted.push_back(i);
    for (const int ordinal : wanted) {
        CUdevice handle{};
        if (ordinal < 0 || ordinal >= count) throw system_error(cuda_errc::no_such_device, "GPU " + std::to_string(ordinal));
        must(a.cuDeviceGet(&handle, ordinal), "finding a device");
        gpus_.push_back(std::make_unique<gpu>(a, ordinal, handle, o));
    }
    if (gpus_.empty()) throw system_error(error_of(CUDA_ERROR_NO_DEVICE));
}

gpu* machine::find(int ordinal) const noexcept
{
    for (const auto& g : gpus_)
        if (g->ordinal() == ordinal) return g.get();
    return nullptr;
}

gpu* machine::open(int ordinal, error_code& why) noexcept
{
    gpu* const g = find(ordinal);
    if (!g) {
        why = cuda_errc::no_such_device;
        return nullptr;
    }
    if (g->is_open()) return g;
    why = error_of(g->open());
    if (why) return nullptr;
    befriend(*g);
    return g;
}

/// Lets it and the others reach each other's memory. Where the hardware cannot, copies go through the host by themselves.
void machine::befriend(gpu& g) noexcept
{
    const auto let = [&](const gpu& from, const gpu& to) {
        int can = 0;
        if (api_.cuDeviceCanAccessPeer(&can, from.handle(), to.handle()) != CUDA_SUCCESS || !can) return;
        const scope in{api_, from.context()};
        api_.cuCtxEnablePeerAccess(to.context(), 0); // it may have it already
    };
    for (const auto& other : gpus_) {
        if (other.get() == &g || !other->is_open()) continue;
        let(g, *other);
        let(*other, g);
    }
}

} // namespace wye::cu
