// SPDX-License-Identifier: Apache-2.0
#include "support/fake_s3.hpp"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <set>
#include <stdexcept>
#include <thread>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace wye::testing {

namespace {

using query = std::map<std::string, std::string>;

std::string unquoted(const std::string& text)
{
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '%' && i + 2 < text.size()) {
            out += static_cast<char>(std::stoi(text.substr(i + 1, 2), nullptr, 16));
            i += 2;
        } else {
            out += text[i];
        }
    }
    return out;
}

std::string quoted(const std::string& text)
{
    std::string out;
    char hex[4];
    for (const char c : text) {
        if (std::isalnum(static_cast<unsigned char>(c)) || c == '/' || c == '-') out += c;
        else std::snprintf(hex, sizeof hex, "%%%02X", static_cast<unsigned char>(c)), out += hex;
    }
    return out;
}

query query_of(const std::string& target)
{
    query q;
    const auto mark = target.find('?');
    if (mark == target.npos) return q;
    std::string rest = target.substr(mark + 1);
    while (!rest.empty()) {
        const auto end = std::min(rest.find('&'), rest.size());
        const std::string one = rest.substr(0, end);
        rest.erase(0, end + 1);
        const auto equals = std::min(one.find('='), one.size());
        q[unquoted(one.substr(0, equals))] = equals < one.size() ? unquoted(one.substr(equals + 1)) : "";
    }
    return q;
}

std::string text_between(const std::string& text, const std::string& before, const std::string& after, std::size_t& at)
{
    const auto begin = text.find(before, at);
    if (begin == text.npos) return {};
    const auto end = text.find(after, begin + before.size());
    at = end;
    return text.substr(begin + before.size(), end - begin - before.size());
}

std::string answer(const std::string& status, const std::string& body, const std::string& fields = {}, bool head = false)
{
    return "HTTP/1.1 " + status + "\r\nx-amz-request-id: fake-1\r\n" + fields + "Content-Length: " +
           std::to_string(body.size()) + "\r\n\r\n" + (head ? std::string{} : body);
}

std::string refusal(const std::string& status, const std::string& code, bool head = false)
{
    return answer(status, "<?xml version=\"1.0\"?><Error><Code>" + code + "</Code><Message>said so</Message></Error>", {}, head);
}

} // namespace

struct fake_s3::state {
    struct upload {
        std::string key;
        std::map<int, std::string> parts;
        std::map<std::string, std::string> kept;
    };

    mutable std::mutex mutex;
    int door = -1;
    std::uint16_t port = 0;
    bool sums = false;
    std::atomic<bool> over{false};
    std::map<std::string, object> objects;
    std::map<std::string, upload> uploads;
    std::vector<request> requests;
    std::vector<trouble> troubles;
    unsigned accepted = 0, next = 0;
    std::set<int> open;
    std::vector<std::thread> threads;
    std::thread listener;

    void listen(fake_s3& self);
    void serve(fake_s3& self, int fd);
    bool serve_one(fake_s3& self, int fd, std::string& in);
    bool wait(int fd) const;
    std::string act(const request&);
    std::string get(const request&, const std::string& key, bool head);
    std::string list(query);
    std::string in_parts(const request&, const std::string& key, query);
    std::string remove_several(const request&);
    std::string new_etag() { return "\"etag-" + std::to_string(++next) + "\""; }
};

fake_s3::fake_s3() : state_{std::make_shared<state>()}
{
    state& s = *state_;
    s.door = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in here{};
    here.sin_family = AF_INET;
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof here;
    if (s.door < 0 || ::bind(s.door, reinterpret_cast<sockaddr*>(&here), sizeof here) != 0 || ::listen(s.door, 64) != 0 ||
        ::getsockname(s.door, reinterpret_cast<sockaddr*>(&here), &size) != 0)
        throw std::runtime_error{"no port for a server"};
    s.port = ntohs(here.sin_port);
    s.listener = std::thread{[this, &s] { s.listen(*this); }};
}

