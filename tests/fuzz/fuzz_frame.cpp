// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <cstdlib>

#include <peers/wire.hpp>

namespace wire = wye::detail::wire;

namespace {

struct content {
    wire::frame_header header;
    std::vector<wire::record> records;
    friend bool operator==(const content&, const content&) = default;
};

/// All that a frame holds, up to where it makes no sense.
content read(wire::frame_reader& reader)
{
    content c{reader.header(), {}};
    while (auto r = reader.next()) c.records.push_back(std::move(*r));
    if (reader.next()) std::abort();
    return c;
}

wire::bytes written(const content& c)
{
    wire::bytes frame;
    wire::begin_frame(frame, c.header);
    for (const wire::record& r : c.records) {
        const std::size_t before = frame.size();
        wire::append(frame, r);
        if (frame.size() != before + wire::size_of(r)) std::abort();
    }
    return frame;
}

} // namespace

/// What is read can be said again, in no more bytes, and then means the same.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    wire::frame_reader reader{std::as_bytes(std::span{data, size})};
    if (!reader) return 0;
    const content c = read(reader);
    const wire::bytes again = written(c);
    if (again.size() > size) std::abort();
    wire::frame_reader second{again};
    if (!second || read(second) != c || second.malformed()) std::abort();
    return 0;
}
