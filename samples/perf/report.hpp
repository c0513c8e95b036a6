// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <boost/json/object.hpp>

namespace perf {

/// What the command line asked for.
struct settings {
    std::string command;
    bool against_raw = false;          ///< measure the plain code beside ours
    bool check_raw = false;            ///< and the field's own tool beside the plain code
    bool polled = false;               ///< fabric: queues that nobody can sleep on, as the plain loop has
    double seconds = 2;                ///< for each case, about
    std::string filter;                ///< only cases whose name contains it
    std::string directory = "/var/tmp";
    std::size_t file_mib = 512;
    std::string vram = "standin";
    std::string gather = "automatic";
    unsigned gather_blocks = 0, gather_blocks_down = 0, gather_threads = 0, gather_list_kib = 0; ///< 0: as the driver has it
};

/// One line of the outcome. `ratio` is ours divided by raw whatever the unit: more is better where the unit
/// is a rate, less where it is a cost.
struct result {
    std::string name, unit;
    std::optional<double> ours, raw, ratio;
    std::optional<double> raw_over_tool; ///< below 0.9 the plain code is no yardstick, and the case is void
    std::string note;
};

/// Collects results, and prints each as it comes.
class report {
public:
    explicit report(const settings& s) : settings_{s} {}

    bool wants(std::string_view name) const { return name.find(settings_.filter) != name.npos; }
    void add(result);
    /// A number with nothing to compare it to.
    void add(std::string name, std::string unit, double ours, std::string note = {});
    bool empty() const { return results_.empty(); }
    boost::json::object to_json() const;

private:
    const settings& settings_;
    std::vector<result> results_;
};

/// The processor, kernel and compiler, and the filesystem of `directory`.
boost::json::object describe_machine(const std::string& directory);

/// A subcommand: a file of its own and a line in main.cpp's table.
struct suite {
    std::string_view name, what;
    void (*run)(const settings&, report&);
};

void run_same_host(const settings&, report&); ///< a part of `run_fabric`
void run_same_host_gpus(const settings&, report&); ///< a part of that, only with CUDA's headers
void run_runtime(const settings&, report&);
void run_file(const settings&, report&);
void run_fabric(const settings&, report&); ///< only where there is libfabric
void run_rails(const settings&, report&);  ///< likewise; moves this process to a network of its own
void run_object(const settings&, report&); ///< only where there is S3; needs nginx
void run_cuda(const settings&, report&);   ///< likewise, of CUDA's headers; needs a GPU
void run_pipeline(const settings&, report&);
void run_sim(const settings&, report&);

} // namespace perf
