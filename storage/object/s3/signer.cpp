// SPDX-License-Identifier: Apache-2.0
#include "signer.hpp"

#include <algorithm>
#include <map>

namespace wye::storage::s3 {

namespace {

constexpr std::string_view algorithm = "AWS4-HMAC-SHA256";

std::string lower(std::string_view name)
{
    std::string out{name};
    for (char& c : out)
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
    return out;
}

/// Without white space around it, and single spaces within.
std::string trimmed(std::string_view value)
{
    std::string out;
    bool gap = false;
    for (const char c : value) {
        if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
            gap = true;
            continue;
        }
        if (gap && !out.empty()) out += ' ';
        gap = false;
        out += c;
    }
    return out;
}

/// Names in lower case and in order; what one name has several times is one line.
fields canonical_headers(const fields& headers)
{
    std::map<std::string, std::string> all;
    for (const auto& [name, value] : headers) {
        const auto [it, fresh] = all.emplace(lower(name), trimmed(value));
        if (!fresh) it->second += ',' + trimmed(value);
    }
    return {all.begin(), all.end()};
}

std::string names_of(const fields& canonical)
{
    std::string names;
    for (const auto& h : canonical) names += (names.empty() ? "" : ";") + h.first;
    return names;
}

std::string scope_of(wall_time t, const signing_scope& s)
{
    return compact(t).substr(0, 8) + '/' + std::string{s.region} + '/' + std::string{s.service} + "/aws4_request";
}

} // namespace

std::string canonical_query(const fields& query)
{
    fields encoded;
    for (const auto& [name, value] : query) encoded.emplace_back(percent(name, false), percent(value, false));
    std::sort(encoded.begin(), encoded.end());
    std::string out;
    for (const auto& [name, value] : encoded) {
        if (!out.empty()) out += '&';
        out.append(name).append("=").append(value);
    }
    return out;
}

std::string canonical_request(const signable& r)
{
    const fields headers = canonical_headers(*r.headers);
    std::string out{r.method};
    out.append("\n").append(percent(r.path, true)).append("\n").append(canonical_query(*r.query)).append("\n");
    for (const auto& [name, value] : headers) out.append(name).append(":").append(value).append("\n");
    return out.append("\n").append(names_of(headers)).append("\n").append(r.payload);
}

std::string string_to_sign(std::string_view canonical, wall_time t, const signing_scope& s)
{
    std::string out{algorithm};
    return out.append("\n").append(compact(t)).append("\n").append(scope_of(t, s)).append("\n").append(
        hex(sha256(canonical)));
}

std::string signature(std::string_view text, const key_pair& k, wall_time t, const signing_scope& s)
{
    const std::string seed = "AWS4" + k.secret_key;
    const auto* const first = reinterpret_cast<const unsigned char*>(seed.data());
    digest key = hmac({first, seed.size()}, compact(t).substr(0, 8));
    key = hmac(key, s.region);
    key = hmac(key, s.service);
    key = hmac(key, "aws4_request");
    return hex(hmac(key, text));
}

std::string authorization(const signable& r, const key_pair& k, wall_time t, const signing_scope& s)
{
    std::string out{algorithm};
    out.append(" Credential=").append(k.access_key).append("/").append(scope_of(t, s));
    out.append(", SignedHeaders=").append(names_of(canonical_headers(*r.headers)));
    return out.append(", Signature=").append(signature(string_to_sign(canonical_request(r), t, s), k, t, s));
}

fields signed_query(const signable& r, const key_pair& k, wall_time t, std::chrono::seconds lifetime,
                    const signing_scope& s)
{
    fields query = *r.query;
    query.emplace_back("X-Amz-Algorithm", algorithm);
    query.emplace_back("X-Amz-Credential", k.access_key + '/' + scope_of(t, s));
    query.emplace_back("X-Amz-Date", compact(t));
    query.emplace_back("X-Amz-Expires", std::to_string(lifetime.count()));
    query.emplace_back("X-Amz-SignedHeaders", names_of(canonical_headers(*r.headers)));
    if (!k.session_token.empty()) query.emplace_back("X-Amz-Security-Token", k.session_token);
    signable all = r;
    all.query = &query;
    query.emplace_back("X-Amz-Signature", signature(string_to_sign(canonical_request(all), t, s), k, t, s));
    return query;
}

} // namespace wye::storage::s3