fake_s3::~fake_s3()
{
    state& s = *state_;
    s.over = true;
    s.listener.join();
    ::close(s.door);
    for (std::thread& t : s.threads) t.join();
}

std::uint16_t fake_s3::port() const noexcept { return state_->port; }
void fake_s3::plan(trouble t)
{
    const std::lock_guard lock{state_->mutex};
    state_->troubles.push_back(std::move(t));
}
void fake_s3::keep_sums(bool on)
{
    const std::lock_guard lock{state_->mutex};
    state_->sums = on;
}
std::map<std::string, fake_s3::object> fake_s3::objects() const
{
    const std::lock_guard lock{state_->mutex};
    return state_->objects;
}
void fake_s3::put(const std::string& key, const std::string& bytes)
{
    const std::lock_guard lock{state_->mutex};
    state_->objects[key] = {bytes, state_->new_etag(), {}};
}
void fake_s3::flip_a_bit(const std::string& key, std::size_t at)
{
    const std::lock_guard lock{state_->mutex};
    char& byte = state_->objects.at(key).bytes.at(at);
    byte = static_cast<char>(byte ^ 8);
}
std::size_t fake_s3::uploads() const
{
    const std::lock_guard lock{state_->mutex};
    return state_->uploads.size();
}
std::vector<fake_s3::request> fake_s3::requests() const
{
    const std::lock_guard lock{state_->mutex};
    return state_->requests;
}
void fake_s3::forget_requests()
{
    const std::lock_guard lock{state_->mutex};
    state_->requests.clear();
}
unsigned fake_s3::connections() const
{
    const std::lock_guard lock{state_->mutex};
    return state_->accepted;
}
unsigned fake_s3::open() const
{
    const std::lock_guard lock{state_->mutex};
    return static_cast<unsigned>(state_->open.size());
}

bool fake_s3::state::wait(int fd) const
{
    while (!over) {
        pollfd p{fd, POLLIN, 0};
        if (::poll(&p, 1, 20) > 0) return true;
    }
    return false;
}

void fake_s3::state::listen(fake_s3& self)
{
    while (wait(door)) {
        const int fd = ::accept4(door, nullptr, nullptr, SOCK_CLOEXEC);
        if (fd < 0) continue;
        const std::lock_guard lock{mutex};
        ++accepted;
        open.insert(fd);
        threads.emplace_back([this, &self, fd] { serve(self, fd); });
    }
}

void fake_s3::state::serve(fake_s3& self, int fd)
{
    std::string in;
    while (serve_one(self, fd, in)) {}
    const std::lock_guard lock{mutex};
    open.erase(fd);
    ::close(fd);
}

/// One request; false when the connection is to be closed.
bool fake_s3::state::serve_one(fake_s3& self, int fd, std::string& in)
{
    std::vector<char> buffer(256 * 1024);
    const auto more = [&] {
        if (!wait(fd)) return false;
        const ssize_t n = ::recv(fd, buffer.data(), buffer.size(), 0);
        if (n > 0) in.append(buffer.data(), static_cast<std::size_t>(n));
        return n > 0;
    };
    while (in.find("\r\n\r\n") == in.npos)
        if (!more()) return false;
    request r;
    std::size_t at = in.find("\r\n");
    const std::string line = in.substr(0, at);
    r.method = line.substr(0, line.find(' '));
    r.target = line.substr(r.method.size() + 1, line.rfind(' ') - r.method.size() - 1);
    const std::size_t end = in.find("\r\n\r\n");
    while (at < end) {
        const std::size_t next_line = in.find("\r\n", at + 2);
        const std::string field = in.substr(at + 2, next_line - at - 2);
        std::string name = field.substr(0, field.find(':'));
        std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
        r.headers[name] = field.substr(std::min(field.size(), field.find(':') + 2));
        at = next_line;
    }
    in.erase(0, end + 4);

    trouble met;
    {
        const std::lock_guard lock{mutex};
        const std::string what = r.method + ' ' + r.target;
        for (trouble& t : troubles) {
            if (t.times == 0 || what.find(t.match) == what.npos) continue;
            --t.times;
            met = t;
            break;
        }
    }
    if (met.unread) {
        ::send(fd, met.answer.data(), met.answer.size(), MSG_NOSIGNAL);
        ::shutdown(fd, SHUT_WR);
        while (more()) in.clear();
        return false;
    }
    const std::size_t length = r.headers.count("content-length") ? std::stoul(r.headers["content-length"]) : 0;
    while (in.size() < length)
        if (!more()) return false;
    r.body = in.substr(0, length);
    in.erase(0, length);
    if (met.first) met.first(self);
    std::string out;
    {
        const std::lock_guard lock{mutex};
        requests.push_back(r);
        out = met.answer.empty() ? act(r) : met.answer;
    }
    const bool cut = met.cut != trouble::never;
    if (cut) out.resize(std::min(out.size(), met.cut));
    for (std::size_t sent = 0; sent < out.size();) {
        const ssize_t n = ::send(fd, out.data() + sent, out.size() - sent, MSG_NOSIGNAL);
        if (n <= 0) return false;
        sent += static_cast<std::size_t>(n);
    }
    if (!cut && met.answer.empty()) return true;
    if (cut && met.how == trouble::end::stall) {
        while (more()) in.clear(); // says nothing, until the other side goes
        return false;
    }
    if (met.how == trouble::end::reset) {
        const linger at_once{1, 0};
        ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    }
    return false;
}

