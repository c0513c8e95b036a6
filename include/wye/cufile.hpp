// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include <wye/driver.hpp>
#include <wye/units.hpp>

namespace wye {

enum class cufile_mode : std::uint8_t {
    automatic, ///< where it is real and faster: the first transfers of each GPU and direction go by it and staged in turn
    always,    ///< for all that it takes, without a comparison; `drivers::cufile` throws where it is not real
    off,       ///< never
};

struct cufile_options {
    cufile_mode mode = cufile_mode::automatic;
    unsigned threads = 8;                ///< that wait for cuFile, one for each piece that is moved at a time
    std::size_t chunk_bytes = 4_MiB;     ///< largest piece
};

/// What there is of cuFile, for a report. Cheap after the first call; opens nothing.
struct cufile_facts {
    std::string missing; ///< why it cannot be real here, in a few words; empty when it may be
};
cufile_facts read_cufile();

/// Numbers of cuFile (CUfileOpError, 5001 and up); `message()` begins with "cufile: ".
const boost::system::error_category& cufile_category() noexcept;

namespace drivers {

/// VRAM to files and block devices and back in one hop, by NVIDIA's GPUDirect Storage. For `agent::add`, beside `drivers::cuda`,
/// which carries what this does not take.
///
/// Used only where it is real: the nvidia-fs kernel module is loaded, cuFile's library opens it, and cuFile stages nothing by
/// itself (its compatibility mode is switched off, for the whole process). Then transfers go that way to and from files that are
/// open past the page cache (`caching::direct`) and that cuFile registers, if they begin and end at multiples of 4096 in the file
/// and in device memory. Everything else is staged as without it: other files, other slices, copies under `verify`, and all of
/// them where staging has turned out to be faster. `agent::explain` says which it is, and why.
///
/// Opening cuFile takes a moment, and is done here. Throws system_error when it is to be used `always` and is not real. Memory
/// and files are registered with cuFile when they are with the agent. Processes that fork do so before.
std::unique_ptr<driver> cufile(const cufile_options& = {});

} // namespace drivers
} // namespace wye
