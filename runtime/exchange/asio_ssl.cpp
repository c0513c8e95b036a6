// SPDX-License-Identifier: Apache-2.0
// Asio's TLS, compiled once for everyone who links with wye.
#include <boost/asio/ssl/impl/src.hpp>
