// SPDX-License-Identifier: Apache-2.0
#include <wye/drivers.hpp>

#include <memory>
#include <optional>
#include <utility>

#include "blocking_pool.hpp"
#include "key_path.hpp"
#include "listing.hpp"
#include "object_tree.hpp"
#include "transfers.hpp"

namespace wye::drivers {

namespace {

using storage::blocking_pool;
using storage::listing;
using storage::object_tree;

/// The name of an object. Keeps the tree open as long as somebody has it.
class directory_object final : public segment {
public:
    directory_object(std::shared_ptr<object_tree> t, std::string key)
        : segment{wye::tier::object}, tree{std::move(t)}, path{storage::path_of(key)}, key_{std::move(key)}
    {
        access = tree->writable() ? access::read_write : access::read_only;
        length = unbounded;
    }
    std::string_view describe() const noexcept override { return key_; }

    const std::shared_ptr<object_tree> tree;
    const std::string path;

private:
    const std::string key_;
};

/// A function for a helper thread, then one for the runtime's thread with its result.
template <class Work, class Then>
class call_job final : public blocking_pool::job {
public:
    call_job(Work w, Then t) : work_{std::move(w)}, then_{std::move(t)} {}
    void work() noexcept override { result_.emplace(work_()); }
    void finished() noexcept override
    {
        const std::unique_ptr<call_job> self{this};
        then_(std::move(*result_));
    }

private:
    Work work_;
    Then then_;
    std::optional<decltype(std::declval<Work&>()())> result_;
};

template <class Work, class Then>
void call(blocking_pool& pool, Work work, Then then)
{
    pool.submit(*new call_job<Work, Then>{std::move(work), std::move(then)});
}

template <class T>
struct outcome {
    error_code error;
    T value{};
};

class directory_store final : public object_store {
public:
    directory_store(blocking_pool& p, driver& home, std::shared_ptr<object_tree> t)
        : pool_{p}, home_{home}, tree_{std::move(t)}
    {
    }

    wye::access access() const noexcept override
    {
        return tree_->writable() ? wye::access::read_write : wye::access::read_only;
    }

    std::unique_ptr<segment> locate(std::string key) override
    {
        if (!storage::valid_key(key)) return nullptr;
        auto s = std::make_unique<directory_object>(tree_, std::move(key));
        s->home = &home_;
        return s;
    }

    void stat(std::string key, std::function<void(error_code, object_info)> done) override
    {
        auto work = [tree = tree_, key = std::move(key)]() -> outcome<object_info> {
            struct ::stat s;
            if (!storage::valid_key(key)) return {errc::bad_name};
            if (const error_code e = tree->stat(storage::path_of(key), s)) return {e};
            return {{}, storage::describe(key, s)};
        };
        auto then = [done = std::move(done)](outcome<object_info> o) { done(o.error, std::move(o.value)); };
        call(pool_, std::move(work), std::move(then));
    }

    void list(std::string prefix, std::string after, std::size_t most,
              std::function<void(error_code, object_page)> done) override
    {
        // The next page of a listing goes on where it stopped: a directory of a million entries is read once.
        std::shared_ptr<listing> walk = std::move(*paused_);
        if (!walk || !walk->continues(prefix, after))
            walk = std::make_shared<listing>(*tree_, std::move(prefix), std::move(after));
        auto work = [tree = tree_, walk, most]() -> outcome<object_page> {
            outcome<object_page> o;
            o.error = walk->next(most, o.value);
            return o;
        };
        auto then = [paused = paused_, walk, done = std::move(done)](outcome<object_page> o) {
            if (!o.error && o.value.more) *paused = walk;
            done(o.error, std::move(o.value));
        };
        call(pool_, std::move(work), std::move(then));
    }

