// SPDX-License-Identifier: Apache-2.0
// Measures wye, and plain code on the same machine in the same run. See docs/performance.md.
#include <algorithm>
#include <array>
#include <exception>
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

#include <boost/json/serialize.hpp>

#include <options.hpp>

#include "report.hpp"

namespace {

constexpr std::array suites{
#ifdef WYE_HAS_FABRIC
    perf::suite{"fabric", "writes to another agent, on this machine and over libfabric", &perf::run_fabric},
    perf::suite{"rails", "the same over four unequal rails between two network namespaces (root)", &perf::run_rails},
#else
    perf::suite{"fabric", "writes to another agent of this machine", &perf::run_same_host},
#endif
#ifdef WYE_HAS_CUDA
    perf::suite{"cuda", "copies and scattered pages between DRAM and a GPU", &perf::run_cuda},
#endif
    perf::suite{"runtime", "what a copy, a batch and the loop cost, in time and memory", &perf::run_runtime},
    perf::suite{"file", "reads and writes of files, direct and cached", &perf::run_file},
#ifdef WYE_HAS_S3
    perf::suite{"object", "ranged reads and puts over HTTP and TLS, from nginx on loopback", &perf::run_object},
#endif
    perf::suite{"pipeline", "routes of two hops against the slower hop alone", &perf::run_pipeline},
    perf::suite{"sim", "how well many rails are used, in a simulated world of two large hosts",
                &perf::run_sim},
};

std::string usage()
{
    std::string text = "perf SUBCOMMAND [options]\n\n";
    for (const perf::suite& s : suites) {
        std::string name{s.name};
        name.resize(12, ' ');
        text.append("  ").append(name).append(s.what).append("\n");
    }
    return text + "\n"
                  "ratio is ours divided by raw: more is better where the unit is a rate (MB/s), less\n"
                  "where it is a cost (ns, bytes). Both are medians of slices taken turn and turn about;\n"
                  "the ratio is the median of the pairs' ratios.";
}

const perf::suite& find_suite(const std::vector<std::string>& words)
{
    if (words.size() != 1) throw samples::bad_usage{"one subcommand is needed; try --help"};
    const auto it = std::ranges::find(suites, words[0], &perf::suite::name);
    if (it == suites.end()) throw samples::bad_usage{"unknown subcommand '" + words[0] + "'; try --help"};
    return *it;
}

void measure(int argc, char** argv)
{
    perf::settings s;
    std::string against, json;
    samples::options options{usage()};
    options.add("against", against, "raw: measure plain code on the vendor's interface beside ours")
        .add("check-raw", s.check_raw, "file: measure the plain code beside fio, too")
        .add("polled", s.polled, "fabric: queues are polled, as the plain loop's are, and have no descriptor to sleep on")
        .add("seconds", s.seconds, "time for each case (2)")
        .add("filter", s.filter, "only cases whose name contains this")
        .add("json", json, "write the results to this file")
        .add("directory", s.directory, "where test files are made (/var/tmp)")
        .add("file-mib", s.file_mib, "size of each test file in MiB (512)")
        .add("vram", s.vram, "pipeline: gpu, or standin (standin)")
        .add("gather", s.gather, "cuda: how pages go: automatic, kernel, batch or copies (automatic)")
        .add("gather-threads", s.gather_threads, "cuda: of each block; 0: as the driver has it (0)")
        .add("gather-list-kib", s.gather_list_kib, "cuda: bytes of a launch; 0: as the driver has it (0)")
        .add("gather-blocks", s.gather_blocks, "cuda: blocks of the copy kernel; 0: as the driver has it (0)")
        .add("gather-blocks-down", s.gather_blocks_down, "cuda: of those that write host memory; 0: as the driver has it (0)");
    const perf::suite& suite = find_suite(options.parse(argc, argv));
    if (!against.empty() && against != "raw") throw samples::bad_usage{"--against knows only raw"};
    s.command = suite.name;
    s.against_raw = !against.empty() || s.check_raw;

    std::ofstream out;
    if (!json.empty()) {
        out.open(json);
        if (!out) throw std::runtime_error{"cannot write " + json};
    }
    perf::report report{s};
    suite.run(s, report);
    if (report.empty())
        throw samples::bad_usage{"no case of " + s.command + " has '" + s.filter + "' in its name"};
    if (!json.empty() && !(out << boost::json::serialize(report.to_json()) << '\n' << std::flush))
        throw std::runtime_error{"cannot write " + json};
}

} // namespace

int main(int argc, char** argv)
{
    try {
        measure(argc, argv);
        return 0;
    } catch (const samples::bad_usage& e) {
        std::cerr << "perf: " << e.what() << '\n';
        return 2;
    } catch (const std::exception& e) {
        std::cerr << "perf: " << e.what() << '\n';
        return 1;
    }
}
