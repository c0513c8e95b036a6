// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>

#include <wye/task.hpp>

namespace pd {

/// What ranks, the front and who joins say to each other.
enum class verb : std::uint8_t {
    open,     ///< front: nobody else is where this job is; be there
    ready,    ///< rank: others can find it; `text` is what they need beside its name
    meet,     ///< front: connect to who is there, "name hint" a line, and to who comes
    met,      ///< rank: it is connected to `engine`
    begin,    ///< front: its part in a request
    computed, ///< prefill, `read`: the pages are filled, and held
    arrived,  ///< decode: the pages are here and were looked at
    released, ///< prefill: nobody needs the pages any more
    forget,   ///< front: that engine is no more
    end,      ///< front: finish what is under way, and go
    bye,      ///< rank: what it has done
    failed,   ///< rank: why it goes
    join,     ///< guest: an engine wants to join, of the role in `text`; `bytes` is `line::protocol`
    welcome,  ///< front: it is `engine`; `text` is the job's secret and options, with a zero after each
    here,     ///< guest: from now on this is the line of the rank in `text`
    serving,  ///< front: the engine has its first request
    leave,    ///< guest: the engine wants to go, in order
    over,     ///< front: the engine is no more; `how`, and `text` for people
};

/// How a rank's part in a request ended.
enum class ending : std::uint8_t {
    told,    ///< as it should
    aborted, ///< the other side gave up
    lost,    ///< a peer of it is lost, and locked out
    revoked, ///< a peer said nothing before the lease was over, and was locked out
};

struct message {
    struct fixed {
        verb what{};
        ending how{};
        bool layerwise = false;
        std::uint32_t request = 0, tokens = 0;
        std::uint32_t engine = 0;          ///< of the other role
        std::uint32_t verified = 0, wrong = 0; ///< pages
        std::uint64_t begun_ns = 0, ended_ns = 0; ///< of what was copied, by the steady clock
        std::uint64_t exposed_ns = 0;      ///< of that, not hidden behind compute
        std::uint64_t bytes = 0;
        std::uint64_t peak_rss = 0;        ///< bye
    } f;
    std::vector<std::uint32_t> mine, theirs; ///< pages
    std::string text;

    std::vector<std::byte> encode() const;
    static message decode(std::span<const std::byte>);
};

message word(verb);

/// One end of a pair of Unix sockets, the other of which the front has, that keeps messages apart. On the thread of its `io_context`.
class line {
public:
    static constexpr std::size_t most_bytes = 160 * 1024; ///< of a message; the kernel's buffers hold as much
    static constexpr std::uint64_t protocol = 1 << 16 | sizeof(message::fixed); ///< other programs have another
    line(boost::asio::io_context& io, int socket) : socket_{io, socket}, buffer_(most_bytes) {}

    /// Never waits: what the other side has no room for yet goes later.
    void say(const message&);
    /// Nothing when the other side has gone. One caller at a time. Throws std::logic_error when it says nonsense.
    wye::task<std::optional<message>> next();
    /// From now on the other side has gone, for both.
    void hang_up() noexcept;

private:
    void flush();

    boost::asio::posix::stream_descriptor socket_;
    std::deque<std::vector<std::byte>> waiting_;
    std::vector<std::byte> buffer_;
};

} // namespace pd
