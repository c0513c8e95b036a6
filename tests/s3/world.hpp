// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include <wye/s3.hpp>

#include "s3/environment.hpp"
#include "support/directory_world.hpp"
#include "support/fake_s3.hpp"
#include "support/fault_proxy.hpp"

namespace wye::seam {

using namespace std::chrono_literals;

/// Impatient, so that what never comes is given up soon.
inline s3_options impatient()
{
    forget_environment();
    s3_options o;
    o.access_key = "test:tester";
    o.secret_key = "testing";
    o.connect_within = 2s;
    o.stalled_after = o.answer_within = 400ms;
    o.tries = 4;
    return o;
}

/// For what is large and where nobody is silent on purpose: the server of the tests takes its time over megabytes when it
/// is instrumented.
inline s3_options unhurried()
{
    s3_options o = impatient();
    o.stalled_after = s3_options{}.stalled_after;
    o.answer_within = s3_options{}.answer_within;
    return o;
}

inline std::string url_at(std::uint16_t port, const std::string& more = {})
{
    return "s3://bucket?endpoint=http://127.0.0.1:" + std::to_string(port) + more;
}

inline std::string text_of(const bytes& b) { return {reinterpret_cast<const char*>(b.data()), b.size()}; }

/// A driver with a bucket of a server of this process, and what it was told of failures.
struct fake_world {
    explicit fake_world(s3_options o = impatient(), const std::string& more = {})
        : w{make_s3(remember(std::move(o))), url_at(server.port(), more)}
    {
    }
    s3_options remember(s3_options o)
    {
        o.failed = [this](const s3_failure& f) { told.push_back(f.to_string()); };
        return o;
    }

    testing::fake_s3 server;
    std::vector<std::string> told;
    world w;
};

} // namespace wye::seam