std::string fake_s3::state::act(const request& r)
{
    const std::string path = unquoted(r.target.substr(0, r.target.find('?')));
    const auto slash = path.find('/', 1);
    const std::string key = slash == path.npos ? std::string{} : path.substr(slash + 1);
    query q = query_of(r.target);
    if (q.count("list-type")) return list(q);
    if (q.count("delete")) return remove_several(r);
    if (q.count("uploads") || q.count("uploadId")) return in_parts(r, key, q);
    if (r.method == "GET" || r.method == "HEAD") return get(r, key, r.method == "HEAD");
    if (r.method == "DELETE") {
        objects.erase(key);
        return "HTTP/1.1 204 No Content\r\n\r\n";
    }
    if (r.method != "PUT") return refusal("405 Method Not Allowed", "MethodNotAllowed");
    const auto there = objects.find(key);
    if (r.headers.count("if-none-match") && there != objects.end()) return refusal("412 Precondition Failed", "PreconditionFailed");
    if (const auto tag = r.headers.find("if-match"); tag != r.headers.end()) {
        if (there == objects.end()) return refusal("404 Not Found", "NoSuchKey");
        if (there->second.etag != tag->second) return refusal("412 Precondition Failed", "PreconditionFailed");
    }
    object o{r.body, new_etag(), {}};
    for (const auto& [name, value] : r.headers)
        if (name.starts_with("x-amz-meta-") || name == "x-amz-checksum-crc32c") o.kept[name] = value;
    objects[key] = o;
    return answer("200 OK", "", "ETag: " + o.etag + "\r\n");
}

std::string fake_s3::state::get(const request& r, const std::string& key, bool head)
{
    const auto it = objects.find(key);
    if (it == objects.end()) return refusal("404 Not Found", "NoSuchKey", head);
    const object& o = it->second;
    const auto wanted = r.headers.find("if-match");
    if (wanted != r.headers.end() && wanted->second != o.etag) return refusal("412 Precondition Failed", "PreconditionFailed", head);
    std::string fields = "ETag: " + o.etag + "\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
    for (const auto& [name, value] : o.kept) fields += name + ": " + value + "\r\n";
    const auto range = r.headers.find("range");
    if (range == r.headers.end()) return answer("200 OK", o.bytes, fields, head);
    std::size_t at = 0;
    const std::size_t first = std::stoul(text_between(range->second, "bytes=", "-", at));
    std::size_t last = std::stoul(range->second.substr(range->second.find('-') + 1));
    if (first >= o.bytes.size())
        return answer("416 Range Not Satisfiable", "", "Content-Range: bytes */" + std::to_string(o.bytes.size()) + "\r\n", head);
    last = std::min(last, o.bytes.size() - 1);
    fields += "Content-Range: bytes " + std::to_string(first) + '-' + std::to_string(last) + '/' +
              std::to_string(o.bytes.size()) + "\r\n";
    return answer("206 Partial Content", o.bytes.substr(first, last - first + 1), fields, head);
}

