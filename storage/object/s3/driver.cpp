// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <list>
#include <map>

#include <boost/asio/error.hpp>

#include <wye/s3.hpp>

#include "blocking_pool.hpp"

#include "download.hpp"
#include "resolver.hpp"
#include "store.hpp"
#include "upload.hpp"

namespace wye {

namespace storage::s3 {

namespace {

constexpr std::string_view scheme = "s3://";
constexpr std::size_t smallest_part = 5_MiB; // but the last one: S3's rule
constexpr std::uint64_t most_parts = 10'000;
constexpr unsigned helper_threads = 2;       // for names and files
constexpr std::size_t gathered_parts = 8;

/// What a chunk's session stands for.
struct session {
    virtual ~session() = default;
};
struct upload_session final : session {
    upload_session(const s3_object& to, part_memory& m, std::uint64_t total, std::size_t part)
        : in{to.by, m, to.key, to.when, total, part}
    {
    }
    upload in;
};
struct download_session final : session {
    generation of;
};

class s3_driver final : public driver {
public:
    explicit s3_driver(const s3_options&);
    ~s3_driver();

    std::string_view name() const noexcept override { return "s3"; }
    wye::limits limits() const noexcept override;
    bool carries(const slice& from, const slice& to) const noexcept override
    {
        const auto ours = [this](const slice& s) { return s.tier() == tier::object && s.of->home == this; };
        return (from.tier() == tier::dram && ours(to)) || (ours(from) && to.tier() == tier::dram);
    }

    bool submit(chunk& c) noexcept override
    {
        c.next = nullptr;
        (last_ ? last_->next : first_) = &c;
        last_ = &c;
        return true;
    }
    std::size_t poll(turn) noexcept override;
    bool busy() const noexcept override { return flows_.any() || helpers_.outstanding() != 0 || opening_ != 0 || fetching(); }
    /// A connection that rests is closed in time, by whichever side.
    bool attentive() const noexcept override
    {
        return std::any_of(pools_.begin(), pools_.end(), [](const auto& p) { return p.second->open() != 0; });
    }
    int wait_handle() const noexcept override { return reactor_.wait_handle(); }
    bool arm() noexcept override { return !first_ && helpers_.arm() && reactor_.arm(); }

    bool serves(std::string_view url) const noexcept override { return url.starts_with(scheme); }
    void open_store(std::string url, wye::access,
                    std::function<void(error_code, std::unique_ptr<object_store>)> done) override;

private:
    /// A chunk on loan.
    struct loan {
        explicit loan(chunk& l) noexcept : c{l} {}
        chunk& c;
        stop_signal stop;
    };
    using loans = std::list<loan>;

    detached carry(loans::iterator);
    flow<error_code> open(loan&);
    flow<error_code> move(loan&, std::size_t& bytes);
    flow<error_code> get(loan&, std::size_t& bytes);
    flow<error_code> put(loan&);
    flow<error_code> end_session(loan&);
    detached open_later(std::string url, wye::access, std::function<void(error_code, std::unique_ptr<object_store>)>);
    std::shared_ptr<connection_pool> pool_for(const origin&, const std::string& authorities, bool verify, bool metadata);
    std::shared_ptr<credential_source> credentials_for(const std::string& profile);
    void stop_unwanted() noexcept;
    bool fetching() const noexcept
    {
        return std::any_of(credentials_.begin(), credentials_.end(), [](const auto& c) { return c.second->busy(); });
    }

    bool ours(const slice& s) const noexcept { return s.of && s.tier() == tier::object && s.of->home == this; }
    static const s3_object& object(const slice& s) noexcept { return static_cast<const s3_object&>(*s.of); }

