// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cerrno>

#include <sys/stat.h>

#include <wye/directory.hpp>
#include <wye/error.hpp>
#include <wye/runtime.hpp>

#include "crc32c.hpp"
#include "file_watch.hpp"
#include "helper.hpp"
#include "peers/proof.hpp"
#include "peers/wire_bytes.hpp"
#include "small_file.hpp"

namespace wye {

namespace {

namespace wire = detail::wire;

constexpr std::uint32_t magic = 0x45657977; // "wyeE"
constexpr std::uint32_t format = 1;
constexpr std::size_t header_bytes = 28;
constexpr std::size_t most_name = 128;

/// Nanoseconds since 1970, as hosts that share a file system see it.
std::uint64_t wall_clock() noexcept
{
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(now).count());
}

std::uint32_t sum_of(wire::view b) noexcept
{
    return detail::crc32c_finish(detail::crc32c_extend(0, b.data(), b.size()), b.size());
}

/// Header: magic, format, sum of what follows, version, when it expires (0: never); then the metadata.
wire::bytes encode(wire::view metadata, duration ttl)
{
    std::array<std::byte, 8> version;
    do detail::fill_randomly(version);
    while (wire::load<std::uint64_t>(version.data()) == 0);
    wire::bytes sealed;
    wire::writer s{sealed};
    s.raw(version);
    s.number(ttl == duration{} ? std::uint64_t{0} : wall_clock() + static_cast<std::uint64_t>(ttl.count()));
    s.append(metadata);
    wire::bytes out;
    wire::writer w{out};
    w.number(magic);
    w.number(format);
    w.number(sum_of(sealed));
    w.append(sealed);
    return out;
}

std::optional<directory::entry> decode(wire::view in, const std::string& name)
{
    wire::reader r{in};
    const bool ours = r.take<std::uint32_t>() == magic && r.take<std::uint32_t>() == format;
    const auto sum = r.take<std::uint32_t>();
    if (!ours || in.size() < header_bytes || sum != sum_of(in.subspan(12))) throw system_error(errc::corrupt, name);
    directory::entry e;
    e.version = r.take<std::uint64_t>();
    const auto expires = r.take<std::uint64_t>();
    if (e.version == 0) throw system_error(errc::corrupt, name);
    if (expires != 0 && expires <= wall_clock()) return std::nullopt;
    e.metadata.assign(in.begin() + header_bytes, in.end());
    return e;
}

class folder final : public directory {
public:
    folder(runtime& rt, std::string path) : runtime_{rt}, path_{std::move(path)}
    {
        if (::mkdir(path_.c_str(), 0700) != 0 && errno != EEXIST) throw system_error(file_error(errno), path_);
    }

    task<> put(std::string name, std::vector<std::byte> metadata, duration ttl) override
    {
        const std::string at = place_of(name);
        if (metadata.size() > wire::most_metadata || ttl < duration{}) throw system_error(errc::out_of_range, name);
        const wire::bytes content = encode(metadata, ttl);
        co_await detail::beside_loop(runtime_, [&] { detail::replace_file(at, content); });
    }
    task<std::optional<entry>> get(std::string name) override
    {
        const std::string at = place_of(name);
        std::optional<entry> found;
        co_await detail::beside_loop(runtime_, [&] {
            const auto content = detail::read_file(at, header_bytes + wire::most_metadata);
            if (content) found = decode(*content, name);
        });
        co_return found;
    }
    task<> remove(std::string name) override
    {
        const std::string at = place_of(name);
        co_await detail::beside_loop(runtime_, [&] { detail::remove_file(at); });
    }
    task<std::optional<entry>> changed(std::string name, std::uint64_t seen, duration at_most) override
    {
        const auto end = at_most > std::chrono::hours{24 * 365} ? duration{} : std::max(at_most, duration{1});
        const detail::time_left left{end};
        detail::file_watch watch{runtime_, path_};
        for (;;) {
            std::optional<entry> now = co_await get(name);
            const std::uint64_t version = now ? now->version : 0;
            if (version != seen || left.now() == duration{}) co_return now;
            co_await watch.wait(left.now());
        }
    }

private:
    /// Names cannot lead out of the folder, nor meet what is being written.
    std::string place_of(const std::string& name) const
    {
        const auto allowed = [](char c) {
            return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
        };
        if (name.empty() || name.size() > most_name || name.front() == '.' || !std::all_of(name.begin(), name.end(), allowed))
            throw system_error(errc::bad_name, name);
        return path_ + "/" + name;
    }

    runtime& runtime_;
    const std::string path_;
};

} // namespace

std::unique_ptr<directory> directory_in(runtime& rt, std::string path)
{
    return std::make_unique<folder>(rt, std::move(path));
}

} // namespace wye
