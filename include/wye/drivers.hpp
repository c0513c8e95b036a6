// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>

#include <wye/driver.hpp>

/// The drivers that come with wye, for `agent::add`. An agent made without options has them all, the
/// stand-in excepted.
namespace wye::drivers {

/// DRAM to DRAM, by the processor, in pieces small enough for a `poll` budget.
std::unique_ptr<driver> host();

/// DRAM that plays VRAM: carries DRAM to VRAM and back and VRAM to VRAM, nothing else, so that every other
/// pair is staged as it is on a real GPU. For tests and for trying the KV tiering without a GPU.
std::unique_ptr<driver> vram_standin();

enum class file_engine { automatic, uring, threads };

struct file_driver_options {
    file_engine engine = file_engine::automatic; ///< io_uring where the kernel allows it, else threads
    unsigned queue_depth = 128;                  ///< ring entries, and operations in flight
    unsigned threads = 4;                        ///< of the fallback
    std::size_t bounce_bytes = 4_MiB;            ///< for heads and tails that O_DIRECT refuses
};

/// Files and block devices. `driver::name()` says which engine was taken: "file/io_uring" or "file/threads".
std::unique_ptr<driver> file(const file_driver_options& = {});

struct directory_options {
    unsigned threads = 2;  ///< that do the blocking calls
    bool durable = false;  ///< fsync each object and its directory before the rename is reported
};

/// The OBJ tier in a directory: "dir:/path".
std::unique_ptr<driver> directory(const directory_options& = {});

} // namespace wye::drivers
