// SPDX-License-Identifier: Apache-2.0
#include <cstring>

#include <wye/drivers.hpp>

#include "copy_queue.hpp"

namespace wye::drivers {

namespace {

class host_driver final : public driver {
public:
    std::string_view name() const noexcept override { return "host"; }
    wye::limits limits() const noexcept override
    {
        wye::limits l = host::copy_limits();
        l.at_once_bytes = 16_KiB; // a microsecond or two
        return l;
    }
    bool carries(const slice& from, const slice& to) const noexcept override
    {
        return from.tier() == tier::dram && to.tier() == tier::dram;
    }
    bool move_at_once(const slice& from, const slice& to) noexcept override
    {
        std::memmove(to.data(), from.data(), from.length);
        return true;
    }
    bool submit(chunk& c) noexcept override
    {
        queue_.push(c);
        return true;
    }
    std::size_t poll(turn t) noexcept override { return queue_.poll(t); }

private:
    host::copy_queue queue_;
};

} // namespace

std::unique_ptr<driver> host()
{
    return std::make_unique<host_driver>();
}

} // namespace wye::drivers
