// SPDX-License-Identifier: Apache-2.0
#include "device.hpp"

#ifdef WYE_PAGE_KERNEL
// The file as it is: an array of its bytes would take the compiler longer than nvcc took.
asm(".pushsection .rodata\n"
    ".balign 16\n"
    ".local wye_page_kernel\n"
    "wye_page_kernel:\n"
    ".incbin \"" WYE_PAGE_KERNEL "\"\n"
    ".popsection\n");
extern "C" [[gnu::visibility("hidden")]] const unsigned char wye_page_kernel[];

namespace wye::cu {

const void* page_kernel() noexcept { return wye_page_kernel; }

} // namespace wye::cu
#else
namespace wye::cu {

const void* page_kernel() noexcept { return nullptr; }

} // namespace wye::cu
#endif
