// SPDX-License-Identifier: Apache-2.0
//
// json_check FILE CLAIM...: whether each claim holds for the document, e.g.
//   requests:number   pairs[].from:string   corruptions==0   hit_rate.total<=1   command==file
// `[]` stands for every element of an array that has at least one. Names the first claim that does not hold.
#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <string_view>

#include <boost/json.hpp>

namespace json = boost::json;

namespace {

struct claim {
    std::string_view path, relation, expected;
};

claim parse(std::string_view text)
{
    for (std::string_view relation : {"==", ">=", "<=", ":"})
        if (const auto at = text.find(relation); at != text.npos)
            return {text.substr(0, at), relation, text.substr(at + relation.size())};
    throw std::runtime_error{"not a claim"};
}

std::string_view type_of(const json::value& v)
{
    if (v.is_number()) return "number";
    if (v.is_bool()) return "bool";
    if (v.is_string()) return "string";
    if (v.is_array()) return "array";
    return v.is_object() ? "object" : "null";
}

void hold(const json::value& v, const claim& c)
{
    if (c.relation == ":") {
        if (type_of(v) == c.expected) return;
        throw std::runtime_error{"it is of type " + std::string{type_of(v)}};
    }
    if (v.is_string() && c.relation == "==" && v.get_string() == c.expected) return;
    if (!v.is_number()) throw std::runtime_error{"it is " + json::serialize(v)};
    const double is = v.to_number<double>(), limit = std::stod(std::string{c.expected});
    if (c.relation == "==" ? is == limit : c.relation == ">=" ? is >= limit : is <= limit) return;
    throw std::runtime_error{"it is " + json::serialize(v)};
}

void check(const json::value& v, std::string_view path, const claim& c)
{
    if (path.empty()) return hold(v, c);
    if (path.starts_with("[]")) {
        if (!v.is_array() || v.get_array().empty()) throw std::runtime_error{"no array with elements"};
        for (const json::value& element : v.get_array()) check(element, path.substr(2), c);
        return;
    }
    if (path.front() == '.') path.remove_prefix(1);
    const std::string_view key = path.substr(0, path.find_first_of(".["));
    const json::value* found = v.is_object() ? v.get_object().if_contains({key.data(), key.size()}) : nullptr;
    if (!found) throw std::runtime_error{"there is no \"" + std::string{key} + '"'};
    check(*found, path.substr(key.size()), c);
}

} // namespace

int main(int count, char** arguments)
{
    std::string_view about = "no file given";
    try {
        if (count < 2) throw std::runtime_error{"usage: json_check FILE CLAIM..."};
        about = arguments[1];
        std::ifstream file{arguments[1]};
        if (!file) throw std::runtime_error{"cannot be read"};
        const json::value document = json::parse(std::string{std::istreambuf_iterator<char>{file}, {}});
        for (int i = 2; i < count; ++i) {
            about = arguments[i];
            const claim c = parse(about);
            check(document, c.path, c);
        }
    } catch (const std::exception& e) {
        std::cerr << "json_check: " << about << ": " << e.what() << '\n';
        return 1;
    }
}
