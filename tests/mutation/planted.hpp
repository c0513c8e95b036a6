// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdlib>
#include <type_traits>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

/// Put before every source when bugs are planted (tests/mutate): all of them are in one build, each behind a switch, and
/// WYE_PLANTED says which is on, by its number. In the file that WYE_REACHED names, if any, a byte is set for each that
/// would have made a difference: what changes a comparison only where both come out the same cannot be caught.
namespace wye::planted {

inline constexpr std::size_t most = 4096;

inline unsigned char* open_marks() noexcept
{
    static unsigned char nowhere[most];
    const char* const path = std::getenv("WYE_REACHED");
    const int fd = path ? ::open(path, O_RDWR | O_CREAT, 0644) : -1;
    if (fd < 0 || ::ftruncate(fd, most) != 0) return nowhere;
    void* const shared = ::mmap(nullptr, most, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    ::close(fd);
    return shared == MAP_FAILED ? nowhere : static_cast<unsigned char*>(shared);
}

inline unsigned char* const marks = open_marks();
inline const int chosen = std::getenv("WYE_PLANTED") ? std::atoi(std::getenv("WYE_PLANTED")) : -1;

inline bool on(int number) noexcept
{
    marks[number] = 1;
    return number == chosen;
}

/// One more than that; of a truth, the opposite.
template <class T>
T more(int number, T value) noexcept
{
    static_assert(std::is_integral_v<T> || std::is_enum_v<T>);
    if constexpr (std::is_same_v<T, bool>) return value != on(number);
    else return static_cast<T>(value + on(number));
}

/// The second instead of the first.
inline bool instead(int number, bool first, bool second) noexcept
{
    if (first == second) return first;
    return on(number) ? second : first;
}

} // namespace wye::planted
