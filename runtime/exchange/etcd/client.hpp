// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include <boost/asio/ssl/context.hpp>
#include <boost/json/object.hpp>

#include <wye/error.hpp>
#include <wye/runtime.hpp>
#include <wye/task.hpp>

#include "http_line.hpp"
#include "settings.hpp"
#include "slots.hpp"

namespace wye::detail::etcd {

/// Questions to etcd's JSON gateway, at whichever endpoint answers. Its calls hold it, so that who owns it may go in the middle
/// of one.
class client : public std::enable_shared_from_this<client> {
public:
    client(runtime&, settings);

    /// Asks until an endpoint answers, or refuses, or there is no more time. Throws system_error with one line.
    static task<boost::json::object> call(std::shared_ptr<client>, std::string path, std::string question, duration within);
    /// The same for an answer without an end: a connection of its own, on which that has begun. One try.
    static task<std::unique_ptr<http_line>> stream(std::shared_ptr<client>, std::string path, std::string question);
    /// The next endpoint's turn, unless it is already: `at` has failed.
    void leave(std::size_t at) noexcept;
    std::size_t current() const noexcept { return current_; }
    /// "etcd 10.0.0.7:2379".
    std::string name_of(std::size_t endpoint) const;
    /// Throws what etcd means by an answer that is no good.
    boost::json::object judge(std::size_t at, unsigned status, std::string_view text) const;
    void report(const system_error&) const;
    /// What stands in the way of a question that is being asked, or `deadline_missed`.
    system_error trouble() const;
    /// After a failure of each endpoint in turn, the nth time.
    duration pause_after(unsigned rounds);

    const settings& of() const noexcept { return settings_; }
    runtime& loop() const noexcept { return runtime_; }

private:
    struct said {
        unsigned status = 0;
        std::string text;
    };
    static task<boost::json::object> attempt(std::shared_ptr<client>, std::size_t at, std::string path, std::string question,
                                             duration within);
    static task<said> ask(std::shared_ptr<client>, std::size_t at, std::string path, std::string question, duration within);
    static task<> log_in(std::shared_ptr<client>, std::size_t at, duration within);
    static task<std::unique_ptr<http_line>> dial(std::shared_ptr<client>, std::size_t at, duration within);
    std::unique_ptr<http_line> take_idle(std::size_t at);
    void give_back(std::size_t at, std::unique_ptr<http_line>);
    bool must_log_in() const noexcept { return !settings_.options.user.empty() && token_.empty(); }
    bool forget_token(const said&);

    struct idle_line {
        std::size_t at;
        std::unique_ptr<http_line> line;
    };

    runtime& runtime_;
    const settings settings_;
    std::optional<boost::asio::ssl::context> tls_;
    slots slots_;
    std::vector<idle_line> idle_;
    std::size_t current_ = 0;
    std::string token_;
    std::optional<system_error> trouble_;
    std::minstd_rand random_{std::random_device{}()};
};

/// What a value of etcd's means: 64-bit numbers are strings, and zeros are left out.
std::uint64_t number_in(const boost::json::object&, std::string_view key);
std::string text_in(const boost::json::object&, std::string_view key);
const boost::json::object& object_in(const boost::json::object&, std::string_view key);
/// Another endpoint, or the same one later, would say no different.
bool is_refusal(const error_code&) noexcept;

} // namespace wye::detail::etcd
