// SPDX-License-Identifier: Apache-2.0
#include <wye/cuda.hpp>

namespace wye {

namespace {

class no_errors final : public boost::system::error_category {
public:
    const char* name() const noexcept override { return "cuda"; }
    std::string message(int value) const override { return "cuda: error " + std::to_string(value); }
};

constexpr const char* absent = "wye was built without CUDA's headers";

} // namespace

const boost::system::error_category& cuda_category() noexcept
{
    static const no_errors category;
    return category;
}

cuda_facts read_cuda()
{
    cuda_facts f;
    f.missing = absent;
    return f;
}

gpu_memory::gpu_memory(std::size_t, int) { throw system_error(errc::not_supported, absent); }
gpu_memory::~gpu_memory() = default;

std::unique_ptr<driver> drivers::cuda(const cuda_options&) { throw system_error(errc::not_supported, absent); }
std::unique_ptr<gpu_sharing> drivers::cuda_sharing(const cuda_options&) { throw system_error(errc::not_supported, absent); }

} // namespace wye
