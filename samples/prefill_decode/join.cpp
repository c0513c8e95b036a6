// SPDX-License-Identifier: Apache-2.0
#include "join.hpp"

#include <chrono>
#include <csignal>
#include <exception>
#include <iostream>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <utility>

#include <boost/asio/co_spawn.hpp>

#include <sys/socket.h>
#include <unistd.h>

#include "door.hpp"
#include "process.hpp"
#include "rethrow.hpp"

namespace pd {

namespace {

namespace asio = boost::asio;
using namespace std::chrono_literals;

constexpr auto answer_within = 60s; ///< by a job that may be starting

wye::task<> hear(line& from, std::optional<message>& what) { what = co_await from.next(); }

} // namespace

visit::visit(const settings& mine)
    : mine_{mine}, signals_{io_, SIGINT, SIGTERM}, address_{find_door(mine)}, socket_{knock_at(address_)}, line_{io_, socket_}
{
    await_signal();
    const std::optional<message> welcome = ask();
    if (!welcome) return; // Ctrl-C
    std::vector<std::string> words;
    std::istringstream text{welcome->text};
    for (std::string w; std::getline(text, w, '\0');) words.push_back(w);
    std::string secret = std::move(words.at(0));
    words.erase(words.begin());
    settings_ = read_settings_of_job(mine, std::move(words), std::move(secret));
    at_ = {*mine.join, welcome->f.engine, 0};
    for (std::uint32_t i = 0; i < settings_.of(at_.role).ranks; ++i) make(i);
}

visit::~visit()
{
    for (const ::pid_t id : ranks_) ::kill(id, SIGKILL);
    for (const ::pid_t id : ranks_) wait_for(id);
}

/// To be let in. Without a thread: there will be children.
std::optional<message> visit::ask()
{
    message m = word(verb::join);
    m.f.bytes = line::protocol;
    m.text = name_of(*mine_.join);
    line_.say(m);
    std::optional<message> answer;
    bool heard = false;
    asio::co_spawn(io_, hear(line_, answer), [&](std::exception_ptr e) {
        heard = true;
        io_.stop();
        rethrow(e);
    });
    io_.run_for(answer_within);
    io_.restart();
    if (leaves_) return std::nullopt;
    if (!heard) throw std::runtime_error{"the job does not answer"};
    if (!answer) throw std::runtime_error{"the job has ended"};
    if (answer->f.what != verb::welcome) throw std::runtime_error{answer->text};
    return answer;
}

/// A rank with a line of its own.
void visit::make(std::uint32_t rank)
{
    const place at{at_.role, at_.engine, rank};
    const int socket = knock_at(address_);
    message m = word(verb::here);
    m.text = at.name();
    const std::vector<std::byte> bytes = m.encode();
    ::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL); // the rank will see whether it has come
    ranks_.push_back(make_rank(settings_, at, socket, {socket_}));
    ::close(socket);
}

bool visit::run()
{
    if (ranks_.empty()) return false;
    asio::co_spawn(io_, listen(), rethrow);
    io_.run();
    if (!gone_) return false;
    for (const ::pid_t id : std::exchange(ranks_, {})) wait_for(id);
    return true;
}

wye::task<> visit::listen()
{
    for (;;) {
        const std::optional<message> m = co_await line_.next();
        if (!m) throw std::runtime_error{"the job has gone, without a word to " + at_.engine_name()};
        heard(*m);
        if (gone_) co_return;
    }
}

void visit::heard(const message& m)
{
    const std::string who = at_.engine_name();
    if (m.f.what == verb::over && m.f.how != ending::told) throw std::runtime_error{"the job has lost " + who + ": " + m.text};
    gone_ = m.f.what == verb::over;
    std::cout << "prefill_decode: " << who << ' ' << (gone_ ? m.text : "serves in " + settings_.directory + "; Ctrl-C: it leaves")
              << std::endl;
    if (gone_) signals_.cancel();
}

/// The first Ctrl-C lets what is under way end, the second one does not.
void visit::await_signal()
{
    signals_.async_wait([this](wye::error_code error, int) {
        if (error) return;
        if (std::exchange(leaves_, true) || ranks_.empty()) return io_.stop();
        line_.say(word(verb::leave));
        await_signal();
    });
}

} // namespace pd
