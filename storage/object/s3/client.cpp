// SPDX-License-Identifier: Apache-2.0
#include "client.hpp"

#include <algorithm>
#include <charconv>

#include <boost/asio/error.hpp>

#include "errors.hpp"
#include "xml.hpp"

namespace wye::storage::s3 {

namespace {

using namespace std::chrono_literals;

constexpr duration first_pause = 50ms, longest_pause = 5s;
constexpr auto tolerated_skew = 4min; // servers allow 15

// As AWS's own clients do: a bucket of tokens that retries are paid from and successes fill, so that a server in trouble
// is not asked so and so many times as often as one that is well.
constexpr double full_budget = 500, price = 5, price_of_silence = 10, reward = 1;
constexpr std::size_t remembered_failures = 32;

std::optional<duration> retry_after(const answer& a)
{
    const auto text = a.header("Retry-After");
    unsigned s = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), s);
    if (text.empty() || error != std::errc{} || end != text.data() + text.size() || s > 3600) return {};
    return std::min<duration>(std::chrono::seconds{s}, 30s);
}

bool timed_out(const error_code& e) noexcept { return e == boost::system::errc::timed_out; }

bool may_help(const result& r) noexcept
{
    const int status = s3_status(r.got.error);
    return status ? worth_retrying(status, r.code) : worth_retrying(r.got.error);
}

} // namespace

client::client(settings s, const s3_options& o, std::shared_ptr<connection_pool> p, std::shared_ptr<credential_source> c)
    : settings_{std::move(s)}, options_{o}, pool_{std::move(p)}, credentials_{std::move(c)}, budget_{full_budget},
      random_{std::random_device{}()}
{
}

flow<result> client::ask(call& c, stop_signal& stop)
{
    attempts tried;
    bool unanswered = false;
    for (;;) {
        result r = co_await attempt(c, stop, tried);
        unanswered = unanswered || r.unanswered;
        r.unanswered = unanswered;
        bool again = false;
        if (r.got.error) again = co_await try_again(r, stop, tried);
        if (again) continue;
        r.tries = tried.all;
        if (r.got.error) report(c, r);
        co_return r;
    }
}

flow<result> client::attempt(call& c, stop_signal& stop, attempts& tried)
{
    bool unanswered = false;
    for (;;) {
        result r;
        key_pair keys;
        if (!settings_.anonymous) {
            granted g = co_await credentials_->get(stop);
            r.got.error = g.error;
            r.got.reason = g.why;
            keys = std::move(g.keys);
        }
        connection_pool::lease lease;
        if (!r.got.error) {
            lease = co_await pool_->acquire(stop, c.urgent);
            r.got.error = lease.error;
            r.got.reason = lease.reason;
        }
        if (r.got.error) {
            ++tried.made, ++tried.all;
            co_return r;
        }
        const bool used_before = lease.on->used_before;
        message m;
        m.head = head_of(c, keys);
        m.body = c.body;
        m.head_only = c.method == "HEAD";
        m.place = c.place;
        m.finish_once_sent = c.finish_once_sent;
        m.stalled_after = options_.stalled_after;
        m.answer_within = options_.answer_within * c.patience;
        m.most_text = c.most_text;
        exchange one{pool_->loop(), *lease.on, m, stop};
        r.got = co_await one;
        pool_->release(std::move(lease.on), one.reusable());
        // Trouble of a gateway's may be that it did not hear the end of it.
        const int status = r.got.status;
        unanswered = unanswered || r.got.error || status == 500 || status == 502 || status == 504;
        // The server may close a connection that rests just when a request is on its way.
        if (r.got.error && used_before && !r.got.begun && !timed_out(r.got.error) && !stop.pulled() &&
            tried.stale++ <= options_.connections) {
            continue;
        }
        ++tried.made, ++tried.all;
        r.unanswered = unanswered;
        judge(r);
        if (!r.got.error) budget_ = std::min(full_budget, budget_ + std::max(reward, std::exchange(tried.paid, 0.0)));
        if (r.got.error && !stop.pulled() && mend(r, keys, tried)) continue;
        co_return r;
    }
}

/// An answer that is no success becomes an error.
void client::judge(result& r) const
{
    if (r.got.error) return;
    if (r.got.status / 100 == 2) {
        // Some answers begin before the work is done, and say only at their end how it went.
        if (r.got.status == 200 && r.got.text.find("<Error>") != r.got.text.npos) {
            r.code = text_of(r.got.text, "Error/Code");
            if (!r.code.empty()) r.got.error = status_error(500, r.code);
        }
        return;
    }
    r.code = text_of(r.got.text, "Error/Code");
    r.got.reason = text_of(r.got.text, "Error/Message");
    r.got.error = status_error(r.got.status, r.code);
}

