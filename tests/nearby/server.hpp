// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <optional>
#include <sstream>
#include <string>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <unistd.h>

#include "nearby/both.hpp"

namespace wye::testing {

namespace asio = boost::asio;

/// A peer that publishes its memory as "kv", says how to reach it, and does what it is told on standard input, a line each,
/// answered by one:
///   connect N    connects to the agent whose metadata, N bytes, comes next; "connected", or why not
///   write, read  copies its memory to "kv" over there or back for ever; ended answers how that came to an end
///   fetch        the same of reading it once
///   push         the same of writing DRAM of its
///   fill SEED    fills its memory; holds SEED answers "yes" or "no"
///   forget       lets go of it
///   told         waits for a notification, and answers its key
///   by           how many bytes it moved by the short way
/// It ends with standard input.
class server {
public:
    /// What else it does at a word. Empty: it does not know it.
    using other_words = std::function<std::string(const std::string& word)>;

    server(runtime& rt, std::string name, memory what, other_words obeys = {})
        : rt_{rt}, what_{what}, obeys_{std::move(obeys)}, a_{rt, std::move(name), on_this_machine()},
          input_{rt.io(), ::dup(STDIN_FILENO)}
    {
    }
    agent& its() noexcept { return a_; }
    task<> serve()
    {
        pool_ = co_await a_.register_memory(what_);
        if (what_.tier == tier::vram) { // the processor is to see it, too
            seen_ = arena{what_.bytes};
            mirror_ = co_await a_.register_memory(dram(seen_));
        }
        co_await a_.publish("kv", pool_);
        const std::vector<std::byte> how = a_.metadata();
        const std::uint64_t n = how.size();
        put(&n, sizeof n);
        put(how.data(), how.size());
        try {
            for (;;) {
                const std::size_t length = co_await asio::async_read_until(input_, asio::dynamic_buffer(text_), '\n', asio::use_awaitable);
                const std::string line = text_.substr(0, length - 1);
                text_.erase(0, length);
                const std::string answer = co_await obey(line);
                put(answer.data(), answer.size());
                put("\n", 1);
            }
        } catch (const boost::system::system_error&) {
            // it has ended
        }
        other_ = {};
        if (pool_) co_await a_.unpublish("kv");
    }

private:
    std::byte* bytes() const noexcept { return mirror_ ? seen_.data() : what_.base; }
    static void put(const void* from, std::size_t n)
    {
        if (::write(STDOUT_FILENO, from, n) != static_cast<ssize_t>(n)) std::exit(1);
    }
    task<std::string> obey(std::string line)
    {
        std::istringstream words{line};
        std::string word;
        std::uint64_t number = 0;
        words >> word >> number;
        if (word == "connect") co_return co_await connect(number);
        if (word == "fill") {
            std::ranges::copy(lab::pattern(what_.bytes, number), bytes());
            if (mirror_) co_await copy(mirror_, pool_);
        }
        if (word == "holds") {
            if (mirror_) co_await copy(pool_, mirror_);
            const lab::bytes wanted = lab::pattern(what_.bytes, number);
            co_return std::equal(wanted.begin(), wanted.end(), bytes()) ? "yes" : "no";
        }
        if (word == "forget") {
            co_await a_.unpublish("kv");
            pool_.reset();
        }
        if (word == "by") co_return std::to_string(bytes_by(a_, "same_host"));
        if (word == "told") co_return (co_await a_.notified(wanted{.key = "page"})).key;
        if (word == "write" || word == "read" || word == "fetch" || word == "push") {
            ended_.reset();
            slice from = pool_.at(0, what_.bytes), to = other_.published("kv");
            if (word == "push") from = mirror_.at(0, what_.bytes);
            else if (word != "write") std::swap(from, to);
            asio::co_spawn(rt_, copies(from, to, word != "fetch"), [this](std::exception_ptr, error_code e) { ended_ = e; });
        }
        if (word == "ended") {
            while (!ended_) co_await rt_.sleep(std::chrono::milliseconds{1});
            co_return ended_->message();
        }
        const std::string answer = obeys_ ? obeys_(word) : std::string{};
        co_return answer.empty() ? "done" : answer;
    }
    task<std::string> connect(std::size_t bytes)
    {
        while (text_.size() < bytes) {
            const std::size_t more = bytes - text_.size();
            co_await asio::async_read(input_, asio::dynamic_buffer(text_), asio::transfer_exactly(more), asio::use_awaitable);
        }
        std::vector<std::byte> how(bytes);
        std::memcpy(how.data(), text_.data(), bytes);
        text_.erase(0, bytes);
        std::string failed;
        try {
            other_ = co_await a_.connect(std::move(how));
        } catch (const system_error& e) {
            failed = e.what();
        }
        co_return failed.empty() ? "connected" : failed;
    }
    task<error_code> copies(slice from, slice to, bool for_ever)
    {
        for (;;) {
            const auto [e, n] = co_await copy(from, to, asio::as_tuple(asio::deferred));
            if (e || !for_ever) co_return e;
        }
    }

    runtime& rt_;
    memory what_;
    other_words obeys_;
    agent a_;
    asio::posix::stream_descriptor input_;
    std::string text_;
    arena seen_;
    region pool_, mirror_;
    peer other_;
    std::optional<error_code> ended_;
};

/// Serves until it is over; the exit status.
inline int run(runtime& rt, server& s)
{
    int status = 0;
    asio::co_spawn(rt, s.serve(), [&](std::exception_ptr e) {
        status = e ? 1 : 0;
        rt.stop();
    });
    rt.run();
    return status;
}

} // namespace wye::testing
