// SPDX-License-Identifier: Apache-2.0
// Prefill and decode workers, each rank a process, move paged KV caches between them: prefill writes into decode's pages
// and tells it, or decode reads prefill's and tells it that they are free.
//
// Read prefill.cpp and decode.cpp first: they are what an engine's connector would do. rank.cpp is what both need of wye
// (memory, peers, waiting for all ranks), model.cpp says which bytes are whose, requests.cpp stands for the router and the
// schedulers, and front.cpp starts and ends processes. Others may come to a job that serves, and go: acquaintances.cpp is how
// ranks find them in a directory, guests.cpp what the front has to do with them, and join.cpp the command that brings them.
#include <algorithm>
#include <exception>
#include <iostream>
#include <string>

#include <checked.hpp>
#include <figures.hpp>

#include "front.hpp"
#include "join.hpp"
#include "report.hpp"
#include "settings.hpp"

namespace pd {

double summary::hidden() const noexcept
{
    if (outcome.plain.ms() <= 0 || outcome.layerwise.parts == 0) return 0;
    return std::clamp(1 - outcome.layerwise.ms() / outcome.plain.ms(), 0.0, 1.0);
}

std::uint64_t summary::joined() const noexcept
{
    return std::count_if(outcome.engines.begin(), outcome.engines.end(), [](const auto& e) { return e.guest; });
}

std::uint64_t summary::left() const noexcept
{
    return std::count_if(outcome.engines.begin(), outcome.engines.end(), [](const auto& e) { return e.is == e.left; });
}

} // namespace pd

namespace {

enum exit_code { all_well = 0, failed = 1, misused = 2, interrupted = 130 };

/// What went wrong although it came to its end; empty if nothing did.
std::string complaint(const pd::summary& s)
{
    const pd::outcome& o = s.outcome;
    if (o.wrong > 0) return samples::grouped(o.wrong) + " pages are not what prefill computed";
    if (o.failed > 0) return samples::grouped(o.failed) + " requests failed; the first: " + o.failure;
    if (s.leaks() > 0) return samples::grouped(s.leaks()) + " pages leaked";
    return {};
}

exit_code run(const pd::settings& settings)
{
    pd::summary s;
    s.settings = settings;
    {
        pd::front front{settings};
        front.run([&] { pd::print_head(std::cout, settings); });
        s.outcome = front.result();
        s.ranks = front.ranks();
    }
    pd::print_table(std::cout, s);
    samples::write_report(settings.json, s, &pd::write_json);
    const std::string wrong = complaint(s);
    if (!wrong.empty()) std::cerr << "prefill_decode: " << wrong << '\n';
    if (s.outcome.interrupted) return interrupted;
    return wrong.empty() ? all_well : failed;
}

exit_code join(const pd::settings& settings)
{
    pd::visit visit{settings};
    return visit.run() ? all_well : interrupted;
}

} // namespace

int main(int argc, char** argv)
{
    try {
        const pd::settings settings = pd::read_settings(argc, argv);
        return settings.join ? join(settings) : run(settings);
    } catch (const samples::bad_usage& e) {
        std::cerr << "prefill_decode: " << e.what() << '\n';
        return misused;
    } catch (const std::exception& e) {
        std::cerr << "prefill_decode: " << e.what() << '\n';
        return failed;
    }
}
