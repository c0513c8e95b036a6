// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <map>
#include <memory>
#include <utility>

#include <sys/stat.h>

#include <wye/directory.hpp>
#include <wye/error.hpp>
#include <wye/runtime.hpp>

#include "crc32c.hpp"
#include "file_watch.hpp"
#include "helper.hpp"
#include "names.hpp"
#include "peers/proof.hpp"
#include "peers/wire_bytes.hpp"
#include "roster.hpp"
#include "small_file.hpp"
#include "time_left.hpp"

namespace wye {

namespace {

namespace fs = std::filesystem;
namespace wire = detail::wire;

constexpr std::uint32_t magic = 0x45657977; // "wyeE"
constexpr std::uint32_t format = 1;
constexpr std::size_t header_bytes = 28;

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

std::uint64_t draw_version()
{
    std::array<std::byte, 8> random;
    do detail::fill_randomly(random);
    while (wire::load<std::uint64_t>(random.data()) == 0);
    return wire::load<std::uint64_t>(random.data());
}

/// Header: magic, format, sum of what follows, version, when it expires (0: never); then the metadata.
wire::bytes encode(wire::view metadata, std::uint64_t version, duration ttl)
{
    wire::bytes sealed;
    wire::writer s{sealed};
    s.number(version);
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

struct stored {
    directory::entry entry;
    std::uint64_t expires = 0; ///< by the wall clock; 0: never

    bool there() const noexcept { return expires == 0 || expires > wall_clock(); }
};

/// Throws `corrupt`.
stored decode(wire::view in, const std::string& name)
{
    wire::reader r{in};
    const bool ours = r.take<std::uint32_t>() == magic && r.take<std::uint32_t>() == format;
    const auto sum = r.take<std::uint32_t>();
    if (!ours || in.size() < header_bytes || sum != sum_of(in.subspan(12))) throw system_error(errc::corrupt, name);
    stored s;
    s.entry.version = r.take<std::uint64_t>();
    s.expires = r.take<std::uint64_t>();
    if (s.entry.version == 0) throw system_error(errc::corrupt, name);
    s.entry.metadata.assign(in.begin() + header_bytes, in.end());
    return s;
}

/// A label follows an "@", which is in no name.
std::string file_of(std::string name)
{
    std::replace(name.begin(), name.end(), '/', '@');
    return name;
}
std::string name_of(std::string file)
{
    std::replace(file.begin(), file.end(), '@', '/');
    return file;
}

/// The folder, and what was put into it by this object: version by name. Calls hold it.
struct place {
    runtime& loop;
    const std::string path;
    std::map<std::string, std::uint64_t> put{};

    std::string at(const std::string& name) const
    {
        detail::check_entry_name(name);
        return path + '/' + file_of(name);
    }
    std::uint64_t version_put(const std::string& name) const
    {
        const auto it = put.find(name);
        return it == put.end() ? 0 : it->second;
    }
};
using shared_place = std::shared_ptr<place>;

/// Of a file that is there, also one that has expired. Blocks.
std::optional<stored> read(const std::string& path, const std::string& name)
{
    const auto content = detail::read_file(path, header_bytes + wire::most_metadata);
    if (!content) return std::nullopt;
    return decode(*content, name);
}

task<> put_in(shared_place p, std::string name, std::vector<std::byte> metadata, duration ttl)
{
    const std::string at = p->at(name);
    if (metadata.size() > wire::most_metadata || ttl < duration{}) throw system_error(errc::out_of_range, name);
    const std::uint64_t version = draw_version();
    const wire::bytes content = encode(metadata, version, ttl);
    co_await detail::beside_loop(p->loop, [&] { detail::replace_file(at, content); });
    p->put[name] = version;
}

task<bool> keep_in(shared_place p, std::string name, duration ttl)
{
    const std::string at = p->at(name);
    const std::uint64_t mine = p->version_put(name);
    bool kept = false;
    const auto renew = [&] {
        const auto now = read(at, name);
        if (!now || !now->there()) return;
        kept = true;
        if (now->entry.version == mine) detail::replace_file(at, encode(now->entry.metadata, mine, ttl));
    };
    if (mine != 0) co_await detail::beside_loop(p->loop, renew);
    co_return kept;
}

task<std::optional<directory::entry>> get_from(shared_place p, std::string name)
{
    const std::string at = p->at(name);
    std::optional<stored> found;
    co_await detail::beside_loop(p->loop, [&] { found = read(at, name); });
    if (!found || !found->there()) co_return std::nullopt;
    co_return std::move(found->entry);
}

task<> remove_from(shared_place p, std::string name)
{
    const std::string at = p->at(name);
    const std::uint64_t mine = p->version_put(name);
    p->put.erase(name);
    const auto remove = [&] {
        if (mine != 0) {
            const auto now = read(at, name);
            if (now && now->entry.version != mine) return; // another's
        }
        detail::remove_file(at);
    };
    co_await detail::beside_loop(p->loop, remove);
}

task<std::optional<directory::entry>> changed_in(shared_place p, std::string name, std::uint64_t seen, duration at_most)
{
    const auto left = detail::time_left::of(at_most);
    detail::file_watch watch{p->loop, p->path};
    for (;;) {
        std::optional<directory::entry> now = co_await get_from(p, name);
        const std::uint64_t version = now ? now->version : 0;
        if (version != seen || left.over()) co_return now;
        co_await watch.wait(left.now());
    }
}

/// What a look at the folder finds, and what the last one did, so that a file is read again only when it is another.
class survey {
public:
    /// Blocks. What is damaged, expired or no entry is not there.
    detail::roster::listing look(const std::string& path, const std::string& prefix)
    {
        detail::roster::listing there;
        std::map<std::string, seen> now;
        std::error_code failed;
        for (fs::directory_iterator it{path, failed}, end; !failed && it != end; it.increment(failed)) {
            const std::string name = name_of(it->path().filename().string());
            struct ::stat is;
            if (!detail::is_entry_name(name) || !name.starts_with(prefix) || ::stat(it->path().c_str(), &is) != 0) continue;
            seen s = known_[name];
            if (s.inode != is.st_ino || s.changed != nanoseconds_of(is)) s = read_anew(it->path().string(), name, is);
            if (s.is.entry.version != 0 && s.is.there()) there.emplace(name, s.is.entry);
            now.emplace(name, std::move(s));
        }
        if (failed) throw system_error(file_error(failed.value()), path);
        known_ = std::move(now);
        return there;
    }

private:
    struct seen {
        ::ino_t inode = 0;
        std::int64_t changed = 0;
        stored is; ///< without a version: no entry
    };
    static std::int64_t nanoseconds_of(const struct ::stat& s) noexcept
    {
        return std::int64_t{s.st_mtim.tv_sec} * 1'000'000'000 + s.st_mtim.tv_nsec;
    }
    static seen read_anew(const std::string& path, const std::string& name, const struct ::stat& is)
    {
        seen s{is.st_ino, nanoseconds_of(is), {}};
        try {
            if (auto found = read(path, name)) s.is = std::move(*found);
        } catch (const system_error&) {
            // It is not there, then; who asks for it is told why.
        }
        return s;
    }

    std::map<std::string, seen> known_;
};

class folder_watch final : public directory_watch {
public:
    folder_watch(shared_place p, std::string prefix) : looks_{std::make_shared<looks>(std::move(p), std::move(prefix))} {}
    task<std::vector<directory_change>> next(duration at_most) override { return wait(looks_, at_most); }

private:
    struct looks {
        looks(shared_place p, std::string pre) : in{std::move(p)}, prefix{std::move(pre)}, hint{in->loop, in->path} {}
        const shared_place in;
        const std::string prefix;
        detail::file_watch hint;
        survey files;
        detail::roster who;
        bool told = false;
    };
    static task<std::vector<directory_change>> wait(std::shared_ptr<looks> l, duration at_most)
    {
        const auto left = detail::time_left::of(at_most);
        for (;;) {
            detail::roster::listing all;
            co_await detail::beside_loop(l->in->loop, [&] { all = l->files.look(l->in->path, l->prefix); });
            std::vector<directory_change> news;
            l->who.become(std::move(all), news);
            if (!std::exchange(l->told, true) || !news.empty() || left.over()) co_return news;
            co_await l->hint.wait(left.now());
        }
    }

    std::shared_ptr<looks> looks_;
};

class folder final : public directory {
public:
    folder(runtime& rt, std::string path) : place_{std::make_shared<place>(place{rt, std::move(path)})}
    {
        if (::mkdir(place_->path.c_str(), 0700) != 0 && errno != EEXIST) throw system_error(file_error(errno), place_->path);
    }

    task<> put(std::string name, std::vector<std::byte> metadata, duration ttl) override
    {
        return put_in(place_, std::move(name), std::move(metadata), ttl);
    }
    task<bool> keep(std::string name, duration ttl) override { return keep_in(place_, std::move(name), ttl); }
    task<std::optional<entry>> get(std::string name) override { return get_from(place_, std::move(name)); }
    task<> remove(std::string name) override { return remove_from(place_, std::move(name)); }
    task<std::optional<entry>> changed(std::string name, std::uint64_t seen, duration at_most) override
    {
        return changed_in(place_, std::move(name), seen, at_most);
    }
    std::unique_ptr<directory_watch> watch(std::string prefix) override
    {
        detail::check_entry_prefix(prefix);
        return std::make_unique<folder_watch>(place_, std::move(prefix));
    }

private:
    const shared_place place_;
};

} // namespace

std::unique_ptr<directory> directory_in(runtime& rt, std::string path)
{
    return std::make_unique<folder>(rt, std::move(path));
}

} // namespace wye
