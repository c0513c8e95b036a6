// SPDX-License-Identifier: Apache-2.0
// Replays LLM requests against a tiered KV cache that moves real bytes: VRAM -> DRAM -> FILE -> OBJ.
//
// Read replay.cpp first: it serves requests. tiered_index.cpp plans which block belongs where,
// block_store.cpp moves the bytes, one coroutine a copy, and hierarchy.cpp is all that knows how wye names
// the tiers.
#include <csignal>
#include <exception>
#include <filesystem>
#include <iostream>
#include <memory>
#include <optional>
#include <string>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/signal_set.hpp>

#include <wye/wye.hpp>

#include <checked.hpp>

#include "generator.hpp"
#include "hierarchy.hpp"
#include "progress_bar.hpp"
#include "replay.hpp"
#include "settings.hpp"
#include "summary.hpp"
#include "trace.hpp"

namespace {

namespace asio = boost::asio;

enum exit_code { all_well = 0, failed = 1, misused = 2, interrupted = 130 };

std::unique_ptr<kv::request_source> open_source(const kv::settings& s)
{
    std::unique_ptr<kv::request_source> all;
    if (s.trace.empty()) all = std::make_unique<kv::generator>();
    else all = std::make_unique<kv::trace_reader>(s.trace);
    return std::make_unique<kv::first_of>(std::move(all), s.requests);
}

/// Reads the whole trace before anything is touched, so that a bad line in it is said at once. A pipe can be
/// read only once, and so is read as it is replayed.
std::optional<kv::trace_survey> look_through(const kv::settings& s)
{
    if (!s.trace.empty() && !std::filesystem::is_regular_file(s.trace)) return std::nullopt;
    return kv::survey(*open_source(s));
}

class program {
public:
    explicit program(const kv::settings& s)
        : settings_{s}, survey_{look_through(s)}, source_{open_source(s)},
          bar_{survey_ ? survey_->requests : 0}, signals_{runtime_.io(), SIGINT, SIGTERM}
    {
    }

    exit_code run()
    {
        std::exception_ptr failure;
        asio::co_spawn(runtime_, replay(), [&](std::exception_ptr e) { failure = e; });
        runtime_.run();
        bar_.clear();
        if (failure) std::rethrow_exception(failure);
        return report();
    }

private:
    wye::task<> replay()
    {
        wye::agent agent{runtime_, "kv_offload"};
        kv::hierarchy tiers{agent};
        co_await tiers.open(settings_);
        kv::replay replay{tiers, settings_, *source_,
                          [this](const kv::replay_result& r) { bar_.show(r.requests, r.hit_rate()); }};
        running_ = &replay;
        signals_.async_wait([this](wye::error_code error, int) {
            if (!error && running_) running_->stop();
        });
        std::exception_ptr failure;
        try {
            co_await replay.run();
        } catch (...) {
            failure = std::current_exception();
        }
        running_ = nullptr;
        signals_.cancel();
        if (failure) std::rethrow_exception(failure);
        summary_ = kv::summarise(settings_, survey_, tiers, replay.result(), agent.measure());
    }

    exit_code report() const
    {
        kv::print_table(std::cout, summary_);
        samples::write_report(settings_.json, summary_, kv::write_json);
        samples::write_report(settings_.html, summary_, kv::write_html);
        const std::string wrong = complaint();
        if (!wrong.empty()) std::cerr << "kv_offload: " << wrong << '\n';
        if (summary_.result.interrupted) return interrupted;
        return wrong.empty() ? all_well : failed;
    }

    /// What went wrong although every request was served; empty if nothing did.
    std::string complaint() const
    {
        const kv::movement& m = summary_.result.moved;
        if (m.corruptions > 0) return kv::grouped(m.corruptions) + " blocks came back corrupt, and were recomputed";
        if (m.failed_stores > 0)
            return kv::grouped(m.failed_stores) + " blocks were not stored; the last: " + m.last_failure;
        if (summary_.result.leaked_leases > 0) return kv::grouped(summary_.result.leaked_leases) + " leases leaked";
        return {};
    }

    kv::settings settings_;
    std::optional<kv::trace_survey> survey_;
    std::unique_ptr<kv::request_source> source_;
    kv::progress_bar bar_;
    wye::runtime runtime_;
    asio::signal_set signals_;
    kv::replay* running_ = nullptr;
    kv::summary summary_;
};

} // namespace

int main(int argc, char** argv)
try {
    const kv::settings settings = kv::read_settings(argc, argv);
    return program{settings}.run();
} catch (const samples::bad_usage& e) {
    std::cerr << "kv_offload: " << e.what() << '\n';
    return misused;
} catch (const kv::bad_trace& e) {
    std::cerr << "kv_offload: " << e.what() << '\n';
    return misused;
} catch (const std::exception& e) {
    std::cerr << "kv_offload: " << e.what() << '\n';
    return failed;
}
