// SPDX-License-Identifier: Apache-2.0
// Asio's implementation, compiled once for everyone who links with wye.
#include <boost/asio/impl/src.hpp>
