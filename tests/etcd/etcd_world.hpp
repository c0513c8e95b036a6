// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <utility>

#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

#include <wye/etcd.hpp>

#include "etcd/client.hpp"
#include "etcd/watch.hpp"
#include "support/directory_conformance.hpp"
#include "support/etcd_process.hpp"
#include "support/fault_proxy.hpp"

/// What tests of etcd begin with.
namespace wye::testing {

/// The shortest life that the etcd of these tests gives.
inline constexpr duration least_life = std::chrono::seconds{1};

/// One for all tests that do not harm it; each with a prefix of its own.
inline etcd_process& common_etcd()
{
    static etcd_process it;
    return it;
}

inline std::string url_of(std::uint16_t port, const std::string& prefix)
{
    return "etcd://127.0.0.1:" + std::to_string(port) + "/" + prefix;
}

inline std::shared_ptr<detail::etcd::client> client_of(runtime& rt, const std::string& url)
{
    return std::make_shared<detail::etcd::client>(rt, detail::etcd::read_settings(url, {}));
}

/// As the operator would.
inline task<boost::json::object> operate(std::shared_ptr<detail::etcd::client> c, std::string path, boost::json::object question)
{
    boost::json::object answer = co_await detail::etcd::client::call(c, std::move(path), boost::json::serialize(question), 10s);
    co_return answer;
}

/// All that is under a prefix, as etcd itself sees it.
inline task<std::size_t> count_left(runtime& rt, std::string prefix)
{
    detail::etcd::key_range all = detail::etcd::key_range::all(prefix);
    const std::shared_ptr<detail::etcd::client> c = client_of(rt, url_of(common_etcd().port(), prefix));
    const detail::etcd::listed left = co_await detail::etcd::list(c, std::move(all), true, 10s);
    co_return left.entries.size();
}

/// Agents that others could reach.
class crowd {
public:
    agent& add(runtime& rt, const std::string& name)
    {
        agent_options o = neighbours::options();
        o.default_drivers = false;
        all_.push_back(std::make_unique<agent>(rt, name, o));
        all_.back()->add(std::make_unique<near_fabric>(in_));
        return *all_.back();
    }

private:
    neighbourhood in_;
    std::vector<std::unique_ptr<agent>> all_;
};

/// What was thrown, as people read it.
template <class T>
task<std::string> words_of(task<T> t)
{
    try {
        if constexpr (std::is_void_v<T>) co_await std::move(t);
        else [[maybe_unused]] const T got = co_await std::move(t);
    } catch (const system_error& e) {
        co_return e.what();
    }
    co_return std::string{};
}

inline bool contains(const std::string& text, std::string_view what) { return text.find(what) != text.npos; }

} // namespace wye::testing
