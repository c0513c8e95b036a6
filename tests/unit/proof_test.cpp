// SPDX-License-Identifier: Apache-2.0
#define BOOST_TEST_MODULE proof
#include <boost/test/unit_test.hpp>

#include <functional>
#include <string>
#include <vector>

#include <peers/proof.hpp>

using namespace wye::detail;

namespace {

handshake example()
{
    handshake h;
    h.name = "prefill-3";
    h.caller = {1, 2};
    h.called = {3, 4};
    h.caller_token = 5;
    h.called_token = 6;
    h.caller_nonce.fill(std::byte{7});
    h.called_nonce.fill(std::byte{8});
    return h;
}

std::string hex(const wire::digest& d)
{
    std::string s;
    for (const std::byte b : d) {
        s += "0123456789abcdef"[std::to_integer<unsigned>(b) >> 4];
        s += "0123456789abcdef"[std::to_integer<unsigned>(b) & 15];
    }
    return s;
}

} // namespace

// Python's hmac over what the transcript is documented to be gives the same.
BOOST_AUTO_TEST_CASE(known_proofs)
{
    BOOST_TEST(hex(prove("a secret", side::caller, example())) ==
               "f748a9fe730e6feb17ae83011c76fed27a0feb87eeff67958ea7b596dc0baffd");
    BOOST_TEST(hex(prove("a secret", side::called, example())) ==
               "fa27be4485ad558495765002752e4dae6b9aeb095f1ef7f70eef06232c0e92dd");
    BOOST_TEST(hex(prove({}, side::called, handshake{})) ==
               "d8ec8587b9607bb35cb65fbac57f21b4155476ff6f394eb62cfc4c2c066f4504");
    BOOST_TEST(hex(prove(std::string(200, 'x'), side::called, example())) ==
               "07eac6a1a397d0906d564507a049c4dcbc648f88890349727c0ada49ec68b1be");
}

BOOST_AUTO_TEST_CASE(whatever_differs_the_proof_differs)
{
    std::vector<std::function<void(handshake&)>> changes{
        [](handshake&) {},
        [](handshake& h) { h.name = "prefill-4"; },
        [](handshake& h) { h.name = "prefill-"; },
        [](handshake& h) { h.name = {}; },
        [](handshake& h) { h.caller.high ^= 1; },
        [](handshake& h) { h.caller.low ^= 1; },
        [](handshake& h) { h.called.high ^= 1; },
        [](handshake& h) { h.called.low ^= 1; },
        [](handshake& h) { std::swap(h.caller, h.called); },
        [](handshake& h) { h.caller_token ^= 1; },
        [](handshake& h) { h.called_token ^= 1; },
        [](handshake& h) { std::swap(h.caller_token, h.called_token); },
        [](handshake& h) { std::swap(h.caller_nonce, h.called_nonce); },
    };
    for (std::size_t i = 0; i < 16; ++i) {
        changes.push_back([i](handshake& h) { h.caller_nonce[i] ^= std::byte{0x80}; });
        changes.push_back([i](handshake& h) { h.called_nonce[i] ^= std::byte{0x80}; });
    }
    std::vector<wire::digest> proofs;
    for (const auto& change : changes)
        for (const side who : {side::caller, side::called})
            for (const char* const secret : {"a secret", "a Secret", ""}) {
                handshake h = example();
                change(h);
                proofs.push_back(prove(secret, who, h));
            }
    for (std::size_t a = 0; a < proofs.size(); ++a)
        for (std::size_t b = 0; b < proofs.size(); ++b) BOOST_REQUIRE(same(proofs[a], proofs[b]) == (a == b));
}

BOOST_AUTO_TEST_CASE(the_same_is_the_same_and_one_bit_is_not)
{
    wire::digest a{}, b{};
    BOOST_TEST(same(a, b));
    for (std::byte& c : b) {
        c = std::byte{1};
        BOOST_TEST(!same(a, b));
        c = {};
    }
}

BOOST_AUTO_TEST_CASE(random_bytes_fill_all_and_differ)
{
    fill_randomly({});
    for (const std::size_t n : {16u, 256u, 257u, 100'000u}) {
        std::vector<std::byte> a(n), b(n);
        fill_randomly(a);
        fill_randomly(b);
        BOOST_TEST((a != b));
        if (n < 1000) continue;
        // Each half of it, and each value in about its share: six deviations.
        std::vector<int> seen(256);
        for (const std::byte c : a) ++seen[std::to_integer<std::size_t>(c)];
        for (const int times : seen) BOOST_TEST(std::abs(times - 390) < 120);
    }
}
