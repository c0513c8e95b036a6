// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <sys/types.h>

#include <wye/cufile.hpp>

#include "api.hpp"
#include "blocking_pool.hpp"
#include "contexts.hpp"
#include "known.hpp"

namespace wye::cuf {

/// Moves bytes between VRAM and files that others opened, by blocking calls of cuFile on a few helper threads: the one way that
/// works with every filesystem and without a configuration, that says of each call how it ended, and that needs no memory of
/// ours. A chunk is one call.
///
/// Where cuFile is not real it is still there, carries nothing, and says why.
class cufile_driver final : public driver {
public:
    /// Tests give a table of their own; null where there is none, with the reason in `missing`.
    cufile_driver(const api*, std::string missing, const cufile_options&);
    cufile_driver(const cufile_driver&) = delete;

    std::string_view name() const noexcept override { return "cufile"; }
    wye::limits limits() const noexcept override;
    bool carries(const slice& from, const slice& to) const noexcept override;
    std::string declines(const slice& from, const slice& to) const override;
    bool submit(chunk&) noexcept override;
    std::size_t poll(turn) noexcept override { return pool_.reap(); }
    bool busy() const noexcept override { return pool_.outstanding() != 0; }
    int wait_handle() const noexcept override { return pool_.wait_handle(); }
    bool arm() noexcept override { return pool_.arm(); }

    bool takes_files() const noexcept override { return true; }
    void enlist(segment&, std::function<void(error_code)> done) override;
    void dismiss(segment&) noexcept override;

private:
    /// One blocking call, for a chunk.
    struct call final : blocking_pool::job {
        void work() noexcept override;
        void finished() noexcept override;

        cufile_driver* by = nullptr;
        call* next_free = nullptr;
        chunk* of = nullptr;
        context where = nullptr;
        file_handle file = nullptr;
        std::byte* base = nullptr;
        off_t offset = 0, place = 0; ///< from `base`, and in the file
        std::size_t bytes = 0;
        bool writes = false;
        std::size_t moved = 0;
        error_code error;
    };

    static constexpr std::uint64_t page = 4096; ///< what cuFile takes straight begins and ends at multiples of this

    bool real() const noexcept { return missing_.empty(); }
    /// Of the files that cuFile has: no other driver of the agent sets this one.
    std::uint32_t reach() const noexcept { return static_cast<std::uint32_t>(id()) + 1; }
    known_file* file_of(const slice& s) const noexcept { return reinterpret_cast<known_file*>(s.of->notes[id()]); }
    known_vram* vram_of(const slice& s) const noexcept { return reinterpret_cast<known_vram*>(s.of->notes[id()]); }

    const api* const api_;
    const bool on_trial_; ///< whether it is faster than staging is to be found out
    const std::size_t chunk_bytes_;
    std::string missing_; ///< why it is not used at all; empty when it is
    contexts contexts_;
    std::vector<call> calls_;
    call* free_ = nullptr;
    blocking_pool pool_; ///< the first to go: it ends what the others are used by
};

} // namespace wye::cuf
