// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <string_view>

#include "connection.hpp"
#include "credentials.hpp"
#include "exchange.hpp"
#include "settings.hpp"

namespace wye::storage::s3 {

/// One request as it is meant.
struct call {
    std::string_view operation;        ///< as in messages: "PUT", "POST ?uploads"
    std::string_view method;
    std::string key;                   ///< empty: the bucket itself
    fields query, headers;
    std::span<const std::byte> body{};
    std::string body_hash{};           ///< hex SHA-256 of the body; empty: of none, or it is not signed
    std::function<std::span<std::byte>(const answer&, std::uint64_t)> place{};
    bool urgent = false;
    bool finish_once_sent = false;     ///< who stops it after that waits for the answer all the same
    bool quiet = false;                ///< that it fails is no news
    std::size_t most_text = 64 * 1024;
    unsigned patience = 1;             ///< times `answer_within`
};

/// What came of it. `got.error` says why it did not succeed, whoever said so.
struct result {
    answer got;
    std::string code;                  ///< the server's word for it
    bool unanswered = false;           ///< some try went out and nothing came back: it may have been done
    unsigned tries = 0;
};

/// How often one thing has been tried.
struct attempts {
    unsigned made = 0;                 ///< since it last got on
    unsigned all = 0;
    bool skew = false, region = false, renewed = false; ///< mended already
    double paid = 0;                   ///< of the budget
    unsigned stale = 0;                ///< connections that turned out to be closed
};

/// Requests of one bucket: signed, sent over the pool, judged, and sent again. On the runtime's thread.
class client : public std::enable_shared_from_this<client> {
public:
    client(settings, const s3_options&, std::shared_ptr<connection_pool>, std::shared_ptr<credential_source>);

    /// Asks until there is an answer that counts, or no more tries.
    flow<result> ask(call&, stop_signal&);
    /// Asks once. What the next try mends (the clock, the region, credentials, a connection that the server had closed
    /// meanwhile) is mended here.
    flow<result> attempt(call&, stop_signal&, attempts&);
    /// After a try that failed: waits and says true, or there is no point.
    flow<bool> try_again(const result&, stop_signal&, attempts&);
    /// The end of a request that failed: for the one who asked and `s3_options::failed`.
    void report(const call&, const result&);
    /// One line about the last failure with this key; empty when there was none lately.
    std::string why(std::string_view key) const;

    const settings& of() const noexcept { return settings_; }
    const s3_options& options() const noexcept { return options_; }
    reactor& loop() const noexcept { return pool_->loop(); }
    wall_time now() const noexcept { return std::chrono::system_clock::now() + skew_; }

private:
    std::string head_of(const call&, const key_pair&) const;
    void judge(result&) const;
    bool mend(result&, const key_pair&, attempts&);
    bool afford(const result&, attempts&) noexcept;

    settings settings_;
    const s3_options& options_;
    const std::shared_ptr<connection_pool> pool_;
    const std::shared_ptr<credential_source> credentials_;
    std::chrono::system_clock::duration skew_{}; ///< how much later it is over there
    double budget_;
    std::minstd_rand random_;
    struct failure {
        std::string key, line;
    };
    std::deque<failure> failures_;
};

} // namespace wye::storage::s3
