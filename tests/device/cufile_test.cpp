// SPDX-License-Identifier: Apache-2.0
// cuFile's real library: that it is what this tree declares of it, and, where nvidia-fs is, that bytes arrive by it.
#define BOOST_TEST_MODULE cufile_device
#include <boost/test/unit_test.hpp>

#include <cstdio>
#include <vector>

#include <fcntl.h>
#include <unistd.h>

#include <wye/wye.hpp>

#include "api.hpp"
#include "ready.hpp"
#include "support/co_test.hpp"
#include "support/same.hpp"

using namespace wye;

namespace {

cuf::api library;

struct needs_library {
    needs_library()
    {
        std::string missing = cuf::open_libraries(library);
        if (missing.empty() && library.init(0) != 0) missing = "no GPU here";
        if (missing.empty()) return;
        std::printf("skipped: %s\n", missing.c_str());
        std::exit(77);
    }
};
BOOST_TEST_GLOBAL_FIXTURE(needs_library);

bool has_module() { return ::access("/proc/driver/nvidia-fs/version", F_OK) == 0; }

std::byte at_place(std::size_t i) { return static_cast<std::byte>(i * 7 + i / 4096); }

} // namespace

BOOST_AUTO_TEST_CASE(the_library_is_as_declared)
{
    if (library.set_parameter && library.get_parameter) {
        for (const bool on : {true, false}) {
            bool is = !on;
            BOOST_TEST(library.set_parameter(cuf::setting::allow_compatible, on).error == 0);
            BOOST_TEST(library.get_parameter(cuf::setting::allow_compatible, &is).error == 0);
            BOOST_TEST(is == on);
        }
    }
    const std::string why = cuf::make_ready(library);
    BOOST_TEST_MESSAGE("cuFile is real: " << (why.empty() ? "yes" : "no, " + why));
    BOOST_TEST(why.empty() == has_module());
    cuf::properties p{};
    if (library.driver_properties(&p).error != 0) return;
    BOOST_TEST_MESSAGE("nvidia-fs " << p.major << '.' << p.minor << ", at most " << p.most_direct << " at a time, does " << p.does);
    BOOST_TEST(p.most_direct != 0u);
    BOOST_TEST(p.most_direct <= 1u << 30);
    BOOST_TEST(p.most_direct % 4 == 0u);
}

BOOST_AUTO_TEST_CASE(a_file_is_taken_or_refused)
{
    cuf::make_ready(library);
    const int fd = ::open("cufile_device_test.file", O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0600);
    ::unlink("cufile_device_test.file");
    if (fd < 0) return;
    cuf::description d;
    d.descriptor = fd;
    cuf::file_handle h = nullptr;
    const cuf::status s = library.handle_register(&h, &d);
    BOOST_TEST_MESSAGE("registered: " << s.error);
    BOOST_TEST((s.error == 0 || (s.error > 5000 && s.error < 5100)));
    if (s.error == 0) library.handle_deregister(h);
    ::close(fd);
}

// There and back, of many sizes; straight where it is real, and what it is otherwise it says.
WYE_CO_TEST(bytes_arrive)
{
    if (!read_cuda().missing.empty()) co_return; // built without CUDA's headers
    wye::agent agent{rt, "gds"};
    agent.add(drivers::cuda());
    cufile_options o;
    o.mode = has_module() ? cufile_mode::always : cufile_mode::automatic;
    agent.add(drivers::cufile(o));
    constexpr std::size_t bytes = 64_MiB;
    std::vector<std::byte> host(bytes), back(bytes);
    for (std::size_t i = 0; i < bytes; ++i) host[i] = at_place(i);
    const gpu_memory from{bytes}, to{bytes};
    region up = co_await agent.register_memory(dram(host));
    region down = co_await agent.register_memory(dram(back));
    region source = co_await agent.register_memory(from.memory());
    region target = co_await agent.register_memory(to.memory());
    file_options temporary;
    temporary.temporary = true;
    file f = co_await agent.open_file("cufile_device_test.file", temporary);
    BOOST_TEST_MESSAGE(agent.explain(source, f.at(0, bytes)).to_string());
    BOOST_TEST_MESSAGE(agent.explain(f.at(0, bytes), target).to_string());
    co_await copy(up, source);
    std::uint64_t at = 0;
    for (std::uint64_t size = 1; at + size <= bytes; size = size < 4096 ? size * 8 - 1 : size * 2 + size % 8192) {
        co_await copy(source.at(at, size), f.at(at, size));
        co_await copy(f.at(at, size), target.at(at, size));
        at += size;
    }
    co_await copy(source.at(at, bytes - at), f.at(at, bytes - at));
    co_await copy(f.at(at, bytes - at), target.at(at, bytes - at));
    co_await copy(target, down);
    BOOST_TEST(testing::same(back, host));
    co_await copy(source, f.at(0, bytes));
    co_await copy(f.at(0, bytes), down);
    BOOST_TEST(testing::same(back, host));
}
