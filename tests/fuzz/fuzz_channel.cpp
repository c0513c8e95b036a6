// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>

#include <exchange/channel_frames.hpp>

namespace channel = wye::detail::channel;
namespace wire = wye::detail::wire;

/// A connection's worth of frames, by whichever kind would be due: a header that is taken is the one that would be
/// written, nobody is asked to hold more than the kind may have, and no other kind takes it.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    constexpr std::array kinds{channel::kind::hello, channel::kind::challenge, channel::kind::caller_proof,
                               channel::kind::called_proof, channel::kind::question, channel::kind::answer};
    wire::view rest = std::as_bytes(std::span{data, size});
    while (!rest.empty()) {
        const wire::view head = rest.first(std::min(rest.size(), channel::header_bytes));
        std::size_t taken = 0, length = 0;
        for (const channel::kind k : kinds) {
            const auto body = channel::decode_header(head, k);
            if (!body) continue;
            ++taken;
            length = *body;
            const bool answer = k == channel::kind::answer;
            if (*body > (answer ? channel::most_answer_body : channel::most_small_body)) std::abort();
            if (!std::ranges::equal(channel::encode_header(k, *body), head)) std::abort();
        }
        if (taken > 1) std::abort();
        if (taken == 0) return 0;
        rest = rest.subspan(head.size());
        rest = rest.subspan(std::min(rest.size(), length));
    }
    return 0;
}