    void remove(std::string key, std::function<void(error_code)> done) override
    {
        auto work = [tree = tree_, key = std::move(key)]() -> error_code {
            if (!tree->writable()) return errc::read_only;
            return storage::valid_key(key) ? tree->remove(storage::path_of(key)) : error_code{errc::bad_name};
        };
        call(pool_, std::move(work), std::move(done));
    }

private:
    blocking_pool& pool_;
    driver& home_;
    std::shared_ptr<object_tree> tree_;
    // A listing that was given in part. Callbacks still under way when the store goes have a share in it.
    std::shared_ptr<std::shared_ptr<listing>> paused_ = std::make_shared<std::shared_ptr<listing>>();
};

/// What one chunk asks of an object, on a helper thread.
class chunk_call {
public:
    chunk_call(chunk& c, const driver& home) noexcept : c_{c}, home_{home} {}

    error_code run(std::size_t& bytes)
    {
        bytes = c_.step == step::move ? c_.from.length : 0;
        switch (c_.step) {
        case step::open: return ours(c_.to) ? open_upload() : open_download();
        case step::move: return ours(c_.to) ? put() : get(bytes);
        case step::commit: return commit();
        case step::abandon: session().reset(); return {};
        }
        return errc::not_supported;
    }

private:
    bool ours(const slice& s) const noexcept
    {
        return s.of && s.tier() == tier::object && s.of->home == &home_;
    }
    static const directory_object& object(const slice& s) noexcept
    {
        return static_cast<const directory_object&>(*s.of);
    }
    std::unique_ptr<storage::transfer_session> session() const noexcept
    {
        return std::unique_ptr<storage::transfer_session>{&borrowed<storage::transfer_session>()};
    }
    template <class Session>
    void keep(std::unique_ptr<Session> s) noexcept
    {
        c_.session = reinterpret_cast<std::uintptr_t>(static_cast<storage::transfer_session*>(s.release()));
    }
    template <class Session>
    Session& borrowed() const noexcept
    {
        return static_cast<Session&>(*reinterpret_cast<storage::transfer_session*>(c_.session));
    }
    std::optional<std::uint32_t> sum_to_keep() const noexcept
    {
        return c_.has_checksum ? std::optional{static_cast<std::uint32_t>(c_.checksum)} : std::nullopt;
    }

    error_code open_upload()
    {
        const directory_object& target = object(c_.to);
        if (!target.tree->writable()) return errc::read_only;
        auto in = std::make_unique<storage::upload>(*target.tree);
        if (const error_code e = in->begin(c_.total, true)) return e;
        keep(std::move(in));
        return {};
    }

    error_code put()
    {
        const std::byte* const data = c_.from.data();
        if (c_.session) return borrowed<storage::upload>().write(data, c_.from.length, c_.to.offset);
        const directory_object& target = object(c_.to);
        if (!target.tree->writable()) return errc::read_only;
        if (!c_.sole || c_.to.offset != 0) return errc::not_supported; // objects are replaced whole
        storage::upload in{*target.tree};
        if (const error_code e = in.begin(c_.from.length, false)) return e;
        if (const error_code e = in.write(data, c_.from.length, 0)) return e;
        return in.commit(target.path, sum_to_keep());
    }

    /// The session ends here, however this goes.
    error_code commit()
    {
        const auto owned = session();
        return static_cast<storage::upload&>(*owned).commit(object(c_.to).path, sum_to_keep());
    }

    error_code open_download()
    {
        const directory_object& source = object(c_.from);
        auto out = std::make_unique<storage::download>(*source.tree);
        if (const error_code e = out->begin(source.path)) return e;
        c_.total = out->size();
        give_sum(*out);
        keep(std::move(out));
        return {};
    }

    error_code get(std::size_t& bytes)
    {
        if (c_.session) {
            give_sum(borrowed<storage::download>());
            return borrowed<storage::download>().read(c_.to.data(), c_.from.length, c_.from.offset, bytes);
        }
        const directory_object& source = object(c_.from);
        storage::download out{*source.tree};
        if (const error_code e = out.begin(source.path)) return e;
        // The source was named whole, so what lies past the target must not be lost in silence.
        if (c_.sole && out.size() > c_.from.offset + c_.from.length) return errc::length_mismatch;
        give_sum(out);
        return out.read(c_.to.data(), c_.from.length, c_.from.offset, bytes);
    }

