// SPDX-License-Identifier: Apache-2.0
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>

#include <sys/utsname.h>

#include "report.hpp"

namespace perf {

namespace {

std::string processor()
{
    std::ifstream in("/proc/cpuinfo");
    for (std::string line; std::getline(in, line);)
        if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
    return "unknown";
}

/// The mount that holds `directory`: "ext4 on /dev/nvme0n1".
std::string filesystem_of(const std::string& directory)
{
    const std::string place = std::filesystem::absolute(directory).lexically_normal().string();
    std::ifstream in("/proc/self/mounts");
    std::string best, found = "unknown";
    for (std::string line; std::getline(in, line);) {
        std::istringstream fields(line);
        std::string device, mount, type;
        fields >> device >> mount >> type;
        const std::string prefix = mount == "/" ? mount : mount + '/';
        if ((place + '/').starts_with(prefix) && mount.size() >= best.size()) {
            best = mount;
            found = type + " on " + device;
        }
    }
    return found;
}

#if defined(__clang__)
constexpr const char* compiler = "clang " __clang_version__;
#else
constexpr const char* compiler = "g++ " __VERSION__;
#endif

} // namespace

boost::json::object describe_machine(const std::string& directory)
{
    utsname kernel{};
    uname(&kernel);
    return {{"cpu", processor()},
            {"cores", std::thread::hardware_concurrency()},
            {"kernel", std::string(kernel.sysname) + " " + kernel.release},
            {"compiler", compiler},
            {"build", WYE_BUILD_TYPE},
            {"filesystem", filesystem_of(directory)}};
}

} // namespace perf
