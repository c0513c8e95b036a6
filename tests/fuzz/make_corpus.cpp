// SPDX-License-Identifier: Apache-2.0
//
// make_corpus FOLDER: writes what the fuzzer begins with to FOLDER/metadata, frame and channel, the same each time.
#include <cstdio>
#include <filesystem>
#include <fstream>

#include <exchange/channel_frames.hpp>
#include <support/wire_values.hpp>

namespace {

constexpr std::size_t most_bytes = 4096; // a file of the corpus
constexpr unsigned seeds = 24;

void write(const std::filesystem::path& folder, const std::string& name, const wire::bytes& b)
{
    if (b.size() >= most_bytes) return;
    std::filesystem::create_directories(folder);
    std::ofstream file{folder / name, std::ios::binary};
    file.write(reinterpret_cast<const char*>(b.data()), static_cast<std::streamsize>(b.size()));
    if (!file.flush()) throw std::filesystem::filesystem_error{"cannot write", folder / name, {}};
}

wire::bytes frame_of(wire_values& values, const std::vector<wire::record>& records)
{
    wire::bytes frame;
    wire::begin_frame(frame, values.header());
    for (const wire::record& r : records)
        if (frame.size() + wire::size_of(r) < most_bytes) wire::append(frame, r);
    return frame;
}

/// All that is said, one after the other.
wire::bytes session()
{
    namespace channel = wye::detail::channel;
    constexpr std::size_t bodies[] = {16, 16, 32, 32, 32, 100};
    wire::bytes all;
    for (std::uint16_t k = 1; k <= std::size(bodies); ++k) {
        const channel::header h = channel::encode_header(static_cast<channel::kind>(k), bodies[k - 1]);
        all.insert(all.end(), h.begin(), h.end());
        all.resize(all.size() + bodies[k - 1]);
    }
    return all;
}

} // namespace

int main(int count, char** arguments)
{
    if (count != 2) {
        std::fprintf(stderr, "usage: make_corpus FOLDER\n");
        return 2;
    }
    const std::filesystem::path root = arguments[1];
    write(root / "metadata", "least", wire::encode(wire_values{1, wire_values::sizes::least}.metadata()));
    write(root / "channel", "session", session());
    for (unsigned seed = 1; seed <= seeds; ++seed) {
        wire_values values{seed};
        write(root / "metadata", "drawn-" + std::to_string(seed), wire::encode(values.metadata()));
        const std::vector<wire::record> some{values.record(), values.record(), values.record()};
        write(root / "frame", "drawn-" + std::to_string(seed), frame_of(values, some));
    }
    for (std::size_t kind = 0; kind < std::variant_size_v<wire::record>; ++kind)
        for (const auto sizes : {wire_values::sizes::any, wire_values::sizes::least}) {
            wire_values values{1000 + static_cast<unsigned>(kind), sizes};
            const char* const size = sizes == wire_values::sizes::least ? "least-" : "kind-";
            write(root / "frame", size + std::to_string(kind), frame_of(values, {values.record(kind)}));
        }
    return 0;
}
