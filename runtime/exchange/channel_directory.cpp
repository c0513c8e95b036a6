// SPDX-License-Identifier: Apache-2.0
// Side channels under the directory's interface: a name is an endpoint.
#include <algorithm>
#include <utility>

#include <boost/asio/error.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <wye/directory.hpp>
#include <wye/error.hpp>
#include <wye/runtime.hpp>
#include <wye/side_channel.hpp>

#include "crc32c.hpp"
#include "time_left.hpp"

namespace wye {

namespace {

constexpr duration ask_again = std::chrono::milliseconds{200};

[[noreturn]] void cannot(const char* what)
{
    throw system_error(errc::not_supported, std::string{"a directory of side channels "} + what);
}

class channels final : public directory {
public:
    channels(runtime& rt, fetch_options o) : runtime_{rt}, options_{std::move(o)} {}

    task<> put(std::string, std::vector<std::byte>, duration) override
    {
        cannot("takes nothing: an agent is in it by serving its metadata (wye::side_channel)");
        co_return;
    }
    task<bool> keep(std::string, duration) override
    {
        cannot("keeps nothing: an agent is in it as long as it serves");
        co_return false;
    }
    task<> remove(std::string) override
    {
        cannot("removes nothing: an agent leaves it when it serves no more");
        co_return;
    }
    std::unique_ptr<directory_watch> watch(std::string) override { cannot("knows nobody who was not asked for: it has no watches"); }

    task<std::optional<entry>> get(std::string name) override { return fetch(&runtime_, std::move(name), options_); }
    task<std::optional<entry>> changed(std::string name, std::uint64_t seen, duration at_most) override
    {
        return wait(&runtime_, std::move(name), options_, seen, at_most);
    }

private:
    static task<std::optional<entry>> fetch(runtime* rt, std::string name, fetch_options o)
    {
        if (name.find('/') != name.npos) cannot("has no labels: what is served is all that is published");
        error_code absent;
        std::optional<entry> found;
        try {
            metadata_source source = co_await metadata_source::open(*rt, std::move(name), std::move(o));
            found.emplace();
            found->metadata = co_await source.fetch();
        } catch (const system_error& e) {
            absent = e.code();
            if (absent != boost::asio::error::connection_refused) throw;
        }
        if (!found) co_return found;
        const std::vector<std::byte>& m = found->metadata;
        const std::uint32_t sum = detail::crc32c_finish(detail::crc32c_extend(0, m.data(), m.size()), m.size());
        found->version = std::uint64_t{1} << 32 | sum;
        co_return found;
    }
    static task<std::optional<entry>> wait(runtime* rt, std::string name, fetch_options o, std::uint64_t seen, duration at_most)
    {
        const auto left = detail::time_left::of(at_most);
        for (;;) {
            std::optional<entry> now = co_await fetch(rt, name, o);
            const std::uint64_t version = now ? now->version : 0;
            if (version != seen || left.over()) co_return now;
            co_await rt->sleep(std::min(left.now(), ask_again), boost::asio::use_awaitable);
        }
    }

    runtime& runtime_;
    const fetch_options options_;
};

} // namespace

std::unique_ptr<directory> directory_of_side_channels(runtime& rt, fetch_options o)
{
    return std::make_unique<channels>(rt, std::move(o));
}

} // namespace wye
