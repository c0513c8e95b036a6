// SPDX-License-Identifier: Apache-2.0
#include "front.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <stdexcept>
#include <utility>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>

#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "process.hpp"
#include "rethrow.hpp"

namespace pd {

namespace {

namespace asio = boost::asio;
using namespace std::chrono_literals;

/// Beyond the lease: how long nobody may have anything to say while something is to be done.
constexpr auto patience = 60s;
/// What is under way at Ctrl-C may take so long to end.
constexpr auto last_call = 10s;

} // namespace

front::front(const settings& s)
    : settings_{s}, requests_{s, [this](role r, std::uint32_t engine, const message& m) { say(r, engine, m); }}
{
    try {
        for (const role r : {role::prefill, role::decode})
            for (std::uint32_t e = 0; e < s.of(r).workers; ++e)
                for (std::uint32_t i = 0; i < s.of(r).ranks; ++i) make({r, e, i});
    } catch (...) {
        for (const member& m : members_) ::kill(m.id, SIGKILL);
        throw;
    }
    for (member& m : members_) m.line = std::make_unique<pd::line>(runtime_.io(), m.socket);
}

front::~front()
{
    for (const member& m : members_)
        if (m.id > 0) ::kill(m.id, SIGKILL);
    for (const member& m : members_)
        if (m.id > 0) wait_for(m.id);
}

void front::make(place at)
{
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
        throw std::runtime_error{std::string{"no socket pair: "} + std::strerror(errno)};
    std::vector<int> ours{ends[0]};
    for (const member& m : members_) ours.push_back(m.socket);
    const ::pid_t id = make_rank(settings_, at, ends[1], ours);
    ::close(ends[1]);
    member& m = members_.emplace_back();
    m.at = at;
    m.id = id;
    m.socket = ends[0];
}

void front::run(std::function<void()> begun)
{
    begun_ = std::move(begun);
    last_word_ = std::chrono::steady_clock::now();
    signals_.add(SIGINT);
    signals_.add(SIGTERM);
    await_signal();
    watch();
    for (member& m : members_) asio::co_spawn(runtime_, listen(m), rethrow);
    if (!settings_.directory.empty()) door_.emplace(runtime_, settings_);
    asio::co_spawn(runtime_, open(), rethrow);
    runtime_.run();
}

/// Where they can be met, once nobody else is there.
wye::task<> front::open()
{
    if (door_) co_await door_->open();
    for (member& m : members_) m.line->say(word(verb::open));
}

wye::task<> front::close()
{
    if (door_) co_await door_->close();
    runtime_.stop();
}

wye::task<> front::listen(member& m)
{
    for (;;) {
        const std::optional<message> said = co_await m.line->next();
        if (!said) co_return gone(m);
        last_word_ = std::chrono::steady_clock::now();
        heard(m, *said);
    }
}

void front::heard(member& m, const message& said)
{
    switch (said.f.what) {
    case verb::failed: return failed(m, said.text);
    case verb::ready:
        m.hint = said.text;
        m.ready = true;
        return phase_ == phase::starting ? ready() : introduce(m);
    case verb::met:
        m.met.insert(said.f.engine);
        break;
    case verb::bye:
        m.said_bye = true;
        reports_.push_back({m.at.name(), said.f.bytes, said.f.peak_rss});
        return;
    default:
        if (guest* const g = lost_by(m, said)) lose(*g, "its peers have lost it");
        requests_.heard(said);
    }
    go_on();
}

void front::failed(member& m, const std::string& why)
{
    guest* const g = guest_at(m.at);
    if (!g) throw std::runtime_error{m.at.name() + ": " + why};
    lose(*g, m.at.name() + ": " + why);
}

void front::ready()
{
    if (!std::all_of(members_.begin(), members_.end(), [](const member& m) { return m.ready; })) return;
    phase_ = phase::meeting;
    for (member& m : members_) introduce(m);
}

/// Tells one who copies whom it has to do with; who has a directory sees for itself.
void front::introduce(member& to)
{
    message m = word(verb::meet);
    for (const member& o : members_)
        if (o.at.role != settings_.mover() && !o.hint.empty()) m.text += o.at.name() + ' ' + o.hint + '\n';
    to.line->say(m);
}

/// Of those that the job begins with.
bool front::all_met() const noexcept
{
    const role other = other_than(settings_.mover());
    return std::all_of(members_.begin(), members_.end(), [&](const member& m) {
        return m.at.role == other || m.met.size() >= settings_.of(other).workers;
    });
}

void front::go_on()
{
    if (phase_ == phase::meeting && all_met()) {
        phase_ = phase::serving;
        begun_();
        if (door_) asio::co_spawn(runtime_, receive(), rethrow);
    }
    if (phase_ != phase::serving) return;
    if (const auto engine = requests_.victim()) kill(*engine);
    see_to_guests();
    requests_.begin_some();
    if (requests_.over()) end();
}

/// One rank of it dies without a word; without that one the others are no engine any more.
void front::kill(std::uint32_t engine)
{
    for (member& m : members_) {
        if (m.at.role != role::decode || m.at.engine != engine) continue;
        if (m.at.rank + 1 != settings_.decode.ranks) {
            m.line->say(word(verb::end));
            continue;
        }
        m.killed = true;
        ::kill(m.id, SIGKILL);
        requests_.lose(m.at, m.at.name());
    }
}

void front::end()
{
    phase_ = phase::ending;
    for (guest& g : guests_) send_off(g);
    for (member& m : members_)
        if (m.line && m.id != 0) m.line->say(word(verb::end));
}

void front::gone(member& m)
{
    asio::post(runtime_, [line = std::move(m.line)] {}); // after whom it has woken already
    if (door_ && !m.said_bye) asio::co_spawn(runtime_, door_->take_out(m.at.name()), rethrow);
    if (guest* const g = guest_at(m.at)) {
        rank_gone(*g, m);
    } else {
        const int status = wait_for(std::exchange(m.id, 0));
        if (!m.killed && (!m.said_bye || status != 0)) throw std::runtime_error{m.at.name() + " " + describe(status)};
    }
    if (over()) asio::co_spawn(runtime_, close(), rethrow);
}

bool front::over() const noexcept
{
    return std::none_of(members_.begin(), members_.end(), [](const member& m) { return bool{m.line}; });
}

void front::say(role r, std::uint32_t engine, const message& said)
{
    const place to{r, engine, 0};
    for (member& m : members_)
        if (m.at.is_of(to) && m.line) m.line->say(said);
    guest* const g = guest_at(to);
    if (g && said.f.what == verb::begin && !std::exchange(g->began, true)) g->line->say(word(verb::serving));
}

/// The first Ctrl-C lets what is under way end, the second one does not.
void front::await_signal()
{
    signals_.async_wait([this](wye::error_code error, int) {
        if (error || over()) return;
        const bool again = std::exchange(interrupted_, true);
        requests_.stop();
        last_word_ = std::chrono::steady_clock::now();
        if (again || phase_ == phase::starting || phase_ == phase::meeting) return runtime_.stop();
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
        if (interrupted_ && silent > last_call) return runtime_.stop();
        if (silent > patience + settings_.lease) throw std::runtime_error{"no rank has said anything for too long"};
        turn_away();
        watch();
    });
}

} // namespace pd
