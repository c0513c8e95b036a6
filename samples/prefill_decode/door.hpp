// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>

#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>

#include <wye/directory.hpp>
#include <wye/runtime.hpp>
#include <wye/task.hpp>

#include "settings.hpp"

namespace pd {

/// Where who wants to join a job knocks: a Unix socket of this machine, which is in the job's directory as "front". It also says
/// that there is a job, so that no other one comes there. Only processes of the same user are let in, by the kernel's word.
class door {
public:
    /// Makes a thread at need: have no children after it. Throws std::exception with one line.
    door(wye::runtime&, const settings&);

    /// Returns when it is in the directory, and keeps it there. Throws std::runtime_error when another job is there, and later
    /// out of the runtime's `run` when another has taken its place.
    wye::task<> open();
    /// A line's socket to the next who knocks. One call at a time.
    wye::task<int> knock();
    /// Takes it out of the directory.
    wye::task<> close();
    /// The same with who has died, and cannot.
    wye::task<> take_out(std::string name);

private:
    wye::task<> stay();
    wye::task<> renew();
    wye::task<bool> is_free();
    wye::task<> put();

    const settings& settings_;
    wye::runtime& runtime_;
    std::unique_ptr<wye::directory> directory_;
    const std::string address_; ///< "HOST NAME"
    boost::asio::posix::stream_descriptor socket_;
    const std::shared_ptr<boost::asio::cancellation_signal> stays_no_more_;
    bool closed_ = false;
};

/// The address of the job's door, found in its directory. Throws std::runtime_error when there is no job, or it is out of
/// reach. No thread is left of it.
std::string find_door(const settings&);
/// A line's socket to the front there. Throws std::runtime_error when nobody is.
int knock_at(const std::string& address);

} // namespace pd