    const s3_options options_;
    reactor reactor_;
    blocking_pool helpers_{helper_threads};
    resolver resolver_{reactor_, helpers_};
    part_memory gathered_;
    flows flows_;
    std::map<std::string, std::shared_ptr<connection_pool>> pools_;
    std::map<std::string, std::shared_ptr<credential_source>> credentials_;
    std::map<std::string, std::shared_ptr<tls_settings>> tls_;
    loans loans_;
    chunk* first_ = nullptr; // submitted and not begun
    chunk* last_ = nullptr;
    std::size_t ended_ = 0, opening_ = 0, polls_ = 0;
};

s3_driver::s3_driver(const s3_options& o)
    : options_{[&] {
          s3_options checked = o;
          checked.part_bytes = std::max(o.part_bytes, smallest_part);
          checked.connections = std::max(1u, o.connections);
          checked.tries = std::max(1u, o.tries);
          return checked;
      }()},
      gathered_{reactor_, gathered_parts * options_.part_bytes}
{
    reactor_.wake_by(helpers_.wait_handle());
}

s3_driver::~s3_driver()
{
    // No chunk is out, but a listing or a renewal may be.
    flows_.stop_all();
    for (auto& [name, source] : credentials_) source->shut_down();
    while (busy()) {
        helpers_.reap();
        reactor_.poll({});
    }
    // Objects that outlive their driver keep these.
    for (auto& [name, pool] : pools_) pool->close();
}

wye::limits s3_driver::limits() const noexcept
{
    wye::limits l;
    l.chunk_bytes = options_.part_bytes;
    l.window_chunks = options_.connections;
    l.window_bytes = options_.connections * options_.part_bytes;
    l.background_chunks = std::max(1u, options_.connections / 8);
    l.latency = std::chrono::milliseconds{5};
    l.bytes_per_second = 1e9;
    return l;
}

std::size_t s3_driver::poll(turn t) noexcept
{
    std::size_t n = helpers_.reap();
    for (std::size_t begun = 0; first_ && !(begun != 0 && t.over()); ++begun, ++n) { // signing takes some 20 us
        chunk& c = *first_;
        first_ = c.next;
        if (!first_) last_ = nullptr;
        carry(loans_.emplace(loans_.end(), c));
    }
    n += reactor_.poll(t);
    if (n == 0 || ++polls_ % 16 == 0) stop_unwanted();
    return n + std::exchange(ended_, 0);
}

/// Transfers that nobody waits for any more end at once. Sessions are opened, committed and dropped all the same.
void s3_driver::stop_unwanted() noexcept
{
    for (loan& l : loans_)
        if (l.c.step == step::move && !l.stop.pulled() && !l.c.wanted()) l.stop.pull();
}

detached s3_driver::carry(loans::iterator at)
{
    std::size_t bytes = 0;
    error_code e;
    try {
        switch (at->c.step) {
        case step::open: e = co_await open(*at); break;
        case step::move: e = co_await move(*at, bytes); break;
        case step::commit:
        case step::abandon: e = co_await end_session(*at); break;
        }
    } catch (const system_error& failed) {
        e = failed.code();
    } catch (const std::exception&) { // no memory
        e = object_error(ENOMEM);
    }
    chunk& c = at->c;
    loans_.erase(at);
    ++ended_;
    c.done(e, e ? 0 : bytes);
}

flow<error_code> s3_driver::open(loan& l)
{
    chunk& c = l.c;
    if (ours(c.to)) {
        const s3_object& target = object(c.to);
        if (target.access != access::read_write) co_return errc::read_only;
        // A part may be larger than a piece: S3 counts no further than 10000.
        const std::uint64_t least = (c.total + most_parts - 1) / most_parts;
        const std::size_t part = std::max<std::uint64_t>(options_.part_bytes, (least + 1_MiB - 1) / 1_MiB * 1_MiB);
        auto in = std::make_unique<upload_session>(target, gathered_, c.total, part);
        const error_code e = co_await in->in.begin();
        if (!e) c.session = reinterpret_cast<std::uintptr_t>(static_cast<session*>(in.release()));
        co_return e;
    }
    const s3_object& source = object(c.from);
    auto out = std::make_unique<download_session>();
    error_code e = co_await look_at(*source.by, source.key, c.urgent, l.stop, out->of);
    if (!e && !source.when.tag.empty() && out->of.etag != source.when.tag) e = s3_errc::changed;
    if (e) co_return e;
    c.total = out->of.size;
    c.has_checksum = out->of.sum.has_value();
    c.checksum = out->of.sum.value_or(0);
    c.session = reinterpret_cast<std::uintptr_t>(static_cast<session*>(out.release()));
    co_return error_code{};
}

flow<error_code> s3_driver::move(loan& l, std::size_t& bytes)
{
    error_code e;
    if (ours(l.c.to)) e = co_await put(l);
    else e = co_await get(l, bytes);
    if (!e && ours(l.c.to)) bytes = l.c.from.length;
    if (e && l.stop.pulled()) e = boost::asio::error::operation_aborted;
    co_return e;
}

flow<error_code> s3_driver::put(loan& l)
{
    chunk& c = l.c;
    const s3_object& target = object(c.to);
    const std::span<const std::byte> bytes{c.from.data(), static_cast<std::size_t>(c.from.length)};
    if (c.session) {
        auto* const s = static_cast<upload_session*>(reinterpret_cast<session*>(c.session));
        const error_code e = co_await s->in.write(c.to.offset, bytes, c.urgent, l.stop);
        co_return e;
    }
    if (target.access != access::read_write) co_return errc::read_only;
    if (!c.sole || c.to.offset != 0) co_return errc::not_supported; // objects are replaced whole
    std::optional<std::uint32_t> keep;
    if (c.has_checksum) keep = static_cast<std::uint32_t>(c.checksum);
    const error_code e = co_await put_whole(*target.by, target.key, target.when, bytes, keep, c.urgent, l.stop);
    co_return e;
}

flow<error_code> s3_driver::get(loan& l, std::size_t& bytes)
{
    chunk& c = l.c;
    const s3_object& source = object(c.from);
    wanted_range range;
    range.offset = c.from.offset;
    range.into = {c.to.data(), static_cast<std::size_t>(c.from.length)};
    range.whole = c.sole;
    const auto* const s = static_cast<const download_session*>(reinterpret_cast<const session*>(c.session));
    std::string must = s ? s->of.etag : source.when.tag;
    read_result r = co_await read_range(*source.by, source.key, range, std::move(must), c.urgent, l.stop);
    bytes = r.bytes;
    if (!r.error && c.from.offset == 0) {
        // The sum speaks for the whole object, and for nothing less. What is asked for again after a short read does not
        // begin at 0, and keeps what it was given the first time.
        const bool all = c.from.length >= r.from.size;
        c.has_checksum = all && r.from.sum.has_value();
        c.checksum = all ? r.from.sum.value_or(0) : 0;
    }
    co_return r.error;
}

/// The session ends here, however this goes.
flow<error_code> s3_driver::end_session(loan& l)
{
    chunk& c = l.c;
    const std::unique_ptr<session> ended{reinterpret_cast<session*>(c.session)};
    auto* const in = dynamic_cast<upload_session*>(ended.get());
    if (!in) co_return error_code{};
    error_code e;
    if (c.step == step::abandon) {
        e = co_await in->in.abandon();
        co_return e;
    }
    std::optional<std::uint32_t> keep;
    if (c.has_checksum) keep = static_cast<std::uint32_t>(c.checksum);
    e = co_await in->in.commit(keep);
    co_return e;
}

std::shared_ptr<connection_pool> s3_driver::pool_for(const origin& to, const std::string& authorities, bool verify,
                                                     bool metadata)
{
    const std::string kind = authorities + (verify ? "\nverified" : "\nnot verified");
    auto& tls = tls_[kind];
    if (to.tls && !tls) tls = std::make_shared<tls_settings>(authorities, verify);
    std::string name = (to.tls ? kind : std::string{}) + '\n' + to.host + '\n' + to.port + '\n' + to.proxy_host + '\n' +
                       to.proxy_port + '\n' + to.proxy_login;
    if (metadata) name += "\nmetadata";
    auto& pool = pools_[name];
    pool_limits most;
    most.connections = metadata ? 2 : options_.connections;
    // These are near, or there are none.
    most.connect_within = metadata ? std::chrono::seconds{1} : options_.connect_within;
    most.idle_after = options_.idle_after;
    if (!pool) pool = std::make_shared<connection_pool>(reactor_, resolver_, to, tls, most);
    return pool;
}

std::shared_ptr<credential_source> s3_driver::credentials_for(const std::string& profile)
{
    auto& source = credentials_[profile];
    const auto connect = [this](const origin& to) { return pool_for(to, {}, true, true); };
    s3_options o = options_;
    if (profile != "default" && profile != options_.profile) o.access_key.clear();
    if (!source) source = std::make_shared<credential_source>(reactor_, helpers_, o, profile, connect);
    return source;
}

void s3_driver::open_store(std::string url, wye::access a,
                           std::function<void(error_code, std::unique_ptr<object_store>)> done)
{
    open_later(std::move(url), a, std::move(done));
}

/// Asks for credentials, so that it is said here if there are none; of the bucket nothing is asked.
detached s3_driver::open_later(std::string url, wye::access a,
                               std::function<void(error_code, std::unique_ptr<object_store>)> done)
{
    stop_signal stop;
    flows_.begun(stop);
    ++opening_;
    error_code e;
    std::string why;
    std::unique_ptr<object_store> opened;
    try {
        next_turn later{reactor_};
        co_await later;
        settings s = read_settings(url, options_);
        const auto pool = pool_for(s.to, s.authorities, s.verify, false);
        std::shared_ptr<credential_source> credentials;
        if (!s.anonymous) {
            credentials = credentials_for(s.profile);
            const granted g = co_await credentials->get(stop);
            e = g.error;
            why = g.why;
        }
        if (!e) {
            auto by = std::make_shared<client>(std::move(s), options_, pool, std::move(credentials));
            opened = make_store(std::move(by), flows_, *this, a);
        }
    } catch (const system_error& failed) {
        e = failed.code();
        why = failed.what();
    }
    if (e && options_.failed) {
        s3_failure f;
        f.operation = "open";
        f.bucket = url;
        f.error = e;
        f.message = why;
        options_.failed(f);
    }
    flows_.ended(stop);
    --opening_;
    ++ended_;
    done(e, std::move(opened));
}

} // namespace

} // namespace storage::s3

std::unique_ptr<driver> make_s3(const s3_options& o) { return std::make_unique<storage::s3::s3_driver>(o); }

} // namespace wye
