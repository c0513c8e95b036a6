// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <iosfwd>
#include <string>
#include <string_view>
#include <vector>

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

namespace doctor {

enum class verdict : std::uint8_t { ok, warning, failed };
std::string_view name_of(verdict) noexcept;

/// What was found out about one thing.
struct finding {
    std::string check; ///< "locked memory"
    doctor::verdict verdict = verdict::ok;
    std::string why;                   ///< one line
    std::vector<std::string> advice{}; ///< what to do, likeliest first; nothing when all is well
    boost::json::object facts{};
};

/// All of it: said as it is found, and written as JSON at the end.
class report {
public:
    /// Null: nothing is said before the end.
    explicit report(std::ostream* say) noexcept : say_{say} {}

    void add(finding);
    /// A line between findings, for who reads along.
    void note(std::string_view line);
    /// Something with a name of its own in the document: "topology", "efa".
    void attach(std::string_view name, boost::json::value);

    verdict worst() const noexcept { return worst_; }
    /// "2 checks failed: counters, locked memory"; empty when none did.
    std::string failures() const;
    boost::json::object document() const;

private:
    std::ostream* say_;
    std::vector<finding> findings_;
    boost::json::object attached_;
    verdict worst_ = verdict::ok;
};

} // namespace doctor
