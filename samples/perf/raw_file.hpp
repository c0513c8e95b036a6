// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include <wye/memory.hpp>

namespace perf {

/// Operations of one kind.
struct load {
    bool write = false, direct = false;
    std::size_t bytes = 0;
    unsigned depth = 1;
};

/// A file of random bytes on disk, open twice. It has no name, so nothing is left however the program ends.
class test_file {
public:
    /// Throws system_error.
    test_file(const std::string& directory, std::size_t bytes);
    test_file(const test_file&) = delete;
    test_file& operator=(const test_file&) = delete;
    ~test_file();

    int descriptor(bool direct) const noexcept { return direct ? direct_ : cached_; }
    /// By which it can be opened again, by other programs of this user too.
    std::string path() const;
    std::size_t size() const noexcept { return bytes_; }
    void sync() const;
    /// Everything into the page cache, or out of it.
    void warm() const;
    void cool() const;

private:
    std::size_t bytes_;
    int cached_ = -1, direct_ = -1;
};

/// How plain code may do it; which one is best depends on the load and the machine.
enum class method {
    ring,         ///< io_uring, submitting what one round of completions makes room for in one call
    ring_by_four, ///< io_uring, submitting every four
    call          ///< cached only: preadv2(RWF_NOWAIT), or pwrite
};
inline constexpr method methods[] = {method::ring, method::ring_by_four, method::call};
const char* name_of(method) noexcept;

/// Whether plain code has this method for this load, here.
bool can(method, const load&);

/// Reads or writes `load.bytes` at each offset, from or to slots of `buffers`, with `load.depth` under way;
/// checks every byte count. The setup is not timed. Returns seconds; throws system_error.
double run_raw(method, const load&, const test_file&, const wye::arena& buffers,
               std::span<const std::uint64_t> offsets);

/// MB/s of fio for the same load, over a second; nothing when it is not installed or fails.
std::optional<double> run_fio(const load&, const test_file&);

} // namespace perf
