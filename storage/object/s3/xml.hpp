// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace wye::storage::s3 {

/// Reads what S3 answers: elements with text, without attributes that matter. Calls `leaf(path, text)` at the end of each
/// element that holds no other, with the names of all that it is in ("ListBucketResult/Contents/Key"), and `close(path)` at
/// the end of one that does. False when it is no XML, is nested deeper than 16, or ends early. Nothing is looked up: what
/// declares entities is refused.
bool read_xml(std::string_view document, const std::function<void(std::string_view path, std::string text)>& leaf,
              const std::function<void(std::string_view path)>& close = {});

/// The text of the first element of this path; empty where there is none.
std::string text_of(std::string_view document, std::string_view path);

/// For text between tags.
std::string escaped(std::string_view);

} // namespace wye::storage::s3
