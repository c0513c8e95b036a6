// SPDX-License-Identifier: Apache-2.0
#include "errors.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <string>

#include <boost/asio/error.hpp>

namespace wye {

namespace {

// The place of a code is part of an error's value, within one version of the library.
constexpr std::array<std::string_view, 54> codes{
    "", "AccessDenied", "AccountProblem", "AllAccessDisabled", "AuthorizationHeaderMalformed", "AuthorizationQueryParametersError",
    "BadDigest", "BucketAlreadyExists", "ConditionalRequestConflict", "EntityTooLarge", "EntityTooSmall", "ExpiredToken",
    "Forbidden", "IncompleteBody", "InternalError", "InvalidAccessKeyId", "InvalidArgument", "InvalidBucketName",
    "InvalidDigest", "InvalidObjectState", "InvalidPart", "InvalidPartOrder", "InvalidRange", "InvalidRequest", "InvalidToken",
    "KeyTooLongError", "MalformedXML", "MetadataTooLarge", "MethodNotAllowed", "MissingContentLength", "NoSuchBucket",
    "NoSuchKey", "NoSuchUpload", "NotImplemented", "OperationAborted", "PermanentRedirect", "PreconditionFailed",
    "QuotaExceeded", "RequestExpired", "RequestTimeTooSkewed", "RequestTimeout", "ServiceUnavailable", "SignatureDoesNotMatch",
    "SlowDown", "TemporaryRedirect", "TooManyParts", "TooManyRequests", "UnexpectedContent", "XAmzContentSHA256Mismatch",
    "InvalidSecurity", "Unauthorized", "BadRequest", "NotFound", "ClientTokenConflict",
};

const char* what_of(s3_errc e) noexcept
{
    switch (e) {
    case s3_errc::name_unknown: return "the server's name has no address";
    case s3_errc::certificate: return "the server's certificate is not to be trusted";
    case s3_errc::tls: return "TLS failed";
    case s3_errc::bad_answer: return "the answer makes no sense";
    case s3_errc::no_credentials: return "nobody gave credentials";
    case s3_errc::proxy_refused: return "the proxy refused";
    case s3_errc::changed: return "the object was replaced meanwhile";
    }
    return "unknown";
}

class category final : public boost::system::error_category {
public:
    const char* name() const noexcept override { return "s3"; }
    std::string message(int value) const override
    {
        if (value < 256) return std::string{"s3: "} + what_of(static_cast<s3_errc>(value));
        std::string text = "s3: " + std::to_string(value / 256);
        const auto code = codes[std::min<std::size_t>(static_cast<std::size_t>(value % 256), codes.size() - 1)];
        if (!code.empty()) text.append(" ").append(code);
        return text;
    }
    boost::system::error_condition default_error_condition(int value) const noexcept override
    {
        namespace sys = boost::system::errc;
        switch (value / 256) {
        case 0: break;
        case 401: case 403: case 407: return sys::make_error_condition(sys::permission_denied);
        case 404: return sys::make_error_condition(sys::no_such_file_or_directory);
        case 405: case 501: return sys::make_error_condition(sys::not_supported);
        case 408: case 504: return sys::make_error_condition(sys::timed_out);
        case 409: case 412: return sys::make_error_condition(sys::file_exists);
        case 413: return sys::make_error_condition(sys::file_too_large);
        case 429: case 503: return sys::make_error_condition(sys::resource_unavailable_try_again);
        case 507: return sys::make_error_condition(sys::no_space_on_device);
        default: return sys::make_error_condition(value / 256 < 500 ? sys::invalid_argument : sys::io_error);
        }
        switch (static_cast<s3_errc>(value)) {
        case s3_errc::name_unknown: return sys::make_error_condition(sys::host_unreachable);
        case s3_errc::certificate:
        case s3_errc::no_credentials:
        case s3_errc::proxy_refused: return sys::make_error_condition(sys::permission_denied);
        default: return sys::make_error_condition(sys::protocol_error);
        }
    }
};

} // namespace

const boost::system::error_category& s3_category() noexcept
{
    static const category one;
    return one;
}

int s3_status(const error_code& e) noexcept
{
    if (e == errc::not_found) return 404;
    return e.category() == s3_category() ? e.value() / 256 : 0;
}

std::string s3_failure::to_string() const
{
    std::string text{operation};
    text.append(" ").append(bucket);
    if (!key.empty()) text.append("/").append(key);
    text.append(": ").append(status ? "HTTP " + std::to_string(status) : error.message());
    if (!code.empty()) text.append(" ").append(code);
    if (!request_id.empty()) text.append(", request ").append(request_id);
    if (tries > 1) text.append(", after ").append(std::to_string(tries)).append(" tries");
    if (!message.empty()) text.append(": ").append(message);
    // One line, whatever a server puts into it.
    std::replace_if(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 32; }, ' ');
    return text;
}

namespace storage::s3 {

error_code status_error(int status, std::string_view code) noexcept
{
    if (status == 404 && (code.empty() || code == "NoSuchKey" || code == "NotFound")) return errc::not_found;
    const auto it = std::find(codes.begin(), codes.end(), code);
    const auto number = it == codes.end() ? 0 : static_cast<int>(it - codes.begin());
    return {status * 256 + number, s3_category()};
}

bool worth_retrying(int status, std::string_view code) noexcept
{
    if (status == 429 || status == 408 || status >= 500) return status != 501 && status != 505 && status != 507;
    // Of a body that did not arrive as it was sent, too.
    return code == "RequestTimeout" || code == "SlowDown" || code == "IncompleteBody" || code == "BadDigest" ||
           code == "XAmzContentSHA256Mismatch" || code == "OperationAborted" || code == "ConditionalRequestConflict";
}

bool worth_retrying(const error_code& e) noexcept
{
    if (e == errc::short_transfer) return true;
    if (e.category() == object_category()) return e.value() != ENOMEM && e.value() != EMFILE && e.value() != ENFILE;
    return e == s3_errc::name_unknown || e == s3_errc::bad_answer || e == s3_errc::tls;
}

} // namespace storage::s3

} // namespace wye
