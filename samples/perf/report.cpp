// SPDX-License-Identifier: Apache-2.0
#include "report.hpp"

#include <iomanip>
#include <iostream>
#include <sstream>
#include <utility>

#include <boost/json/array.hpp>

namespace perf {

namespace {

std::string text(const std::optional<double>& v)
{
    if (!v) return "-";
    std::ostringstream out;
    const bool whole = *v == static_cast<double>(static_cast<long long>(*v));
    out << std::fixed << std::setprecision(whole || *v >= 1000 ? 0 : *v < 10 ? 2 : 1) << *v;
    return out.str();
}

boost::json::value number(const std::optional<double>& v)
{
    return v ? boost::json::value(*v) : boost::json::value(nullptr);
}

bool is_void(const result& r) { return r.raw_over_tool && *r.raw_over_tool < 0.9; }

void print_line(const std::string& name, const std::string& ours, const std::string& raw,
                const std::string& ratio, const std::string& unit, const std::string& note)
{
    std::cout << std::left << std::setw(56) << name << std::right << std::setw(10) << ours << std::setw(10)
              << raw << std::setw(8) << ratio << "  " << std::left << std::setw(7) << unit << note
              << std::endl;
}

} // namespace

void report::add(result r)
{
    if (results_.empty()) print_line("case", "ours", "raw", "ratio", "unit", "");
    std::string note = r.note;
    if (r.raw_over_tool) note += (note.empty() ? "" : ", ") + ("raw/fio " + text(r.raw_over_tool));
    if (is_void(r)) note += ": VOID";
    print_line(r.name, text(r.ours), text(r.raw), text(r.ratio), r.unit, note);
    results_.push_back(std::move(r));
}

void report::add(std::string name, std::string unit, double ours, std::string note)
{
    add(result{std::move(name), std::move(unit), ours, {}, {}, {}, std::move(note)});
}

boost::json::object report::to_json() const
{
    boost::json::array cases;
    for (const result& r : results_) {
        boost::json::object c{{"name", r.name}, {"unit", r.unit}, {"ours", number(r.ours)},
                              {"raw", number(r.raw)}, {"ratio", number(r.ratio)}};
        if (r.raw_over_tool) c["raw_over_tool"] = *r.raw_over_tool;
        if (is_void(r)) c["void"] = true;
        if (!r.note.empty()) c["note"] = r.note;
        cases.push_back(std::move(c));
    }
    return {{"command", settings_.command},
            {"machine", describe_machine(settings_.directory)},
            {"cases", std::move(cases)}};
}

} // namespace perf
