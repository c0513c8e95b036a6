// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <wye/wye.hpp>

#include "meeting.hpp"
#include "oracle.hpp"

namespace wye::sweep {

class resident;

/// Memory or a file, and which places of it are in use. Its owner scribbles over a place as soon as the copy there has
/// ended, and from then on it may not change.
class area {
public:
    area(std::size_t n, wye::tier t) : own(n, blank), content{&own}, tier{t} {}
    explicit area(bytes& file) : content{&file}, tier{wye::tier::file} {}
    area(const area&) = delete;

    std::optional<std::uint64_t> take(dice&, std::uint64_t length);
    void give_back(std::uint64_t at, std::uint64_t length);
    /// What has changed and may not have; -1 when nothing has.
    std::ptrdiff_t stray() const;
    std::byte* data(std::uint64_t at) const { return content->data() + at; }
    std::size_t size() const { return content->size(); }

    bytes own;
    bytes* content;
    const wye::tier tier;
    region as;                        ///< registered; none of files
    std::size_t name = 0;             ///< as it is published
    bool reachable = false;           ///< for those who connect from now on
    bool again = false;               ///< after a pause, of which those who were connected know nothing
    bool withdrawing = false;         ///< nobody is to come in any more, by what was given out
    bool closed = false;              ///< and by now nobody does
    std::set<const resident*> out;    ///< sent away, or being sent away
    std::set<const resident*> barred; ///< for good

private:
    static constexpr std::byte blank{0xcd};
    static constexpr std::uint64_t gap = 8; ///< that nobody may write
    struct place {
        std::uint64_t length;
        std::optional<std::byte> scribbled; ///< with that; none while a copy goes there
    };
    std::optional<std::uint64_t> recycle(dice&, std::uint64_t length);
    bool holds(std::uint64_t from, std::uint64_t to, std::byte) const;

    std::map<std::uint64_t, place> places_;
    std::uint64_t used_ = 0;
    std::uint8_t ink_ = 0;
};

/// A connection that an agent holds.
struct acquaintance {
    peer it;
    resident* whom = nullptr;
    std::size_t in_flight = 0;  ///< copies
    std::deque<std::pair<slice, area*>> kept; ///< slices of earlier
};

/// An agent on a host: what it has published, and what it keeps to itself. It may outlive its agent, and the world.
class resident {
public:
    static constexpr std::size_t names = 4; ///< published: sources, which are read-only, and pools, each in DRAM and VRAM
    static constexpr std::array<std::string_view, names> name{"source", "vsource", "pool", "vpool"};

    resident(sim::world&, sim::host, const meeting&, std::size_t index, std::size_t life);
    resident(const resident&) = delete;

    task<> open();
    /// Registers memory, however often that is refused.
    task<> enlist(area&);
    task<> publish(std::size_t n, area&);
    /// Other memory to publish under a name.
    area& make(std::size_t n);
    area& now(std::size_t n) const { return *now_[n]; }
    void have(std::size_t n, area& a) { now_[n] = &a; }
    static bool read_only(std::size_t n) { return n < 2; }
    /// Which memory a slice of somebody's is of: all that is published by one name differs in length.
    area* area_of(std::size_t n, std::uint64_t length);
    acquaintance* known(const resident& whom);
    /// Drops handles of connections that are over.
    void tidy();
    slice at(const area&, std::uint64_t offset, std::uint64_t length) const;
    object put(std::uint64_t length, const std::byte*& content);
    object new_object(std::string& key);
    std::string stray() const;
    void close();

    const std::string called;
    const std::size_t index, host_index;
    wye::agent* agent;
    bool crashed = false, left = false, slept = false; ///< slept: for longer than others put up with
    bool changing[names]{};        ///< what is published by that name
    area* local[3]{};              ///< targets of its own: DRAM, VRAM, a file
    area* file_source = nullptr;
    std::deque<acquaintance> acquaintances;
    std::set<const resident*> connecting;
    std::size_t busy = 0;          ///< coroutines of the workload
    std::vector<std::byte> metadata_of_old; ///< of its earlier life, if it had one
    duration sleeps_until{};
    bool here() const { return !crashed && !left; }

private:
    sim::world& world_;
    dice dice_;
    const std::string path_; ///< of its files, and its bucket
    std::size_t area_bytes_;
    bool p5_;
    std::deque<area> areas_;
    area* now_[names]{};
    file in_, out_;
    bucket bucket_;
    std::size_t keys_ = 0;
    std::deque<std::shared_ptr<const sim::stored_object>> sources_;
    std::vector<std::uint32_t> sums_; ///< of what nobody may write
};

} // namespace wye::sweep