/// What another try right now would not fail by again.
bool client::mend(result& r, const key_pair& keys, attempts& tried)
{
    if (r.got.status < 300 || r.got.status >= 500) return false;
    const auto date = read_http_date(r.got.header("Date"));
    // An answer to HEAD has no code, but it does have a date.
    if (date && (r.got.status == 403 || r.code == "RequestTimeTooSkewed") && !std::exchange(tried.skew, true)) {
        const auto off = *date - now();
        if (off > tolerated_skew || off < -tolerated_skew) {
            skew_ += off;
            return true;
        }
    }
    const auto region = r.got.header("x-amz-bucket-region");
    const bool elsewhere = r.got.status == 301 || r.got.status == 307 || r.got.status == 400;
    if (elsewhere && !region.empty() && region != settings_.region && !std::exchange(tried.region, true)) {
        settings_.region = region;
        return true;
    }
    const bool expired = r.code == "ExpiredToken" || r.code == "TokenRefreshRequired" || r.code == "InvalidToken";
    return expired && !std::exchange(tried.renewed, true) && credentials_->renew(keys);
}

flow<bool> client::try_again(const result& r, stop_signal& stop, attempts& tried)
{
    if (stop.pulled() || !may_help(r) || tried.made >= options_.tries || !afford(r, tried)) co_return false;
    const auto most = std::min<duration>(first_pause * (1 << std::min(tried.made, 10u)), longest_pause);
    duration wait{std::uniform_int_distribution<duration::rep>{0, most.count()}(random_)};
    if (const auto asked = retry_after(r.got)) wait = std::max(wait, *asked);
    pause rest{pool_->loop(), wait, stop};
    const bool went_by = co_await rest;
    co_return went_by;
}

bool client::afford(const result& r, attempts& tried) noexcept
{
    const double cost = timed_out(r.got.error) ? price_of_silence : price;
    if (budget_ < cost) return false;
    budget_ -= cost;
    tried.paid = cost; // given back if that try succeeds
    return true;
}

std::string client::head_of(const call& c, const key_pair& keys) const
{
    const auto time = now();
    const bool signs = !settings_.anonymous;
    std::string path = settings_.base + c.key;
    if (c.key.empty() && path.size() > 1) path.pop_back(); // the bucket itself
    fields headers = c.headers;
    headers.emplace_back("Host", settings_.host);
    std::string payload{c.body.empty() ? empty_payload : unsigned_payload};
    if (!c.body_hash.empty()) payload = c.body_hash;
    if (signs) {
        headers.emplace_back("x-amz-content-sha256", payload);
        headers.emplace_back("x-amz-date", compact(time));
        if (!keys.session_token.empty()) headers.emplace_back("x-amz-security-token", keys.session_token);
    }
    const signable all{c.method, path, &c.query, &headers, payload};
    std::string head{c.method};
    head += ' ';
    if (!settings_.to.tls && !settings_.to.proxy_host.empty()) head.append("http://").append(settings_.host);
    head += percent(path, true);
    if (!c.query.empty()) head.append("?").append(canonical_query(c.query));
    head += " HTTP/1.1\r\n";
    if (signs) head.append("Authorization: ").append(authorization(all, keys, time, {settings_.region})).append("\r\n");
    for (const auto& [name, value] : headers) head.append(name).append(": ").append(value).append("\r\n");
    if (!settings_.to.tls && !settings_.to.proxy_login.empty()) {
        const auto* const login = reinterpret_cast<const unsigned char*>(settings_.to.proxy_login.data());
        head += "Proxy-Authorization: Basic " + base64(std::span{login, settings_.to.proxy_login.size()}) + "\r\n";
    }
    if (c.method == "PUT" || c.method == "POST")
        head.append("Content-Length: ").append(std::to_string(c.body.size())).append("\r\n");
    return head.append("User-Agent: wye\r\n\r\n");
}

void client::report(const call& c, const result& r)
{
    if (c.quiet || r.got.error == boost::asio::error::operation_aborted) return;
    s3_failure f;
    f.operation = c.operation;
    f.bucket = settings_.bucket;
    f.key = c.key;
    f.error = r.got.error;
    f.status = r.got.status;
    f.code = r.code;
    f.request_id = r.got.header("x-amz-request-id");
    f.message = r.got.reason;
    f.tries = r.tries;
    if (failures_.size() == remembered_failures) failures_.pop_front();
    failures_.push_back({c.key, f.to_string()});
    if (options_.failed && r.got.error != errc::not_found) options_.failed(f);
}

std::string client::why(std::string_view key) const
{
    const auto it = std::find_if(failures_.rbegin(), failures_.rend(), [&](const failure& f) { return f.key == key; });
    return it == failures_.rend() ? std::string{} : it->line;
}

} // namespace wye::storage::s3
