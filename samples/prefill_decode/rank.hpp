// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <boost/asio/cancellation_signal.hpp>

#include <event.hpp>
#include <wye/libfabric.hpp>
#include <wye/same_host.hpp>
#include <wye/wye.hpp>

#include "clock.hpp"
#include "content.hpp"
#include "line.hpp"
#include "meeting.hpp"
#include "settings.hpp"

namespace pd {

/// What one request copies to or from some ranks, in one group or in one for each layer. Await every group before it goes.
class copies {
public:
    copies(const wye::executor& on, std::size_t partners, std::size_t groups)
        : changed_{on}, errors_(partners), left_(groups)
    {
    }

    void begin(std::size_t partner, std::size_t group, const wye::selection& from, const wye::selection& to,
               const wye::copy_options&);
    /// When nothing of that group is under way. One caller at a time.
    wye::task<> ended(std::size_t group);
    /// The first of those that had to do with this partner.
    wye::error_code error(std::size_t partner) const noexcept { return errors_[partner]; }
    std::uint64_t bytes() const noexcept { return bytes_; }

private:
    samples::event changed_;
    std::vector<wye::error_code> errors_;
    std::vector<std::size_t> left_;
    std::uint64_t bytes_ = 0;
};

/// Tasks at the same time. Await `ended` before it goes.
class together {
public:
    explicit together(const wye::executor& on) : on_{on}, changed_{on} {}

    void begin(wye::task<>);
    /// When all of them have. Throws what the first that failed threw.
    wye::task<> ended();

private:
    wye::executor on_;
    samples::event changed_;
    std::size_t left_ = 0;
    std::exception_ptr failure_;
};

/// One process of an engine: its share of each page, an agent, the ranks of the other role that it has to do with, and what
/// it does for each request.
class rank {
public:
    /// `socket` is its end of the line to the front.
    rank(const settings&, place, int socket);
    /// Until the front says so. Throws what went wrong.
    void run();
    void say_failed(const std::string& why);

private:
    /// A rank of an engine of the other role that ours shares pages with.
    struct partner {
        std::string name;
        link how;
        wye::peer peer;        ///< of who copies, once it has met; the others only hear from them
        wye::prepared remote;
    };
    using partners = std::vector<partner>;

    wye::task<> live();
    wye::task<> open();
    void add_gpu();
    wye::task<> open_layer(std::uint32_t layer);
    wye::task<> serve();
    void heard(message);
    /// Does that beside all else; the rank waits for its end before it goes.
    void begin(wye::task<>, boost::asio::cancellation_slot = {});
    wye::task<> part_in(message);

    // acquaintances.cpp
    /// Our partners in an engine of the other role.
    partners& engine(std::uint32_t);
    wye::task<> follow();
    wye::task<> meet(arrival);
    wye::task<> connect(arrival);
    void prepare(partner&, wye::peer);

    // prefill.cpp
    wye::task<message> prefill(const message&);
    wye::task<> write(const message&, message& report);
    wye::task<> hold(const message&, message& report);
    wye::task<> compute_layer(const message&, std::uint32_t layer);
    // decode.cpp
    wye::task<message> decode(const message&);
    wye::task<> read(const message&, message& report);
    wye::task<std::uint32_t> count_wrong(const message&);

    /// Waits for a word from each of these, for as long as the lease lasts. When it returns none of them touches the pages
    /// of that request any more.
    wye::task<ending> told(std::string key, const partners& by);
    wye::task<> told_alone(std::string key, const partner& by, ending& worst);
    /// What came of copies that have ended. Those that could not tell of themselves, being one of many, are told of.
    wye::task<ending> settle(std::string key, const partners& whom, const copies&, bool tell);
    /// Of what a request copies, the blocks at our side or at the partner's.
    std::vector<std::uint32_t> blocks(role side, const message&, const partner&) const;
    /// Lets the loop work between stretches of computing.
    wye::task<> breathe();
    wye::task<> spoil_pages(std::span<const std::uint32_t> pages);
    /// Pages of a layer from where this program computes and checks them, having no kernels, to the GPU, or back.
    wye::task<> carry(std::uint32_t layer, std::span<const std::uint32_t> pages, bool to_gpu);
    std::span<std::byte> page_at(std::uint32_t layer, std::uint32_t half, std::uint32_t page);
    static wye::agent_options agent_options(const settings&);
    wye::libfabric_options fabric_options() const;

    const settings& settings_;
    const place at_;
    const layout layout_;
    wye::runtime runtime_;
    line line_;
    std::vector<wye::arena> memory_; ///< a tensor for each layer
    std::vector<wye::gpu_memory> gpu_; ///< with `--vram gpu` they are here, and what `memory_` has is only computed and checked
    wye::agent agent_;
    std::unique_ptr<meeting_place> meeting_;
    std::vector<wye::region> layers_;
    std::vector<wye::region> at_hand_; ///< `memory_`, with `--vram gpu`
    wye::prepared local_;
    std::map<std::uint32_t, partners> others_; ///< by engine
    boost::asio::cancellation_signal meets_no_more_;
    samples::event idle_;
    std::uint32_t under_way_ = 0;    ///< requests and acquaintances
    std::uint64_t bytes_ = 0;
};

/// By which it is published.
std::string name_of_layer(std::size_t);
/// What belongs to one of so many groups of a list.
std::span<const std::uint32_t> group_of(const std::vector<std::uint32_t>&, std::size_t group, std::size_t groups) noexcept;

/// In the process that was made for it: runs the rank, and says what it has to say to the front.
int run_rank(const settings&, place, int socket);

} // namespace pd
