// SPDX-License-Identifier: Apache-2.0
// AWS's own vectors for Signature Version 4, from the folder that WYE_SIGV4_VECTORS names, else ../shared/data/sigv4/v4
// beside the checkout: sigv4_vectors FOLDER. Header and query signing. Ends with 77 where there are none.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>

#include <boost/json/parse.hpp>

#include "signer.hpp"

namespace {

namespace fs = std::filesystem;
using namespace wye::storage::s3;

std::string text_of(const fs::path& p)
{
    std::ifstream in{p, std::ios::binary};
    if (!in) throw std::runtime_error{"cannot read " + p.string()};
    return {std::istreambuf_iterator<char>{in}, {}};
}

struct request {
    std::string method, path, body;
    fields query, headers;
};

std::string plain(const std::string& text) { return unpercent(text).value_or(text); }

/// "GET /path?query HTTP/1.1", lines of headers, which may go on in the next line, and a body.
request read_request(const fs::path& p)
{
    std::istringstream in{text_of(p)};
    request r;
    std::string line;
    std::getline(in, line);
    r.method = line.substr(0, line.find(' '));
    std::string target = line.substr(r.method.size() + 1);
    target.resize(target.rfind(" HTTP/"));
    const auto mark = target.find('?');
    r.path = plain(target.substr(0, mark));
    std::istringstream query{mark == target.npos ? std::string{} : target.substr(mark + 1)};
    for (std::string one; std::getline(query, one, '&');) {
        const auto equals = one.find('=');
        r.query.emplace_back(plain(one.substr(0, equals)), equals == one.npos ? std::string{} : plain(one.substr(equals + 1)));
    }
    while (std::getline(in, line) && !line.empty()) {
        const auto colon = line.find(':');
        if (line[0] == ' ' || line[0] == '\t') r.headers.back().second += '\n' + line;
        else r.headers.emplace_back(line.substr(0, colon), line.substr(colon + 1));
    }
    r.body = {std::istreambuf_iterator<char>{in}, {}};
    return r;
}

int failures = 0;

void equal(const std::string& where, const std::string& ours, const fs::path& theirs)
{
    const std::string wanted = text_of(theirs);
    if (ours == wanted) return;
    ++failures;
    std::cout << where << " differs from " << theirs.filename().string() << "\n--- ours\n" << ours << "\n--- theirs\n"
              << wanted << '\n';
}

/// S3 leaves paths as they are; vectors of a path that other services would tidy first are not its.
bool tidied(const request& r, bool normalize)
{
    return normalize && (r.path.find("//") != r.path.npos || r.path.find("/.") != r.path.npos);
}

bool check(const fs::path& at)
{
    const auto context = boost::json::parse(text_of(at / "context.json")).as_object();
    const auto word = [](const boost::json::object& in, const char* name) {
        const auto* const v = in.if_contains(name);
        return v ? std::string{v->as_string()} : std::string{};
    };
    const auto truth = [&](const char* name) {
        const auto* const v = context.if_contains(name);
        return v && v->as_bool();
    };
    request r = read_request(at / "request.txt");
    if (tidied(r, truth("normalize"))) return false;

    const auto& given = context.at("credentials").as_object();
    const key_pair keys{word(given, "access_key_id"), word(given, "secret_access_key"), word(given, "token")};
    const std::string region = word(context, "region"), service = word(context, "service"), when = word(context, "timestamp");
    const signing_scope scope{region, service};
    const wall_time time = read_iso_date(when).value();
    const std::string payload = hex(sha256(r.body));
    const bool sends_token = !keys.session_token.empty() && !truth("omit_session_token");

    fields headers = r.headers;
    headers.emplace_back("X-Amz-Date", compact(time));
    if (sends_token) headers.emplace_back("X-Amz-Security-Token", keys.session_token);
    if (truth("sign_body")) headers.emplace_back("x-amz-content-sha256", payload);
    const signable in_header{r.method, r.path, &r.query, &headers, payload};
    const std::string name = at.filename().string();
    equal(name, canonical_request(in_header), at / "header-canonical-request.txt");
    equal(name, string_to_sign(canonical_request(in_header), time, scope), at / "header-string-to-sign.txt");
    const std::string authorized = authorization(in_header, keys, time, scope);
    equal(name, authorized.substr(authorized.rfind('=') + 1), at / "header-signature.txt");

    fields of_query = r.headers;
    key_pair for_query = keys;
    if (!sends_token) for_query.session_token.clear();
    const signable in_query{r.method, r.path, &r.query, &of_query, payload};
    const std::chrono::seconds lifetime{context.at("expiration_in_seconds").to_number<int>()};
    fields query = signed_query(in_query, for_query, time, lifetime, scope);
    const std::string signature = query.back().second;
    query.pop_back();
    const signable with_query{r.method, r.path, &query, &of_query, payload};
    equal(name, canonical_request(with_query), at / "query-canonical-request.txt");
    equal(name, signature, at / "query-signature.txt");
    return true;
}

} // namespace

int main(int argc, char** argv)
{
    const char* const named = std::getenv("WYE_SIGV4_VECTORS");
    const fs::path folder = named ? named : argc > 1 ? argv[1] : "";
    if (!fs::is_directory(folder)) {
        std::cout << "skipped: there are no vectors in '" << folder.string() << "' (WYE_SIGV4_VECTORS names another folder)\n";
        return 77;
    }
    int checked = 0, others = 0;
    for (const auto& e : fs::directory_iterator{folder})
        if (fs::exists(e.path() / "context.json")) ++(check(e.path()) ? checked : others);
    std::cout << checked << " vectors checked, " << others << " are of paths that other services tidy, " << failures
              << " differences\n";
    return checked > 0 && failures == 0 ? 0 : 1;
}
