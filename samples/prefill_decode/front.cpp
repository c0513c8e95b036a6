// SPDX-License-Identifier: Apache-2.0
#include "front.hpp"

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <stdexcept>
#include <utility>

#include <boost/asio/co_spawn.hpp>

#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "rank.hpp"

namespace pd {

namespace {

namespace asio = boost::asio;
using namespace std::chrono_literals;

/// Beyond the lease: how long nobody may have anything to say while something is to be done.
constexpr auto patience = 60s;
/// What is under way at Ctrl-C may take so long to end.
constexpr auto last_call = 10s;

std::string describe(int status)
{
    if (WIFSIGNALED(status)) return "was ended by signal " + std::to_string(WTERMSIG(status));
    return "ended with status " + std::to_string(WEXITSTATUS(status));
}

/// The front decides about Ctrl-C, and no rank outlives it.
void become_rank(::pid_t parent)
{
    ::signal(SIGINT, SIG_IGN);
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) std::_Exit(1); // it is gone already
}

} // namespace

front::front(const settings& s)
    : settings_{s}, requests_{s, [this](role r, std::uint32_t engine, const message& m) { say(r, engine, m); }}
{
    try {
        for (const role r : {role::prefill, role::decode})
            for (std::uint32_t e = 0; e < s.of(r).workers; ++e)
                for (std::uint32_t i = 0; i < s.of(r).ranks; ++i) make({r, e, i});
    } catch (...) {
        for (const child& c : children_) ::kill(c.id, SIGKILL);
        throw;
    }
    for (child& c : children_) c.line = std::make_unique<pd::line>(io_, c.socket);
}

front::~front()
{
    for (const child& c : children_)
        if (c.id > 0) ::kill(c.id, SIGKILL);
    for (const child& c : children_)
        if (c.id > 0) ::waitpid(c.id, nullptr, 0);
}

void front::make(place at)
{
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
        throw std::runtime_error{std::string{"no socket pair: "} + std::strerror(errno)};
    const ::pid_t parent = ::getpid(), id = ::fork();
    if (id == 0) {
        become_rank(parent);
        ::close(ends[0]);
        for (const child& c : children_) ::close(c.socket);
        std::exit(run_rank(settings_, at, ends[1]));
    }
    ::close(ends[1]);
    if (id < 0) {
        ::close(ends[0]);
        throw std::runtime_error{std::string{"no process for "} + at.name() + ": " + std::strerror(errno)};
    }
    child& c = children_.emplace_back();
    c.at = at;
    c.id = id;
    c.socket = ends[0];
}

void front::run(std::function<void()> begun)
{
    begun_ = std::move(begun);
    last_word_ = std::chrono::steady_clock::now();
    signals_.add(SIGINT);
    signals_.add(SIGTERM);
    await_signal();
    watch();
    for (child& c : children_)
        asio::co_spawn(io_, listen(c), [](std::exception_ptr e) {
            if (e) std::rethrow_exception(e); // out of `run`
        });
    io_.run();
}

wye::task<> front::listen(child& c)
{
    for (;;) {
        const std::optional<message> m = co_await c.line->next();
        if (!m) co_return gone(c);
        last_word_ = std::chrono::steady_clock::now();
        heard(c, *m);
    }
}

void front::heard(child& c, const message& m)
{
    if (m.f.what == verb::failed) throw std::runtime_error{c.at.name() + ": " + m.text};
    if (m.f.what == verb::bye) {
        c.may_go = true;
        reports_.push_back({c.at.name(), m.f.bytes, m.f.peak_rss});
    } else if (m.f.what == verb::ready) {
        c.hint = m.text;
        if (++ready_ == children_.size()) introduce();
    } else if (m.f.what == verb::met) {
        if (++met_ != children_.size()) return;
        phase_ = phase::serving;
        begun_();
        go_on();
    } else {
        requests_.heard(m);
        go_on();
    }
}

/// Tells those who copy whom they have to do with.
void front::introduce()
{
    phase_ = phase::meeting;
    message m;
    m.f.what = verb::meet;
    for (const child& c : children_)
        if (c.at.role != settings_.mover()) m.text += c.at.name() + ' ' + c.hint + '\n';
    for (child& c : children_) c.line->say(m);
}

void front::go_on()
{
    if (const auto engine = requests_.victim()) kill(*engine);
    requests_.begin_some();
    if (requests_.over() && phase_ == phase::serving) end();
}

/// One rank of it dies without a word; without that one the others are no engine any more.
void front::kill(std::uint32_t engine)
{
    message end;
    end.f.what = verb::end;
    for (child& c : children_) {
        if (c.at.role != role::decode || c.at.engine != engine) continue;
        if (c.at.rank + 1 != settings_.decode.ranks) {
            c.line->say(end);
            continue;
        }
        c.may_go = true;
        ::kill(c.id, SIGKILL);
        requests_.lose(engine, c.at.name());
    }
}

void front::end()
{
    phase_ = phase::ending;
    message m;
    m.f.what = verb::end;
    for (child& c : children_)
        if (!c.may_go) c.line->say(m);
}

void front::gone(child& c)
{
    int status = 0;
    ::waitpid(c.id, &status, 0);
    c.id = 0;
    const bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    if (!c.may_go || (status != 0 && !killed)) throw std::runtime_error{c.at.name() + " " + describe(status)};
    ++gone_;
    if (!over()) return;
    signals_.cancel();
    watch_.cancel();
}

void front::say(role r, std::uint32_t engine, const message& m)
{
    for (child& c : children_)
        if (c.at.role == r && c.at.engine == engine) c.line->say(m);
}

/// The first Ctrl-C lets what is under way end, the second one does not.
void front::await_signal()
{
    signals_.async_wait([this](wye::error_code error, int) {
        if (error || over()) return;
        const bool again = std::exchange(interrupted_, true);
        requests_.stop();
        last_word_ = std::chrono::steady_clock::now();
        if (again || phase_ == phase::starting || phase_ == phase::meeting) return io_.stop();
        if (requests_.over() && phase_ == phase::serving) end();
        await_signal();
    });
}

/// Every wait of a rank has its end; should one not, this is the end of it.
void front::watch()
{
    watch_.expires_after(1s);
    watch_.async_wait([this](wye::error_code error) {
        if (error || over()) return; // what has expired already is not cancelled any more
        const auto silent = std::chrono::steady_clock::now() - last_word_;
        if (interrupted_ && silent > last_call) return io_.stop();
        if (silent > patience + settings_.lease) throw std::runtime_error{"no rank has said anything for too long"};
        watch();
    });
}

} // namespace pd
