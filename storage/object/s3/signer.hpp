// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "encoding.hpp"

namespace wye::storage::s3 {

using fields = std::vector<std::pair<std::string, std::string>>;

struct key_pair {
    std::string access_key, secret_key;
    std::string session_token; ///< empty: none
};

/// What is signed, and for whom: the service's own name in a region.
struct signing_scope {
    std::string_view region;
    std::string_view service = "s3";
};

/// A request as it is signed. Values are as they are meant, not as they are written: a path and query of plain bytes.
struct signable {
    std::string_view method;
    std::string_view path;     ///< "/bucket/key"; slashes and dots in it stay as they are, as S3 wants it
    const fields* query;
    const fields* headers;     ///< those to sign, Host among them; names in any case
    std::string_view payload;  ///< the hash of the body, or UNSIGNED-PAYLOAD
};

inline constexpr std::string_view unsigned_payload = "UNSIGNED-PAYLOAD";
inline constexpr std::string_view empty_payload =
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// As AWS Signature Version 4 has it (docs.aws.amazon.com, "Create a signed AWS API request").
std::string canonical_query(const fields&);
std::string canonical_request(const signable&);
std::string string_to_sign(std::string_view canonical_request, wall_time, const signing_scope&);
std::string signature(std::string_view string_to_sign, const key_pair&, wall_time, const signing_scope&);

/// The value of the Authorization header.
std::string authorization(const signable&, const key_pair&, wall_time, const signing_scope&);

/// The query that carries the signature instead, good for `lifetime`. `request.query` is without it, `request.headers`
/// is usually Host alone.
fields signed_query(const signable& request, const key_pair&, wall_time, std::chrono::seconds lifetime,
                    const signing_scope&);

} // namespace wye::storage::s3
