// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <utility>

#include "crc32c.hpp"
#include "wire_bytes.hpp"
#include "wire_fields.hpp"

namespace wye::detail::wire {

namespace {

constexpr std::uint32_t magic = 0x4d657977; // "wyeM"
constexpr std::uint32_t version = 1;
constexpr std::size_t header_bytes = 16; // magic, version, length of all, checksum of what follows it
constexpr std::size_t length_at = 8, sum_at = 12;

/// Sections, each with a length, so that one which is not known can be skipped. Never reuse a number.
enum section : std::uint32_t { about = 1, a_way = 2, a_publication = 3 };

template <class T>
void write(writer& w, section tag, const T& t)
{
    sizer s;
    fields(s, t);
    w.number(std::uint32_t{tag});
    w.number(static_cast<std::uint32_t>(s.bytes()));
    fields(w, t);
}

std::uint32_t checksum(view bytes) noexcept
{
    return crc32c_finish(crc32c_extend(0, bytes.data(), bytes.size()), bytes.size());
}

/// Whether the header is ours, and what follows it is what was sent.
bool intact(view in) noexcept
{
    reader header{in.first(header_bytes)};
    if (header.take<std::uint32_t>() != magic || header.take<std::uint32_t>() != version) return false;
#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
    // A fuzzer would spend its life guessing checksums; what lies behind is what it shall reach.
    return true;
#else
    const auto length = header.take<std::uint32_t>();
    return length == in.size() && header.take<std::uint32_t>() == checksum(in.subspan(header_bytes));
#endif
}

bool names_differ(const std::vector<publication>& published)
{
    std::vector<std::string_view> names;
    names.reserve(published.size());
    for (const publication& p : published) names.push_back(p.name);
    std::sort(names.begin(), names.end());
    return std::adjacent_find(names.begin(), names.end()) == names.end();
}

/// Takes metadata apart, section by section.
class collector {
public:
    /// False if it makes no sense.
    bool take(std::uint32_t tag, view body)
    {
        switch (tag) {
        case about:
            ++abouts_;
            return read(body, result_);
        case a_way:
            return result_.ways.size() < most_ways && read(body, result_.ways.emplace_back());
        case a_publication:
            return result_.published.size() < most_published && read(body, result_.published.emplace_back());
        default:
            return true; // of a newer version
        }
    }
    bool complete() const
    {
        return abouts_ == 1 && fabrics_differ(result_.ways) && names_differ(result_.published);
    }
    metadata& result() noexcept { return result_; }

private:
    template <class T>
    static bool read(view body, T& t)
    {
            reader r{body};
        fields(r, t);
        return r.complete();
    }

    metadata result_;
    int abouts_ = 0;
};

} // namespace

bytes encode(const metadata& m)
{
    assert(m.ways.size() <= most_ways && m.published.size() <= most_published);
    assert(fabrics_differ(m.ways) && names_differ(m.published));
    bytes out;
    writer w{out};
    w.number(magic);
    w.number(version);
    out.resize(header_bytes);
    write(w, about, m);
    for (const way& one : m.ways) write(w, a_way, one);
    for (const publication& one : m.published) write(w, a_publication, one);
    assert(out.size() <= most_metadata);
    store(&out[length_at], static_cast<std::uint32_t>(out.size()));
    store(&out[sum_at], checksum(view{out}.subspan(header_bytes)));
    return out;
}

std::optional<metadata> decode_metadata(view in)
{
    if (in.size() < header_bytes || in.size() > most_metadata || !intact(in)) return {};
    collector found;
    reader r{in.subspan(header_bytes)};
    while (!r.empty()) {
        const auto tag = r.take<std::uint32_t>();
        const auto body = r.take(r.take<std::uint32_t>());
        if (!r.good() || !found.take(tag, body)) return {};
    }
    if (!r.good() || !found.complete()) return {};
    return std::move(found.result());
}

} // namespace wye::detail::wire
