// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <charconv>
#include <concepts>
#include <cstdlib>
#include <functional>
#include <iomanip>
#include <iostream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace samples {

/// A command line that makes no sense; `what()` is one line for the user. Exit with 2.
struct bad_usage : std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// `--name VALUE`, `--name=VALUE`, `--flag`, and words between them.
class options {
public:
    explicit options(std::string usage) : usage_{std::move(usage)} {}

    /// A `bool` is a flag; anything else takes a value and keeps what it holds when it is not given.
    template <class T>
    options& add(std::string name, T& into, std::string help)
    {
        const std::string full = "--" + name;
        known_.push_back({std::move(name), std::move(help), !std::same_as<T, bool>,
                          [&into, full](std::string_view text) { read(full, text, into); }});
        return *this;
    }

    /// Returns the words. Prints the help and exits when asked to. Throws `bad_usage`.
    std::vector<std::string> parse(int argc, char** argv) const
    {
        std::vector<std::string> words;
        for (int i = 1; i < argc; ++i) {
            const std::string_view argument = argv[i];
            if (argument == "--help") show_help();
            if (!argument.starts_with("--")) {
                words.emplace_back(argument);
                continue;
            }
            const std::size_t equals = argument.find('=');
            const known& o = find(argument.substr(0, equals));
            if (!o.takes_value && equals != argument.npos) throw bad_usage{"--" + o.name + " takes no value"};
            if (!o.takes_value) o.set({});
            else if (equals != argument.npos) o.set(argument.substr(equals + 1));
            else if (++i != argc) o.set(argv[i]);
            else throw bad_usage{"--" + o.name + " needs a value"};
        }
        return words;
    }

private:
    struct known {
        std::string name, help;
        bool takes_value;
        std::function<void(std::string_view)> set;
    };

    static void read(const std::string&, std::string_view, bool& into) { into = true; }
    static void read(const std::string&, std::string_view text, std::string& into) { into = text; }
    template <class Number>
    static void read(const std::string& name, std::string_view text, Number& into)
    {
        Number value{};
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
        if (error != std::errc{} || end != text.data() + text.size() || !(value > 0) || value > Number(1e9))
            throw bad_usage{name + " needs a positive number, not '" + std::string{text} + "'"};
        into = value;
    }

    const known& find(std::string_view argument) const
    {
        for (const known& o : known_)
            if (argument.substr(2) == o.name) return o;
        throw bad_usage{"unknown option " + std::string{argument} + "; try --help"};
    }

    [[noreturn]] void show_help() const
    {
        std::cout << usage_ << "\n\n";
        for (const known& o : known_)
            std::cout << "  " << std::left << std::setw(24) << "--" + o.name + (o.takes_value ? " VALUE" : "")
                      << o.help << '\n';
        std::exit(0);
    }

    std::string usage_;
    std::vector<known> known_;
};

} // namespace samples
