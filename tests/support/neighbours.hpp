// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include <stdlib.h>

#include <boost/test/unit_test.hpp>

#include <wye/wye.hpp>

#include "co_test.hpp"
#include "near_fabric.hpp"

namespace wye::testing {

/// Two agents of one runtime: decode publishes, prefill connects.
struct neighbours {
    explicit neighbours(runtime& rt) : prefill{rt, "prefill", options()}, decode{rt, "decode", options()}
    {
        prefill.add(std::make_unique<near_fabric>(in));
        decode.add(std::make_unique<near_fabric>(in));
    }
    static agent_options options()
    {
        agent_options o;
        o.peers.secret = "of agents";
        return o;
    }
    task<> open()
    {
        from = co_await prefill.register_memory(dram(sent));
        pool = co_await decode.register_memory(dram(landed));
        co_await decode.publish("kv", pool);
    }
    /// What a connection is for.
    task<> expect_reach(const peer& p)
    {
        std::fill(landed.begin(), landed.end(), std::byte{0});
        BOOST_TEST(p.name() == "decode");
        const slice there = p.published("kv");
        const std::size_t n = co_await copy(from, there);
        BOOST_TEST(n == sent.size());
        BOOST_TEST((sent == landed));
    }

    std::vector<std::byte> sent = std::vector<std::byte>(8192, std::byte{7}), landed = std::vector<std::byte>(8192);
    neighbourhood in;
    agent prefill, decode;
    region from, pool;
};

/// A folder that goes with it.
struct scratch_folder {
    scratch_folder()
    {
        std::string name = (std::filesystem::temp_directory_path() / "wye-XXXXXX").string();
        if (!::mkdtemp(name.data())) throw std::runtime_error{"mkdtemp"};
        path = name;
    }
    scratch_folder(const scratch_folder&) = delete;
    scratch_folder& operator=(const scratch_folder&) = delete;
    ~scratch_folder() { std::filesystem::remove_all(path); }
    std::string operator/(const std::string& name) const { return path + "/" + name; }
    std::string path;
};

/// What was thrown.
template <class T>
task<error_code> failure_of(task<T> t)
{
    try {
        if constexpr (std::is_void_v<T>) co_await std::move(t);
        else [[maybe_unused]] const T got = co_await std::move(t);
    } catch (const system_error& e) {
        co_return e.code();
    }
    co_return error_code{};
}

} // namespace wye::testing
