// SPDX-License-Identifier: Apache-2.0
#include "box.hpp"

#include <cerrno>

#include <boost/system/system_error.hpp>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace wye::nearby {

namespace {

constexpr std::size_t page = 4096;
constexpr std::size_t in_pages(std::size_t n) noexcept { return (n + page - 1) / page * page; }
constexpr std::size_t least_ring = 64 << 10, most_ring = 16 << 20;

constexpr std::size_t stride(std::size_t ring_bytes) noexcept { return in_pages(sizeof(slot)) + ring_bytes; }
constexpr std::size_t size_of(std::size_t slots, std::size_t ring_bytes) noexcept
{
    return in_pages(sizeof(box_header)) + slots * stride(ring_bytes);
}

[[noreturn]] void fail(const char* what)
{
    throw boost::system::system_error(errno, boost::system::system_category(), what);
}

std::byte* map(int fd, std::size_t bytes) noexcept
{
    void* const at = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return at == MAP_FAILED ? nullptr : static_cast<std::byte*>(at);
}

constexpr int seals = F_SEAL_SHRINK | F_SEAL_GROW;

} // namespace

box& box::operator=(box&& o) noexcept
{
    std::swap(at_, o.at_);
    std::swap(bytes_, o.bytes_);
    std::swap(slots_, o.slots_);
    std::swap(ring_bytes_, o.ring_bytes_);
    return *this;
}

box::~box()
{
    if (at_) ::munmap(at_, bytes_);
}

slot& box::slot(std::uint32_t i) const noexcept
{
    return *reinterpret_cast<nearby::slot*>(at_ + in_pages(sizeof(box_header)) + i * stride(ring_bytes_));
}

std::byte* box::ring(std::uint32_t i) const noexcept
{
    return reinterpret_cast<std::byte*>(&slot(i)) + in_pages(sizeof(nearby::slot));
}

std::pair<box, descriptor> box::make(std::uint32_t slots, std::size_t ring_bytes, identity who)
{
    descriptor fd{::memfd_create("wye same host", MFD_CLOEXEC | MFD_ALLOW_SEALING)};
    const std::size_t bytes = size_of(slots, ring_bytes);
    if (!fd || ::ftruncate(fd.get(), static_cast<off_t>(bytes)) != 0) fail("memfd");
    if (::fcntl(fd.get(), F_ADD_SEALS, seals | F_SEAL_SEAL) != 0) fail("F_ADD_SEALS");
    std::byte* const at = map(fd.get(), bytes); // all zeros, and so are all atomics
    if (!at) fail("mmap");
    box made{at, bytes, slots, ring_bytes};
    box_header& h = made.header();
    h.magic = box_magic;
    h.slots = slots;
    h.ring_bytes = ring_bytes;
    h.who = who;
    return {std::move(made), std::move(fd)};
}

box box::open(const descriptor& fd, identity who)
{
    // Without the seals its owner could take the pages away under our feet.
    struct stat is {};
    if (!fd || ::fstat(fd.get(), &is) != 0 || !S_ISREG(is.st_mode)) return {};
    const int sealed = ::fcntl(fd.get(), F_GET_SEALS);
    if (sealed < 0 || (sealed & seals) != seals) return {};
    const auto bytes = static_cast<std::size_t>(is.st_size);
    if (bytes < size_of(1, least_ring) || bytes > size_of(most_slots, most_ring)) return {};
    box b{map(fd.get(), bytes), bytes, 0, 0};
    if (!b) return {};
    const box_header& h = b.header();
    const std::uint64_t slots = h.slots.load(), ring_bytes = h.ring_bytes.load(); // once
    if (h.magic != box_magic || h.who != who || slots == 0 || slots > most_slots || ring_bytes < least_ring ||
        ring_bytes > most_ring || ring_bytes % page != 0 || size_of(slots, ring_bytes) != bytes)
        return {};
    b.slots_ = static_cast<std::uint32_t>(slots);
    b.ring_bytes_ = ring_bytes;
    return b;
}

} // namespace wye::nearby
