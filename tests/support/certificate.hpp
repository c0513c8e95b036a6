// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdio>
#include <memory>
#include <stdexcept>
#include <string>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

namespace wye::testing {

/// Writes a key and a certificate that it signs itself, good for these names ("IP:127.0.0.1", "DNS:localhost") for an hour,
/// or until so many seconds from now.
inline void make_certificate(const std::string& certificate, const std::string& key, const std::string& names,
                             long good_for = 3600)
{
    const auto must = [](bool well) {
        if (!well) throw std::runtime_error{"OpenSSL makes no certificate"};
    };
    const std::unique_ptr<EVP_PKEY, void (*)(EVP_PKEY*)> pair{::EVP_PKEY_Q_keygen(nullptr, nullptr, "EC", "P-256"), ::EVP_PKEY_free};
    const std::unique_ptr<X509, void (*)(X509*)> x{::X509_new(), ::X509_free};
    must(pair && x);
    ::X509_set_version(x.get(), 2);
    ::ASN1_INTEGER_set(::X509_get_serialNumber(x.get()), 1);
    ::X509_gmtime_adj(::X509_getm_notBefore(x.get()), -7200);
    ::X509_gmtime_adj(::X509_getm_notAfter(x.get()), good_for);
    ::X509_set_pubkey(x.get(), pair.get());
    X509_NAME* const name = ::X509_get_subject_name(x.get());
    const std::string common = "wye test";
    ::X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>(common.c_str()), -1, -1, 0);
    ::X509_set_issuer_name(x.get(), name);
    X509_EXTENSION* const alternative = ::X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name, names.c_str());
    must(alternative);
    ::X509_add_ext(x.get(), alternative, -1);
    ::X509_EXTENSION_free(alternative);
    must(::X509_sign(x.get(), pair.get(), ::EVP_sha256()) > 0);

    const auto write = [&](const std::string& path, auto what) {
        const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file{std::fopen(path.c_str(), "w"), std::fclose};
        must(file && what(file.get()) == 1);
    };
    write(certificate, [&](std::FILE* f) { return ::PEM_write_X509(f, x.get()); });
    write(key, [&](std::FILE* f) { return ::PEM_write_PrivateKey(f, pair.get(), nullptr, nullptr, 0, nullptr, nullptr); });
}

} // namespace wye::testing
