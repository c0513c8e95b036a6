// SPDX-License-Identifier: Apache-2.0
// The FILE tier: byte vectors by path, on a disk that may be full.

#include <algorithm>
#include <cerrno>

#include <wye/file.hpp>

#include "device_driver.hpp"

namespace wye::sim::detail {

namespace {

struct file_segment final : segment {
    file_segment(std::string p, std::shared_ptr<bytes> c) : segment{tier::file}, path{std::move(p)}, content{std::move(c)}
    {
        length = unbounded;
    }
    std::string_view describe() const noexcept override { return path; }

    const std::string path;
    const std::shared_ptr<bytes> content;
};

class disk final : public device_driver {
public:
    explicit disk(machine& m) : device_driver{m, m.disk} {}

    bool carries(const slice& from, const slice& to) const noexcept override
    {
        const auto mine = [&](const slice& s) { return s.tier() == tier::file && (!s.of->home || s.of->home == this); };
        return (from.tier() == tier::dram && mine(to)) || (mine(from) && to.tier() == tier::dram);
    }
    bool opens_files() const noexcept override { return true; }
    void open_file(std::string path, const file_options& o,
                   std::function<void(error_code, std::unique_ptr<segment>)> done) override
    {
        answer([this, path = std::move(path), o, done = std::move(done)] {
            const auto it = machine_.files.find(path);
            const bool there = it != machine_.files.end();
            if (!there && (!o.create || o.access == access::read_only)) return done(errc::not_found, nullptr);
            std::shared_ptr<bytes> content = there ? it->second : std::make_shared<bytes>();
            if (!there && !o.temporary) machine_.files[path] = content;
            if (o.truncate) content->clear();
            done({}, std::make_unique<file_segment>(path, std::move(content)));
        });
    }
    void sync(segment&, std::function<void(error_code)> done) override
    {
        answer([this, done = std::move(done)] { done(strikes(fault_kind::io_error) ? io_error(EIO) : error_code{}); });
    }

private:
    static bytes& content(const slice& s) noexcept { return *static_cast<file_segment&>(*s.of).content; }
    static bool writes(const chunk& c) noexcept { return c.to.tier() == tier::file; }

    error_code io_error(int number) const noexcept override { return file_error(number); }
    bool stores() const noexcept override { return true; }

    void tempt(loan& l) noexcept override
    {
        const chunk& c = *l.c;
        if (!writes(c) || l.error) return;
        const std::uint64_t room = c.to.offset < machine_.disk_bytes ? machine_.disk_bytes - c.to.offset : 0;
        hazard* const h = strikes(fault_kind::no_space);
        if (!h && room >= c.to.length) return;
        l.error = io_error(ENOSPC);
        l.goal = std::min<std::uint64_t>(h ? h->random.below(c.to.length + 1) : c.to.length, room);
    }
    std::uint64_t available(const chunk& c, error_code&) const override
    {
        if (writes(c)) return c.from.length;
        const std::uint64_t size = content(c.from).size();
        return c.from.offset >= size ? 0 : std::min(c.from.length, size - c.from.offset);
    }
    std::byte* target(loan& l, std::uint64_t at, std::uint64_t n) override
    {
        if (!writes(*l.c)) return device_driver::target(l, at, n);
        bytes& b = content(l.c->to);
        const std::uint64_t end = l.c->to.offset + at + n;
        if (b.size() < end) b.resize(end);
        return b.data() + l.c->to.offset + at;
    }
    const std::byte* source(const loan& l, std::uint64_t at) const override
    {
        return writes(*l.c) ? device_driver::source(l, at) : content(l.c->from).data() + l.c->from.offset + at;
    }
};

} // namespace

std::unique_ptr<driver> disk_driver(machine& m) { return std::make_unique<disk>(m); }

} // namespace wye::sim::detail
