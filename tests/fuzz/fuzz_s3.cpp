// SPDX-License-Identifier: Apache-2.0
// What servers say to the S3 driver beside HTTP, which Beast reads: XML, dates, numbers in base64, keys in percent.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "encoding.hpp"
#include "xml.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    using namespace wye::storage::s3;
    const std::string_view text{reinterpret_cast<const char*>(data), size};
    std::size_t leaves = 0;
    const auto leaf = [&](std::string_view path, std::string value) {
        ++leaves;
        // Nothing grows: an entity is never shorter than what it stands for.
        if (path.size() > size || value.size() > size) std::abort();
    };
    if (read_xml(text, leaf) && leaves == 0) std::abort();
    if (const auto plain = unpercent(text); plain && unpercent(percent(*plain, false)) != plain) std::abort();
    if (const auto word = read_base64_word(text); word && read_base64_word(base64(*word)) != word) std::abort();
    if (const auto time = read_http_date(text)) compact(*time);
    if (const auto time = read_iso_date(text)) compact(*time);
    return 0;
}
