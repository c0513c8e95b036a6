// SPDX-License-Identifier: Apache-2.0
#include "report.hpp"

#include <algorithm>
#include <iomanip>
#include <ostream>
#include <utility>

#include <boost/json/array.hpp>

namespace doctor {

namespace json = boost::json;

std::string_view name_of(verdict v) noexcept
{
    switch (v) {
    case verdict::ok:
        return "ok";
    case verdict::warning:
        return "warning";
    case verdict::failed:
        return "failed";
    }
    return "?";
}

void report::add(finding f)
{
    worst_ = std::max(worst_, f.verdict);
    if (say_) {
        *say_ << std::left << std::setw(9) << name_of(f.verdict) << std::setw(17) << f.check << ' ' << f.why << '\n';
        for (std::size_t i = 0; i < f.advice.size(); ++i) {
            *say_ << std::string(27, ' ');
            if (f.advice.size() > 1) *say_ << i + 1 << ". ";
            *say_ << f.advice[i] << '\n';
        }
        say_->flush();
    }
    findings_.push_back(std::move(f));
}

void report::note(std::string_view line)
{
    if (say_) *say_ << line << std::endl;
}

void report::attach(std::string_view name, json::value v) { attached_[name] = std::move(v); }

std::string report::failures() const
{
    std::string names;
    std::size_t n = 0;
    for (const finding& f : findings_) {
        if (f.verdict != verdict::failed) continue;
        names += (n++ == 0 ? ": " : ", ") + f.check;
    }
    return n == 0 ? "" : std::to_string(n) + (n == 1 ? " check failed" : " checks failed") + names;
}

json::object report::document() const
{
    json::array all;
    for (const finding& f : findings_) {
        json::array advice;
        for (const std::string& line : f.advice) advice.emplace_back(line);
        all.push_back({{"check", f.check},
                       {"verdict", name_of(f.verdict)},
                       {"why", f.why},
                       {"do", std::move(advice)},
                       {"facts", f.facts}});
    }
    json::object out{{"verdict", name_of(worst_)}, {"findings", std::move(all)}};
    for (const auto& [name, value] : attached_) out[name] = value;
    return out;
}

} // namespace doctor
