// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <thread>

#include <wye/cuda.hpp>

#include "machine.hpp"
#include "order.hpp"
#include "pinned.hpp"

namespace wye::cu {

/// Registers memory, and puts each chunk on its track. See track.hpp for how it goes from there.
class cuda_driver final : public driver {
public:
    /// Tests give a table of their own.
    cuda_driver(const api&, const cuda_options&);
    ~cuda_driver() override;

    std::string_view name() const noexcept override { return "cuda"; }
    wye::limits limits() const noexcept override;
    bool carries(const slice& from, const slice& to) const noexcept override;
    std::string declines(const slice& from, const slice& to) const override;
    bool submit(chunk&) noexcept override;
    void flush() noexcept override;
    std::size_t poll(turn) noexcept override;
    bool busy() const noexcept override { return !registering_.empty(); }
    void enlist(segment&, std::function<void(error_code)> done) override;
    void dismiss(segment&) noexcept override;
    bool due() const noexcept override;
    device_order* order() noexcept override { return &orders_; }

private:
    /// What `segment::notes` says.
    enum note : std::uintptr_t { unknown, usable, pending };

    /// A registration that takes a while.
    struct registration {
        segment* of;
        std::function<void(error_code)> done;
        error_code error;
        std::atomic<bool> over{false};
        std::thread helper;
    };

    note known(const segment& s) const noexcept { return static_cast<note>(s.notes[id()]); }
    bool fail(chunk&, int error) noexcept;
    bool gathers(const chunk&, const gpu&) const noexcept;
    CUresult pin(const segment&) noexcept;
    void enlist_host(segment&, std::function<void(error_code)> done);
    error_code enlist_device(segment&) noexcept;
    std::size_t finish_registrations() noexcept;

    const api& api_;
    const cuda_options options_;
    machine machine_;
    orders orders_;
    pinned_memory& pinned_;
    gpu* first_;         ///< whose context is used where any will do
    chunk_queue failed_; ///< to be told in the next `poll`
    std::list<registration> registering_;
};

} // namespace wye::cu
