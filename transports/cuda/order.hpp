// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include <wye/driver.hpp>

#include "machine.hpp"

namespace wye::cu {

/// A point that copies come after.
struct mark {
    CUevent event = nullptr;
    bool ours = false;      ///< the event is
    bool over = false;      ///< the device has passed it
    gpu* on = nullptr;
    int side = -1;          ///< the stream of `on` that waits for it
    CUresult error = CUDA_SUCCESS;
    std::size_t bytes = 0, chunks = 0; ///< that may wait with it
};

/// A word that a stream waits for. Words live as long as the process: the stream may come to it after everybody else
/// has gone.
struct held_stream {
    std::uint32_t* word = nullptr;
    std::uint32_t value = 0;
    std::uint32_t* status = nullptr;
};

/// Copies that come after what streams do, and streams that come after copies.
///
/// A copy waits on the device, on a stream of its own, while only few do; the others are held back here until their
/// event has come. So what waits never keeps what does not from going, which it may be waiting for.
class orders final : public device_order {
public:
    /// Waiting copies have at most so much of the window.
    orders(const api& a, machine& m, std::size_t most_bytes, std::size_t most_chunks) noexcept
        : api_{a}, machine_{m}, bytes_left_{most_bytes}, chunks_left_{most_chunks} {}

    std::uintptr_t mark(const gpu_order&, std::int32_t device, error_code&) noexcept override;
    bool passed(std::uintptr_t, const waiting&, error_code&) noexcept override;
    void forget(std::uintptr_t) noexcept override;
    std::uintptr_t hold(const gpu_wait&, std::int32_t device, error_code&) noexcept override;
    void let_go(std::uintptr_t, bool landed) noexcept override;

    /// The track that waits for a mark; null when its chunks may go as all others do.
    static track* side_of(std::uintptr_t) noexcept;

private:
    CUresult record(wye::cu::mark&, CUstream) noexcept;
    bool wait_on_device(wye::cu::mark&, const waiting&) noexcept;

    const api& api_;
    machine& machine_;
    std::size_t bytes_left_, chunks_left_;
};

} // namespace wye::cu
