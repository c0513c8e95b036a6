// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <exception>
#include <memory>
#include <string>

#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>

#include "raw_file.hpp"

namespace perf {

namespace {

/// What the command prints; empty when it fails.
std::string output_of(const std::string& command)
{
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> pipe{::popen(command.c_str(), "re"), &::pclose};
    std::string text;
    if (!pipe) return text;
    char buffer[4096];
    while (const std::size_t n = std::fread(buffer, 1, sizeof buffer, pipe.get())) text.append(buffer, n);
    return text;
}

std::string command_for(const load& l, const test_file& file)
{
    std::string command = "fio --name=perf --output-format=json --runtime=1 --time_based=1 --gtod_reduce=1"
                          " --ioengine=io_uring --fixedbufs=1 --registerfiles=1 --norandommap=1"
                          " --fallocate=none --allow_file_create=0 --invalidate=0";
    command += " --filename=" + file.path();
    command += " --size=" + std::to_string(file.size());
    command += l.write ? " --rw=randwrite" : " --rw=randread";
    command += l.direct ? " --direct=1" : " --direct=0";
    command += " --bs=" + std::to_string(l.bytes);
    command += " --iodepth=" + std::to_string(l.depth);
    return command + " 2>/dev/null";
}

} // namespace

std::optional<double> run_fio(const load& l, const test_file& file)
{
    const std::string text = output_of(command_for(l, file));
    const std::size_t begin = text.find('{');
    if (begin == text.npos) return {};
    try {
        const boost::json::value v = boost::json::parse(text.substr(begin));
        const auto& side = v.at("jobs").at(0).at(l.write ? "write" : "read");
        return side.at("bw_bytes").to_number<double>() / 1e6;
    } catch (const std::exception&) {
        return {};
    }
}

} // namespace perf
