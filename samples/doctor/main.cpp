// SPDX-License-Identifier: Apache-2.0
// What someone who runs wye over libfabric and EFA checks by hand, as one command.
#include <exception>
#include <fstream>
#include <iostream>

#include <boost/json.hpp>

#include <options.hpp>

#include "checks.hpp"
#include "serve.hpp"
#include "visit.hpp"

namespace doctor {

namespace {

void write(const std::string& where, const boost::json::object& what)
{
    if (where.empty()) return;
    const std::string text = boost::json::serialize(what) + '\n';
    if (where == "-") {
        std::cout << text << std::flush;
        return;
    }
    std::ofstream out{where};
    if (!(out << text << std::flush)) throw std::runtime_error{where + " cannot be written"};
}

int show_map(const settings& s)
{
    const wye::topology t = wye::read_topology(s.topology);
    if (s.json.empty()) print(std::cout, t);
    write(s.json, as_json(t));
    return 0;
}

/// A finding of what ended the visit, and one line for who only looks at standard error.
std::string visit_or_why(const patient& p, report& r)
{
    try {
        visit(p, r);
    } catch (const trouble& e) {
        r.add({e.check, verdict::failed, e.what(), e.advice});
        return e.what();
    } catch (const std::exception& e) {
        r.add({"peer", verdict::failed, e.what(), {"run it again with the other side's output at hand"}});
        return e.what();
    }
    return {};
}

int examine(const settings& s)
{
    report r{s.json == "-" ? nullptr : &std::cout};
    patient p{s};
    check_fabric(p, r);
    check_devices(p, r);
    check_map(p, r);
    check_memory(p, r);
    check_gpudirect(p, r);
    check_budget(p, r);
    check_counters(p, r);
    std::string why;
    if (!s.peer.empty()) why = visit_or_why(p, r);
    if (why.empty()) why = r.failures();
    boost::json::object all = r.document();
    all["root"] = s.sys;
    write(s.json, all);
    if (why.empty()) return 0;
    std::cerr << "doctor: " << why << '\n';
    return 1;
}

int start(int argc, char** argv)
{
    const settings s = read_settings(argc, argv);
    if (!s.topology.empty()) return show_map(s);
    return s.serve ? serve(s) : examine(s);
}

} // namespace

} // namespace doctor

int main(int argc, char** argv)
{
    try {
        return doctor::start(argc, argv);
    } catch (const samples::bad_usage& e) {
        std::cerr << "doctor: " << e.what() << '\n';
        return 2;
    } catch (const std::exception& e) {
        std::cerr << "doctor: " << e.what() << '\n';
        return 1;
    }
}