    /// The sum speaks for the whole object, and for nothing less. What is asked for again after a short read
    /// does not begin at 0, and keeps what it was given the first time.
    void give_sum(const storage::download& out) noexcept
    {
        if (c_.from.offset != 0) return;
        const auto sum = c_.from.length >= out.size() ? out.sum() : std::nullopt;
        c_.has_checksum = sum.has_value();
        c_.checksum = sum.value_or(0);
    }

    chunk& c_;
    const driver& home_;
};

class directory_driver final : public driver {
public:
    explicit directory_driver(const directory_options& o) : options_{o}, pool_{o.threads} {}

    std::string_view name() const noexcept override { return "directory"; }
    wye::limits limits() const noexcept override
    {
        wye::limits l;
        l.window_chunks = 32;
        l.window_bytes = 32_MiB;
        l.background_chunks = 4;
        l.latency = std::chrono::microseconds{60};
        l.bytes_per_second = 1.5e9;
        return l;
    }
    bool carries(const slice& from, const slice& to) const noexcept override
    {
        const auto ours = [this](const slice& s) { return s.tier() == tier::object && s.of->home == this; };
        return (from.tier() == tier::dram && ours(to)) || (ours(from) && to.tier() == tier::dram);
    }

    bool submit(chunk& c) noexcept override
    {
        std::unique_ptr<chunk_job> job = std::move(spare_);
        if (job) spare_ = std::move(job->below);
        else job = std::make_unique<chunk_job>(*this);
        job->loan = &c;
        pool_.submit(*job.release(), c.urgent);
        return true;
    }
    std::size_t poll(turn) noexcept override { return pool_.reap(); }
    bool busy() const noexcept override { return pool_.outstanding() != 0; }
    int wait_handle() const noexcept override { return pool_.wait_handle(); }
    bool arm() noexcept override { return pool_.arm(); }

    bool serves(std::string_view url) const noexcept override { return url.starts_with(scheme); }
    void open_store(std::string url, wye::access access,
                    std::function<void(error_code, std::unique_ptr<object_store>)> done) override;

private:
    static constexpr std::string_view scheme = "dir:";

    /// Used again and again, so that the steady state allocates nothing.
    struct chunk_job final : blocking_pool::job {
        explicit chunk_job(directory_driver& d) noexcept : home{d} {}
        void work() noexcept override { error = chunk_call{*loan, home}.run(bytes); }
        void finished() noexcept override
        {
            chunk& c = *std::exchange(loan, nullptr);
            below = std::move(home.spare_);
            home.spare_.reset(this);
            c.done(error, error ? 0 : bytes);
        }

        directory_driver& home;
        chunk* loan = nullptr;
        error_code error;
        std::size_t bytes = 0;
        std::unique_ptr<chunk_job> below; // in the stack of spare ones
    };

    const directory_options options_;
    std::unique_ptr<chunk_job> spare_;
    blocking_pool pool_; // goes first, and ends what is under way
};

void directory_driver::open_store(std::string url, wye::access access,
                                  std::function<void(error_code, std::unique_ptr<object_store>)> done)
{
    auto tree = std::make_shared<object_tree>(access == access::read_write, options_.durable);
    auto work = [tree, path = url.substr(scheme.size())]() -> error_code {
        if (path.empty() || path.find('\0') != path.npos) return errc::bad_name;
        return tree->open(path);
    };
    call(pool_, std::move(work), [this, tree, done = std::move(done)](error_code e) {
        done(e, e ? nullptr : std::make_unique<directory_store>(pool_, *this, tree));
    });
}

} // namespace

std::unique_ptr<driver> directory(const directory_options& o)
{
    return std::make_unique<directory_driver>(o);
}

} // namespace wye::drivers
