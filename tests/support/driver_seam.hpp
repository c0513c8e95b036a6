// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <stdexcept>
#include <thread>

#include <poll.h>

#include <wye/driver.hpp>

/// Stands in for the runtime at the driver seam, so that a driver is tested without one. Include it in one
/// file of a program that links the driver's objects and runtime/error.cpp, and nothing else of the library.
namespace wye {

class detail::ledger {};

segment::segment(wye::tier t) noexcept : tier{t} {}
segment::~segment() = default;

void driver::open_file(std::string, const file_options&,
                       std::function<void(error_code, std::unique_ptr<segment>)>)
{
    throw std::logic_error{"this driver opens no files"};
}
void driver::sync(segment&, std::function<void(error_code)>)
{
    throw std::logic_error{"this driver has no files"};
}
void driver::open_store(std::string, wye::access,
                        std::function<void(error_code, std::unique_ptr<object_store>)>)
{
    throw std::logic_error{"this driver has no stores"};
}

namespace seam {

/// A chunk that remembers how its loan ended.
struct chunk : wye::chunk {
    int ends = 0;
    error_code error;
    std::size_t bytes = 0;
    std::function<void()> then;
    bool unwanted = false; ///< its operation was cancelled
};

/// Polls as the loop does, asleep in between where the driver has something to sleep on, until `over`.
template <class Over>
void drive(driver& d, Over over)
{
    const auto patience = std::chrono::steady_clock::now() + std::chrono::seconds{60};
    while (!over()) {
        if (d.poll({}) != 0) continue;
        if (std::chrono::steady_clock::now() > patience) throw std::runtime_error{"the driver hangs"};
        pollfd wait{d.wait_handle(), POLLIN, 0};
        if (wait.fd < 0) std::this_thread::yield();
        else if (d.arm()) ::poll(&wait, 1, 1000);
    }
}

/// Submits one chunk and waits for its end.
inline void move(driver& d, chunk& c)
{
    c.ends = 0;
    if (!d.submit(c)) throw std::runtime_error{"refused"};
    d.flush();
    drive(d, [&] { return c.ends != 0; });
}

} // namespace seam

void chunk::done() noexcept { done({}, from.length); }
bool chunk::wanted() const noexcept { return !static_cast<const seam::chunk&>(*this).unwanted; }

void chunk::done(error_code e, std::size_t n) noexcept
{
    auto& self = static_cast<seam::chunk&>(*this);
    ++self.ends;
    self.error = e;
    self.bytes = n;
    if (self.then) self.then();
}

} // namespace wye
