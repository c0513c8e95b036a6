// SPDX-License-Identifier: Apache-2.0
#include "raw_object.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include <curl/curl.h>

namespace perf {

struct raw_client::slot {
    CURL* easy = nullptr;
    std::byte* memory = nullptr;
    std::size_t done = 0, bytes = 0;
    std::string url, range;
};

namespace {

template <class Slot>
std::size_t take(char* data, std::size_t, std::size_t n, void* to)
{
    auto& s = *static_cast<Slot*>(to);
    if (n > s.bytes - s.done) return 0;
    std::memcpy(s.memory + s.done, data, n);
    s.done += n;
    return n;
}

template <class Slot>
std::size_t give(char* to, std::size_t, std::size_t room, void* from)
{
    auto& s = *static_cast<Slot*>(from);
    const std::size_t n = std::min(room, s.bytes - s.done);
    std::memcpy(to, s.memory + s.done, n);
    s.done += n;
    return n;
}

std::size_t ignore(char*, std::size_t, std::size_t n, void*) { return n; }

} // namespace

raw_client::raw_client(std::string endpoint, std::string certificate, requests what, std::span<std::byte> memory)
    : endpoint_{std::move(endpoint)}, what_{what}, slots_(what.connections), multi_{::curl_multi_init()}
{
    for (std::size_t i = 0; i < slots_.size(); ++i) {
        slot& s = slots_[i];
        s.easy = ::curl_easy_init();
        s.memory = memory.data() + i * what_.bytes;
        s.bytes = what_.bytes;
        ::curl_easy_setopt(s.easy, CURLOPT_PRIVATE, &s);
        ::curl_easy_setopt(s.easy, CURLOPT_HTTP_VERSION, long{CURL_HTTP_VERSION_1_1});
        ::curl_easy_setopt(s.easy, CURLOPT_PROXY, "");
        ::curl_easy_setopt(s.easy, CURLOPT_FAILONERROR, 1L);
        ::curl_easy_setopt(s.easy, CURLOPT_CAINFO, certificate.c_str());
        ::curl_easy_setopt(s.easy, CURLOPT_WRITEDATA, &s);
        ::curl_easy_setopt(s.easy, CURLOPT_READDATA, &s);
        if (what_.put) {
            ::curl_easy_setopt(s.easy, CURLOPT_UPLOAD, 1L);
            ::curl_easy_setopt(s.easy, CURLOPT_EXPECT_100_TIMEOUT_MS, 1L);
            ::curl_easy_setopt(s.easy, CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(what_.bytes));
            ::curl_easy_setopt(s.easy, CURLOPT_READFUNCTION, &give<slot>);
            ::curl_easy_setopt(s.easy, CURLOPT_WRITEFUNCTION, &ignore);
            static curl_slist* const plain = ::curl_slist_append(nullptr, "Expect:"); // no 100-continue
            ::curl_easy_setopt(s.easy, CURLOPT_HTTPHEADER, plain);
        } else {
            ::curl_easy_setopt(s.easy, CURLOPT_WRITEFUNCTION, &take<slot>);
        }
    }
}

raw_client::~raw_client()
{
    for (slot& s : slots_) ::curl_easy_cleanup(s.easy);
    ::curl_multi_cleanup(multi_);
}

void raw_client::use_buffers(long bytes)
{
    for (slot& s : slots_) ::curl_easy_setopt(s.easy, what_.put ? CURLOPT_UPLOAD_BUFFERSIZE : CURLOPT_BUFFERSIZE, bytes);
}

void raw_client::begin(slot& s, std::uint64_t offset)
{
    s.done = 0;
    if (what_.put) {
        s.url = endpoint_ + "/bucket/raw" + std::to_string(&s - slots_.data());
    } else {
        s.url = endpoint_ + "/bucket/data";
        s.range = std::to_string(offset) + '-' + std::to_string(offset + what_.bytes - 1);
        ::curl_easy_setopt(s.easy, CURLOPT_RANGE, s.range.c_str());
    }
    ::curl_easy_setopt(s.easy, CURLOPT_URL, s.url.c_str());
    ::curl_multi_add_handle(multi_, s.easy);
}

void raw_client::run(std::span<const std::uint64_t> offsets)
{
    std::size_t next = 0, ended = 0;
    for (slot& s : slots_)
        if (next < offsets.size()) begin(s, offsets[next++]);
    while (ended < offsets.size()) {
        int running = 0, left = 0;
        if (::curl_multi_perform(multi_, &running) != CURLM_OK) throw std::runtime_error{"libcurl fails"};
        bool any = false;
        while (const CURLMsg* m = ::curl_multi_info_read(multi_, &left)) {
            slot* s = nullptr;
            ::curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &s);
            if (m->data.result != CURLE_OK || s->done != s->bytes)
                throw std::runtime_error{std::string{"libcurl: "} + ::curl_easy_strerror(m->data.result)};
            ::curl_multi_remove_handle(multi_, s->easy);
            ++ended;
            any = true;
            if (next < offsets.size()) begin(*s, offsets[next++]);
        }
        if (!any) ::curl_multi_poll(multi_, nullptr, 0, 1000, nullptr);
    }
}

} // namespace perf
