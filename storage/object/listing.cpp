// SPDX-License-Identifier: Apache-2.0
#include "listing.hpp"

#include <algorithm>
#include <utility>

#include "read_directory.hpp"

namespace wye::storage {

namespace {

std::chrono::system_clock::time_point time_of(const timespec& t)
{
    using namespace std::chrono;
    const auto since_epoch = seconds{t.tv_sec} + nanoseconds{t.tv_nsec};
    return system_clock::time_point{duration_cast<system_clock::duration>(since_epoch)};
}

} // namespace

object_info describe(std::string key, const struct ::stat& s)
{
    return {std::move(key), static_cast<std::uint64_t>(s.st_size), time_of(s.st_mtim)};
}

listing::listing(const object_tree& t, std::string prefix, std::string after)
    : tree_{t}, prefix_{std::move(prefix)}, last_{std::move(after)}
{
}

error_code listing::next(std::size_t most, object_page& page)
{
    int failed = 0;
    if (!std::exchange(begun_, true) && (prefix_.empty() || valid_key(prefix_)))
        failed = enter(prefix_.substr(0, prefix_.rfind('/') + 1));
    while (!failed && !levels_.empty() && page.objects.size() < most) {
        level& top = levels_.back();
        if (top.next == top.entries.size()) {
            levels_.pop_back();
            continue;
        }
        std::string key = top.base + top.entries[top.next++];
        if (key.size() > top.base.size() && key.back() == '/') {
            failed = enter(std::move(key));
            continue;
        }
        struct ::stat s;
        const error_code e = tree_.stat(path_of(key), s);
        if (e == errc::not_found) continue; // removed meanwhile, or not ours
        if (e) return e;
        last_ = key;
        page.objects.push_back(describe(std::move(key), s));
    }
    page.more = !levels_.empty();
    return failed ? object_error(failed) : error_code{};
}

/// Whether this key, or one that begins with it where it is no object, is asked for.
bool listing::may_match(std::string_view key, entry kind) const noexcept
{
    if (kind == entry::object) return key.starts_with(prefix_) && key > last_;
    return (key.starts_with(prefix_) || prefix_.starts_with(key)) && (key > last_ || last_.starts_with(key));
}

int listing::enter(std::string base)
{
    level next;
    const std::string path = directory_of(base);
    next.base = std::move(base);
    const int failed = read(path, {}, next);
    std::sort(next.entries.begin(), next.entries.end());
    levels_.push_back(std::move(next));
    return failed;
}

/// Adds the entries of one directory. `text` is how their names in the key begin: names too long for the
/// filesystem go on in directories of their own, which are part of this level.
int listing::read(const std::string& path, const std::string& text, level& into)
{
    descriptor directory;
    if (const int failed = tree_.open_directory(path, directory))
        return failed == ENOENT || failed == ENOTDIR ? 0 : failed;
    int deeper = 0;
    const int failed = read_directory(directory.get(), [&](const char* name, unsigned char) {
        std::string spelt = text;
        const entry kind = read_name(name, spelt);
        if (kind == entry::directory) spelt += '/';
        if (kind == entry::foreign || !may_match(into.base + spelt, kind)) return;
        if (kind != entry::continued) return into.entries.push_back(std::move(spelt));
        if (const int e = read(path + name + '/', spelt, into); e && !deeper) deeper = e;
    });
    return failed ? failed : deeper;
}

} // namespace wye::storage
