// SPDX-License-Identifier: Apache-2.0
#include "tls.hpp"

#include <string_view>

#include <boost/asio/ip/address.hpp>
#include <boost/asio/ssl/host_name_verification.hpp>

namespace wye::detail {

namespace ssl = boost::asio::ssl;

namespace {

ssl::context context_of(const tls_options& o, long oldest)
{
    ssl::context c{ssl::context::tls};
    ::SSL_CTX_ctrl(c.native_handle(), SSL_CTRL_SET_MIN_PROTO_VERSION, oldest, nullptr);
    // Nothing is resumed: every connection proves everything anew.
    ::SSL_CTX_ctrl(c.native_handle(), SSL_CTRL_SET_SESS_CACHE_MODE, SSL_SESS_CACHE_OFF, nullptr);
    ::SSL_CTX_set_num_tickets(c.native_handle(), 0);
    if (!o.certificate.empty()) c.use_certificate_chain_file(o.certificate);
    if (!o.key.empty()) c.use_private_key_file(o.key, ssl::context::pem);
    if (!o.authorities.empty()) c.load_verify_file(o.authorities);
    return c;
}

} // namespace

ssl::context serving_context(const tls_options& o)
{
    if (o.certificate.empty() || o.key.empty())
        throw system_error(boost::system::errc::make_error_code(boost::system::errc::invalid_argument),
                           "serving TLS needs a certificate and its key");
    ssl::context c = context_of(o, TLS1_3_VERSION);
    if (!o.authorities.empty()) c.set_verify_mode(ssl::verify_peer | ssl::verify_fail_if_no_peer_cert);
    return c;
}

ssl::context calling_context(const tls_options& o, long oldest)
{
    ssl::context c = context_of(o, oldest);
    if (o.authorities.empty()) c.set_default_verify_paths();
    c.set_verify_mode(o.verify ? ssl::verify_peer : ssl::verify_none);
    return c;
}

void expect_host(tls_stream& s, const std::string& host)
{
    error_code no_address;
    boost::asio::ip::make_address(host, no_address);
    if (no_address) { // addresses have no place in it
        std::string name = host;
        ::SSL_ctrl(s.native_handle(), SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name, name.data());
    }
    s.set_verify_callback(ssl::host_name_verification{host});
}

wire::digest session_of(tls_stream& s)
{
    constexpr std::string_view label = "EXPORTER-wye-side-channel";
    wire::digest out{};
    if (::SSL_export_keying_material(s.native_handle(), reinterpret_cast<unsigned char*>(out.data()), out.size(),
                                     label.data(), label.size(), nullptr, 0, 0) != 1)
        throw system_error(boost::system::errc::make_error_code(boost::system::errc::protocol_error), "TLS exporter");
    return out;
}

} // namespace wye::detail