std::string fake_s3::state::list(query q)
{
    const std::size_t most = q.count("max-keys") ? std::stoul(q["max-keys"]) : 1000;
    std::string text = "<?xml version=\"1.0\"?>\n<ListBucketResult xmlns=\"x\"><EncodingType>url</EncodingType>";
    std::size_t n = 0;
    bool truncated = false;
    for (auto it = objects.upper_bound(q["start-after"]); it != objects.end(); ++it) {
        if (!it->first.starts_with(q["prefix"])) continue;
        if (n++ == most) {
            truncated = true;
            break;
        }
        text += "<Contents><Key>" + quoted(it->first) + "</Key><LastModified>2009-10-12T17:50:30.000Z</LastModified><ETag>" +
                it->second.etag + "</ETag><Size>" + std::to_string(it->second.bytes.size()) + "</Size></Contents>";
    }
    text += "<IsTruncated>" + std::string{truncated ? "true" : "false"} + "</IsTruncated></ListBucketResult>";
    return answer("200 OK", text);
}

std::string fake_s3::state::in_parts(const request& r, const std::string& key, query q)
{
    if (q.count("uploads") && r.method == "POST") {
        const std::string id = "upload+/=" + std::to_string(++next);
        uploads[id].key = key;
        for (const auto& [name, value] : r.headers)
            if (name.starts_with("x-amz-meta-")) uploads[id].kept[name] = value;
        return answer("200 OK", "<InitiateMultipartUploadResult><UploadId>" + id + "</UploadId></InitiateMultipartUploadResult>",
                      sums ? "x-amz-checksum-algorithm: CRC32C\r\n" : "");
    }
    if (q.count("uploads")) {
        std::string text = "<ListMultipartUploadsResult>";
        for (const auto& [id, u] : uploads)
            text += "<Upload><Key>" + u.key + "</Key><UploadId>" + id + "</UploadId><Initiated>2099-01-01T00:00:00.000Z</Initiated></Upload>";
        return answer("200 OK", text + "</ListMultipartUploadsResult>");
    }
    const auto it = uploads.find(q["uploadId"]);
    if (it == uploads.end()) return refusal("404 Not Found", "NoSuchUpload");
    if (r.method == "GET") return answer("200 OK", "<ListPartsResult/>");
    if (r.method == "DELETE") {
        uploads.erase(it);
        return "HTTP/1.1 204 No Content\r\n\r\n";
    }
    if (r.method == "PUT") {
        it->second.parts[std::stoi(q["partNumber"])] = r.body;
        return answer("200 OK", "", "ETag: \"part-" + q["partNumber"] + "\"\r\n");
    }
    object o{{}, new_etag(), it->second.kept};
    for (const auto& [number, bytes] : it->second.parts) {
        const bool last = number == it->second.parts.rbegin()->first;
        if (!last && bytes.size() < 5 * 1024 * 1024) return refusal("400 Bad Request", "EntityTooSmall");
        o.bytes += bytes;
    }
    const auto sum = r.headers.find("x-amz-checksum-crc32c");
    if (sums && sum != r.headers.end()) o.kept["x-amz-checksum-crc32c"] = sum->second;
    objects[key] = o;
    uploads.erase(it);
    return answer("200 OK", "<CompleteMultipartUploadResult><ETag>" + o.etag + "</ETag></CompleteMultipartUploadResult>");
}

std::string fake_s3::state::remove_several(const request& r)
{
    for (std::size_t at = 0;;) {
        std::string key = text_between(r.body, "<Key>", "</Key>", at);
        if (key.empty()) break;
        for (std::size_t i = 0; (i = key.find("&amp;", i)) != key.npos; ++i) key.replace(i, 5, "&");
        objects.erase(key);
    }
    return answer("200 OK", "<DeleteResult></DeleteResult>");
}

} // namespace wye::testing
