// SPDX-License-Identifier: Apache-2.0
#include "settings.hpp"

#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include <options.hpp>

namespace doctor {

namespace {

using samples::bad_usage;

constexpr const char* usage =
    "doctor [options]: what this machine lacks for wye over libfabric and EFA, with verdicts.\n"
    "doctor --topology FILE.xml: which rails are near which GPU, of a machine that hwloc has saved (lstopo --of xml).\n"
    "doctor --serve [ADDRESS[:PORT]], and elsewhere doctor --peer HOST:PORT: a handshake and transfers, checked.\n"
    "doctor --efa with either: all that is to be shown between two hosts with EFA: rates, latencies, faults.";

/// Finds out before the work rather than after it that a report cannot be written.
void check_output(const std::string& path)
{
    std::error_code ignored;
    if (path.empty() || path == "-") return;
    const bool there = std::filesystem::exists(path, ignored);
    errno = 0;
    if (!std::ofstream{path, std::ios::app})
        throw bad_usage{"--json " + path + ": " + std::strerror(errno ? errno : EIO)};
    if (!there) std::filesystem::remove(path, ignored);
}

/// "10.0.0.7", "10.0.0.7:4711", "[::1]:4711", ":4711".
void read_address(const std::string& text, settings& s)
{
    const std::size_t bracket = text.rfind(']');
    const std::size_t colon = text.rfind(':');
    const bool v6_alone = bracket == text.npos && text.find(':') != colon;
    const bool has_port = colon != text.npos && !v6_alone && (bracket == text.npos || colon > bracket);
    std::string host = has_port ? text.substr(0, colon) : text;
    if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
    if (!host.empty()) s.listen = host;
    if (!has_port) return;
    const char* const end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data() + colon + 1, end, s.port);
    if (error != std::errc{} || stop != end) throw bad_usage{"'" + text + "' is no ADDRESS:PORT to serve at"};
}

void read_words(const std::vector<std::string>& words, settings& s)
{
    if (words.size() == 1 && s.serve) return read_address(words[0], s);
    if (!words.empty()) throw bad_usage{"what is '" + words.back() + "'? options begin with --; try --help"};
}

void check(const settings& s)
{
    if (s.serve && !s.peer.empty()) throw bad_usage{"--serve and --peer are for two processes"};
    if (s.efa && !s.serve && s.peer.empty())
        throw bad_usage{"--efa takes two: --efa --serve ADDRESS:PORT on one host, --efa --peer HOST:PORT on the other"};
    if (s.once && !s.serve) throw bad_usage{"--once goes with --serve"};
    if ((s.serve || !s.peer.empty()) && s.secret.empty())
        throw bad_usage{"both sides must know a secret: WYE_DOCTOR_SECRET in the environment, or --secret"};
    if (s.serve && !s.json.empty()) throw bad_usage{"--json goes with --peer, which has the results"};
    if (!s.topology.empty() && (s.serve || !s.peer.empty()))
        throw bad_usage{"--topology is of a saved machine: no --serve, no --peer"};
    if (s.mib > 64 * 1024) throw bad_usage{"--mib is 65536 at most"};
    if (s.seconds > 600) throw bad_usage{"--seconds is 600 at most"};
    if (!std::filesystem::is_directory(s.sys)) throw bad_usage{"--sys " + s.sys + " is no folder"};
    check_output(s.json);
}

} // namespace

wye::libfabric_options settings::fabric() const
{
    wye::libfabric_options o;
    o.provider = provider;
    o.rails = rails;
    return o;
}

settings read_settings(int argc, char** argv)
{
    settings s;
    std::string rails;
    samples::options options{usage};
    options.add("peers", s.peers, "agents that this one shall be connected to, for the budget (64)")
        .add("regions", s.regions, "pieces of memory that it shall publish, say one a layer, for the budget (80)")
        .add("register-gib", s.register_gib, "memory that its NICs shall reach, in GiB, for the budget (16)")
        .add("topology", s.topology, "a saved machine's; with --json FILE or - the map alone, as JSON")
        .add("json", s.json, "write the report here; -: instead of the text")
        .add("sys", s.sys, "another machine's /proc, /sys and /dev, saved in this folder (/)")
        .add("serve", s.serve, "be there for --peer, at 127.0.0.1 and a free port unless an address follows")
        .add("once", s.once, "--serve: for one peer")
        .add("peer", s.peer, "HOST:PORT where a doctor serves")
        .add("efa", s.efa, "all that two hosts with EFA can show; over something else it says so")
        .add("secret", s.secret, "what both must know (the environment's WYE_DOCTOR_SECRET)")
        .add("rails", rails, "local addresses, interfaces or domains, with commas (of efa all, of tcp 127.0.0.1)")
        .add("provider", s.provider, "libfabric's (efa where there is one, else tcp;ofi_rxm)")
        .add("mib", s.mib, "memory to move about, in MiB (64; with --efa 1024)")
        .add("seconds", s.seconds, "for each measurement (1)");
    if (const char* const known = std::getenv("WYE_DOCTOR_SECRET")) s.secret = known;
    read_words(options.parse(argc, argv), s);
    std::istringstream list{rails};
    for (std::string rail; std::getline(list, rail, ',');)
        if (!rail.empty()) s.rails.push_back(rail);
    check(s);
    return s;
}

} // namespace doctor
