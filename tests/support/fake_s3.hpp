// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace wye::testing {

/// An S3 server in this process, in memory, on loopback: one bucket, threads of its own. It believes every signature, keeps
/// what it is given, and misbehaves by plan. For what a real server does not do on command.
class fake_s3 {
public:
    struct object {
        std::string bytes, etag;
        std::map<std::string, std::string> kept; ///< x-amz-meta-…, and a checksum of the whole
    };
    struct request {
        std::string method, target; ///< "/bucket/key?query", as it came
        std::map<std::string, std::string> headers; ///< names in lower case
        std::string body;
    };
    /// What happens to requests whose "METHOD target" contains `match`.
    struct trouble {
        std::string match;
        unsigned times = 1;
        std::string answer{};       ///< said instead of doing anything; the connection is closed after it
        static constexpr std::size_t never = std::numeric_limits<std::size_t>::max();
        std::size_t cut = never;    ///< the true answer ends after so many bytes, 0: it is lost, though all was done
        enum class end : std::uint8_t { close, reset, stall } how = end::close;
        bool unread = false;        ///< `answer` comes before the body is read
        std::function<void(fake_s3&)> first{}; ///< called before it is done, without the lock
    };

    fake_s3();
    fake_s3(const fake_s3&) = delete;
    fake_s3& operator=(const fake_s3&) = delete;
    ~fake_s3();

    std::uint16_t port() const noexcept;
    void plan(trouble);
    void keep_sums(bool); ///< of whole objects that came in parts, as AWS does
    std::map<std::string, object> objects() const;
    void put(const std::string& key, const std::string& bytes);
    void flip_a_bit(const std::string& key, std::size_t at); ///< that nobody meant to change
    std::size_t uploads() const;            ///< begun, and neither completed nor dropped
    std::vector<request> requests() const;
    unsigned connections() const;           ///< accepted so far
    unsigned open() const;                  ///< now
    void forget_requests();

private:
    struct state;
    std::shared_ptr<state> state_;
};

} // namespace wye::testing
