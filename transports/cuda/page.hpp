// SPDX-License-Identifier: Apache-2.0
#pragma once

// Shared with the device's code.

namespace wye::cu {

/// One piece of a gather or scatter. Both addresses are equal modulo 16, so that 16-byte accesses do for all but the ends.
struct page {
    unsigned long long from, to, bytes;
};

constexpr unsigned most_pages = 256; ///< of one launch
constexpr unsigned least_threads = most_pages, most_threads = 1024; ///< of a block
/// What a warp moves at a time: eight 16-byte accesses a thread.
constexpr unsigned unit_words = 8, unit_bytes = 32 * 16 * unit_words;

} // namespace wye::cu
