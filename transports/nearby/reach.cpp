// SPDX-License-Identifier: Apache-2.0
// Memory, who may reach it, and who others are.
#include <algorithm>
#include <cerrno>
#include <random>

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "driver.hpp"

namespace wye::nearby {

namespace {

/// A peer has to declare us to Yama, which it does when it finds that we came.
constexpr auto declared_within = std::chrono::milliseconds{500};

std::uint64_t draw_word()
{
    std::random_device random;
    for (;;)
        if (const std::uint64_t word = std::uint64_t{random()} << 32 | random()) return word;
}

/// Why a system call on another process failed.
error_code refusal(int error) noexcept
{
    return error == ENOMEM || error == EMFILE || error == ENFILE ? error_code{error, boost::system::system_category()}
                                                                 : make_error_code(errc::no_route);
}

bool is_pipe(const descriptor& fd) noexcept
{
    struct stat is {};
    return fd && ::fstat(fd.get(), &is) == 0 && S_ISFIFO(is.st_mode);
}

} // namespace

std::vector<std::byte> nearby_driver::address()
{
    if (!std::exchange(listens_, true) && options_.tracers == tracers::anyone && yama_scope() == 1)
        ::prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
    directions a;
    a.host = host_;
    a.pid = ::getpid();
    a.began = began(::getpid()).value_or(0);
    a.box = box_fd_.get();
    a.knocker = knocker_.get();
    a.bell = bell_.get();
    a.who = id_;
    a.door = door_;
    a.nonce_at = reinterpret_cast<std::uintptr_t>(&nonce_);
    a.nonce = nonce_;
    return encode(a);
}

void nearby_driver::grant(segment& s, access rights, std::function<void(error_code, key)> done)
{
    const bool on_gpu = s.tier == tier::vram && (s.open_to & able(opened)) != 0;
    if ((s.tier != tier::dram && !on_gpu) || s.length == 0) return done(errc::not_supported, {});
    if (free_grants_.empty() && granted_.size() == most_grants) return done(errc::not_supported, {});
    if (free_grants_.empty()) {
        free_grants_.push_back(static_cast<std::uint32_t>(granted_.size()));
        granted_.emplace_back();
    }
    const std::uint32_t number = free_grants_.back();
    free_grants_.pop_back();
    description d;
    d.token = draw_word() / most_grants * most_grants + number;
    d.seal = draw_word();
    d.base = reinterpret_cast<std::uintptr_t>(s.base);
    d.length = s.length;
    d.writable = rights == access::read_write;
    if (on_gpu) {
        const export_name name = exports_.name_of(s.notes[id()]);
        d.base = exports::offset_of(s.notes[id()]);
        d.serial = name.serial;
        d.exported = name.number;
    }
    granted_[number] = {&s, d};
    mine_.header().grants[number].store(d.seal, std::memory_order_release);
    done({}, {d.token, encode(d)});
}

/// Whoever reads now finds, after its last byte, that it is worth nothing; what is written here, we write.
void nearby_driver::withdraw(std::uint64_t id) noexcept
{
    const auto number = static_cast<std::uint32_t>(id % most_grants);
    if (id == 0 || number >= granted_.size() || !granted_[number].what || granted_[number].is.token != id) return;
    granted_[number] = {};
    mine_.header().grants[number].store(0, std::memory_order_seq_cst);
    std::atomic_thread_fence(std::memory_order_seq_cst); // before whatever is written there next
    free_grants_.push_back(number);
    if (moving_now_ != 0) settle([id](const moving& m) { return m.token == id; });
}

void nearby_driver::dismiss(segment& s) noexcept
{
    for (const granted& g : granted_)
        if (g.what == &s) withdraw(g.is.token);
    if (gpus_) hide(s);
}

/// Finds it, and asks the kernel whether we may.
std::unique_ptr<contact> nearby_driver::meet(const directions& a, error_code& failed)
{
    auto k = std::make_unique<contact>();
    k->who = a.who;
    k->pid = static_cast<pid_t>(a.pid);
    failed = errc::no_route;
    if (a.host != host_) return nullptr;
    k->ended = nearby::watch(k->pid);
    if (!k->ended || began(k->pid) != a.began) return nullptr;
    const descriptor shared = open_of(k->pid, a.box, O_RDWR);
    if (!shared) failed = refusal(errno);
    else k->theirs = box::open(shared, a.who);
    if (!k->theirs) return nullptr;
    // Also for reading: a pipe that nobody reads is a signal to who writes.
    k->bell = open_of(k->pid, a.knocker, O_RDWR | O_NONBLOCK);
    if (!is_pipe(k->bell)) return nullptr;
    k->alive = k->theirs.header().alive.load(std::memory_order_acquire);
    if (k->alive == 0) return nullptr;
    failed = {};
    return k;
}

/// What it says lies in its memory does, for us.
error_code nearby_driver::prove(const contact& k, const directions& a) const noexcept
{
    identity found;
    const iovec local{&found, sizeof found}, distant{reinterpret_cast<void*>(a.nonce_at), sizeof found};
    const ssize_t n = ::process_vm_readv(k.pid, &local, 1, &distant, 1, 0);
    if (n < 0 && errno == EPERM) return make_error_code(boost::system::errc::operation_not_permitted);
    return n == sizeof found && found == a.nonce && k.lives() ? error_code{} : make_error_code(errc::no_route);
}

/// A ring of our own over there.
error_code nearby_driver::claim_slot(contact& k, const directions& a) noexcept
{
    for (k.place = 0; k.place < k.theirs.slots(); ++k.place) {
        slot& s = k.slot();
        std::uint64_t free = slot_state(0, phase::free);
        if (!s.state.compare_exchange_strong(free, slot_state(::getpid(), phase::claiming))) continue;
        s.by = {id_, a.door, began(::getpid()).value_or(0)};
        for (auto* const line : {&s.cancelled, &s.gpu_cancelled})
            for (auto& c : *line) c.store(0, std::memory_order_relaxed);
        for (auto& r : s.reaches) r.store(0, std::memory_order_relaxed);
        s.state.store(slot_state(::getpid(), phase::open), std::memory_order_release);
        k.ring = {s, k.theirs.ring(k.place), k.theirs.ring_bytes()};
        k.ring_bell();
        return {};
    }
    k.theirs.header().crowded.store(1);
    return errc::no_route;
}

void nearby_driver::admit(std::span<const std::byte> blob, std::function<void(error_code, std::uint32_t)> done)
{
    const auto say = [&](error_code e, std::uint32_t number) {
        answer([done = std::move(done), e, number] { done(e, number); });
    };
    const auto a = decode_directions(blob);
    if (!a) return say(errc::bad_metadata, 0);
    for (const auto& k : contacts_)
        if (k->who == a->who && !k->lost && !k->refused() && k->lives()) {
            k->numbers.push_back(static_cast<std::uint32_t>(numbers_.size() + 1));
            numbers_.push_back(k.get());
            return say({}, k->numbers.back());
        }
    error_code e;
    std::unique_ptr<contact> k = meet(*a, e);
    const bool declares = k && options_.tracers == tracers::peer && yama_scope() == 1;
    if (declares && !declare(k->pid)) e = errc::no_route;
    if (!e) e = prove(*k, *a);
    const bool yet_to_come = e == boost::system::errc::operation_not_permitted && declares;
    if (!e || yet_to_come) {
        const error_code claimed = claim_slot(*k, *a);
        if (claimed) e = claimed;
        else if (!e) return say({}, admitted(std::move(k), *a));
        else return admissions_.push_back({std::move(k), *a, steady::now() + declared_within, std::move(done)});
    }
    refuse(a->who);
    say(e == boost::system::errc::operation_not_permitted ? make_error_code(errc::no_route) : e, 0);
}

std::uint32_t nearby_driver::admitted(std::unique_ptr<contact> made, const directions& at)
{
    contact& k = *contacts_.emplace_back(std::move(made));
    // A pipe will do, but who writes to one is taken to be about to sleep, and the reader is put on the same processor.
    if (descriptor bell = eventfd_of(k.ended, at.bell)) k.bell = std::move(bell);
    watch(k.ended.get(), true);
    if (gpus_) try_gpus(k);
    has_others_ = has_others_ || k.pid != ::getpid();
    numbers_.push_back(&k);
    k.numbers.push_back(static_cast<std::uint32_t>(numbers_.size()));
    suspects_ = true; // it may have refused us already
    sweep();
    return k.numbers.back();
}

/// Yama lets one process at another, and those that it has begun. Whether that is this one.
bool nearby_driver::declare(pid_t pid) noexcept
{
    if (pid == declared_ || pid == ::getpid() || yama_scope() != 1) return true;
    const auto its = [&](const auto& k) { return k->pid == declared_ && !k->lost; };
    if (declared_ != 0 && std::any_of(contacts_.begin(), contacts_.end(), its)) return false;
    if (::prctl(PR_SET_PTRACER, pid) != 0) return false;
    declared_ = pid;
    return true;
}

std::size_t nearby_driver::see_admissions() noexcept
{
    std::size_t n = 0;
    for (std::size_t i = 0; i < admissions_.size();) {
        admission& a = admissions_[i];
        const error_code e = a.who->refused() ? make_error_code(errc::no_route) : prove(*a.who, a.at);
        if (e == boost::system::errc::operation_not_permitted && steady::now() < a.ends) {
            ++i;
            continue;
        }
        admission over = std::move(a);
        admissions_.erase(admissions_.begin() + static_cast<std::ptrdiff_t>(i));
        ++n;
        if (!e) {
            over.admitted({}, admitted(std::move(over.who), over.at));
        } else {
            over.who->release();
            refuse(over.at.who);
            over.admitted(errc::no_route, 0);
        }
    }
    return n;
}

/// Who came, and cannot be answered, is told by the only way there is.
void nearby_driver::refuse(identity who) noexcept
{
    for (std::uint32_t i = 0; i < inbound_.size(); ++i)
        if (inbound_[i].known && inbound_[i].by.who == who && !inbound_[i].of) shut(i);
}

void nearby_driver::sever(std::uint32_t peer, std::function<void()> severed)
{
    if (contact* const k = reached(peer)) {
        end_all(*k, peer);
        numbers_[peer - 1] = nullptr;
        std::erase(k->numbers, peer);
        if (k->numbers.empty()) {
            const auto its = [&](const auto& c) { return c.get() == k; };
            const auto it = std::find_if(contacts_.begin(), contacts_.end(), its);
            k->lost = true;
            gone_.push_back(std::move(*it));
            contacts_.erase(it);
        }
    }
    answer(std::move(severed));
}

/// Its chunks end; 0: everybody's.
void nearby_driver::end_all(contact& k, std::uint32_t number) noexcept
{
    const auto is = [&](const segment& s) { return number == 0 || s.peer == number; };
    const auto of = [&](const chunk& c) { return is(c.to.of->home == this ? *c.to.of : *c.from.of); };
    if (moving_now_ != 0) settle([&](const moving& m) { return m.of == &k; });
    for (chunk_line* const line : {&k.waiting, &k.puts, &k.reads, &k.gpu_reads}) {
        chunk_line left;
        while (chunk* const c = line->pop()) {
            if (of(*c)) end(*c, errc::peer_lost);
            else left.push(*c);
        }
        *line = left;
    }
    const auto give_up = [&](request_line& l, answer_line said) {
        for (std::uint64_t at = l.taken; at != l.asked; ++at) {
            chunk*& c = l.chunks[at % most_pulls];
            if (!c || !of(*c)) continue;
            said.cancelled[at % most_pulls].store(1, std::memory_order_seq_cst);
            end(*std::exchange(c, nullptr), errc::peer_lost);
        }
    };
    give_up(k.pulls, pulls_of(k.slot()));
    give_up(k.gpu_pulls, gpu_pulls_of(k.slot()));
}

/// Who has ended, or shut us out.
std::size_t nearby_driver::see_lost() noexcept
{
    suspects_ = false;
    std::size_t n = 0;
    for (std::size_t i = 0; i < contacts_.size(); ++i) {
        contact& k = *contacts_[i];
        if (gpus_) k.mapped.drop_stale(*gpus_, k.theirs.header());
        if (!k.lost && k.lives() && !k.refused()) continue;
        if (std::exchange(k.told, true)) continue;
        for (std::uint32_t s = 0; s < inbound_.size(); ++s) { // the last that it said
            std::size_t heard = 0;
            if (inbound_[s].of == &k) hear(s, turn{}, heard);
        }
        k.lost = true;
        watch(k.ended.get(), false);
        end_all(k, 0);
        for (const std::uint32_t number : std::vector<std::uint32_t>{k.numbers}) gone(number);
        ++n;
        i = std::numeric_limits<std::size_t>::max(); // the list may have changed: once more
    }
    return n;
}

/// Those that nobody knows any more.
std::size_t nearby_driver::see_gone() noexcept
{
    const std::size_t n = gone_.size();
    for (const auto& k : std::exchange(gone_, {})) {
        for (std::uint32_t i = 0; i < inbound_.size(); ++i) {
            if (inbound_[i].of != k.get()) continue;
            shut(i);
            inbound_[i].of = nullptr;
        }
        if (gpus_) k->mapped.drop_all(*gpus_);
        k->release();
    }
    sweep();
    return n;
}

std::unique_ptr<segment> nearby_driver::import(std::uint32_t peer, wye::tier t, std::int32_t device, std::uint64_t length,
                                               std::span<const std::byte> blob)
{
    const auto d = decode_description(blob);
    const bool on_gpu = t == tier::vram;
    if (!d || t > tier::vram || on_gpu != (d->serial != 0) || !reached(peer) || length > d->length) return nullptr;
    auto s = std::make_unique<remote>(t);
    s->by = std::make_shared<nearby::key>(nearby::key{*d});
    s->device = device;
    s->length = length;
    s->reach = on_gpu ? reach_of(*reached(peer), device) : 1;
    return s;
}

bool nearby_driver::renew(segment& imported, std::span<const std::byte> blob, std::function<void()> drained)
{
    const auto d = decode_description(blob);
    auto& s = static_cast<remote&>(imported);
    if (!d || s.length > d->length || (s.tier == tier::vram) != (d->serial != 0)) return false;
    renewed_.push_back({std::exchange(s.by, std::make_shared<nearby::key>(nearby::key{*d})), std::move(drained)});
    return true;
}

std::size_t nearby_driver::see_drained() noexcept
{
    const auto over = [](const renewed& r) { return r.old->out == 0; };
    if (std::none_of(renewed_.begin(), renewed_.end(), over)) return 0;
    std::vector<renewed> drained, left;
    for (renewed& r : renewed_) (over(r) ? drained : left).push_back(std::move(r));
    renewed_ = std::move(left);
    for (const renewed& r : drained) r.drained();
    return drained.size();
}

} // namespace wye::nearby
