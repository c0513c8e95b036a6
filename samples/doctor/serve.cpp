// SPDX-License-Identifier: Apache-2.0
#include "serve.hpp"

#include <algorithm>
#include <chrono>
#include <iostream>
#include <memory>
#include <optional>

#include <unistd.h>

#include <pattern.hpp>
#include <wye/side_channel.hpp>

#include "devices.hpp"
#include "line.hpp"
#include "nursery.hpp"

namespace doctor {

using namespace std::chrono_literals;

namespace {

constexpr wye::duration gap = 5s;        // while it looks through memory it does not poll
constexpr wye::duration silence = 10min; // between two orders: it must have gone without a word
constexpr std::size_t most_text = 4000;  // of a notification's payload

template <std::size_t N>
void put(char (&into)[N], const std::string& text)
{
    std::copy_n(text.begin(), std::min(text.size(), N - 1), into);
}

class host {
public:
    host(const settings& s, nursery* understudies)
        : settings_{s}, understudies_{understudies}, us_{rt_, s, s.rails, fresh_name("doctor"), s.area_bytes(), gap},
          letters_{2 * letter_bytes}
    {
    }

    int work()
    {
        run(rt_, be_there());
        return wrong_ == 0 ? 0 : 1;
    }

private:
    wye::task<> be_there()
    {
        area_ = co_await us_.agent.register_memory(wye::dram(us_.memory.data(), us_.memory.size()));
        letter_ = co_await us_.agent.register_memory(wye::dram(letters_.data(), letter_bytes));
        resume_ = co_await us_.agent.register_memory(wye::dram(letters_.data() + letter_bytes, letter_bytes));
        co_await us_.agent.publish(std::string{area_name}, area_);
        co_await us_.agent.publish(std::string{letter_name}, letter_);
        co_await us_.agent.publish(std::string{understudy_name}, resume_, wye::access::read_only);
        wye::side_channel door{us_.agent,
                               {.address = settings_.listen, .port = settings_.port, .secret = settings_.secret}};
        std::cout << "serving at " << door.endpoint() << " over " << us_.facts.provider << ", "
                  << us_.facts.rails.size() << " rails" << std::endl;
        do {
            const wye::notification n = co_await us_.agent.notified(begin_key);
            co_await attend(n);
        } while (!settings_.once);
    }

    /// One doctor, until it says that it has done, or is lost.
    wye::task<> attend(const wye::notification& begun)
    {
        now_ = {};
        try {
            co_await answer_letter(begun);
            while (guest_) co_await next_order(begun.peer);
        } catch (const std::exception& e) {
            std::cout << begun.peer << ": " << e.what() << '\n';
        }
        guest_.reset();
        wrong_ += now_.wrong;
        std::cout << begun.peer << ": checked " << now_.checked << ", " << now_.wrong << " wrong" << std::endl;
    }

    wye::task<> answer_letter(const wye::notification& begun)
    {
        const auto length = from_bytes<std::uint64_t>(begun.payload);
        if (!length || *length > letter_bytes) throw std::runtime_error{"its letter makes no sense"};
        std::vector<std::byte> metadata(letters_.begin(), letters_.begin() + *length);
        guest_ = co_await us_.agent.connect(std::move(metadata));
        if (guest_.name() != begun.peer) throw std::runtime_error{"another doctor wrote over its letter"};
        welcome w;
        w.efa = understudies_ != nullptr;
        char name[sizeof w.host] = {};
        ::gethostname(name, sizeof name - 1);
        put(w.host, name);
        put(w.boot, files_.line("proc/sys/kernel/random/boot_id"));
        put(w.provider, us_.facts.provider);
        co_await us_.agent.notify(guest_, std::string{welcome_key}, as_bytes(w));
    }

    wye::task<> next_order(const std::string& from)
    {
        const wye::wanted next{.key = order_key, .peer = from, .deadline = silence};
        const wye::notification n = co_await us_.agent.notified(next);
        const auto o = from_bytes<order>(n.payload);
        if (!o) throw std::runtime_error{"an order that makes no sense"};
        if (o->what == order::kind::check)
            check(*o, n.aborted);
        else if (o->what == order::kind::tally)
            awaited_ = o->length;
        else if (o->what == order::kind::end)
            guest_.reset();
        else if (o->what != order::kind::nothing)
            co_await obey(o->what);
        if (!awaited_ || now_.checked < *awaited_) co_return;
        awaited_.reset();
        co_await answer(as_bytes(now_));
    }

    void check(const order& o, bool aborted)
    {
        const bool inside = o.offset <= us_.memory.size() && o.length <= us_.memory.size() - o.offset;
        ++now_.checked;
        if (aborted || !inside || !samples::holds({us_.memory.data() + o.offset, o.length}, o.seed)) ++now_.wrong;
    }

    wye::task<> obey(order::kind what)
    {
        if (what == order::kind::counted) {
            const std::vector<std::byte> text = counters_text();
            co_await answer(text);
            co_return;
        }
        if (!understudies_) throw std::runtime_error{"it wants an understudy, and this is not --efa"};
        std::uint64_t length = 0;
        if (what == order::kind::hire) {
            const std::vector<std::byte> metadata = co_await understudies_->hire(rt_);
            std::copy(metadata.begin(), metadata.end(), letters_.begin() + letter_bytes);
            length = metadata.size();
        } else if (what == order::kind::stop) {
            co_await understudies_->stop(rt_);
        } else {
            co_await understudies_->kill(rt_);
        }
        co_await answer(as_bytes(length));
    }

    std::vector<std::byte> counters_text() const
    {
        std::string text;
        for (const auto& [name, n] : sum_of(rdma_devices(files_))) {
            const std::string line = name + ' ' + std::to_string(n) + '\n';
            if (text.size() + line.size() <= most_text) text += line;
        }
        const auto bytes = std::as_bytes(std::span{text});
        return {bytes.begin(), bytes.end()};
    }

    wye::task<> answer(std::vector<std::byte> what)
    {
        co_await us_.agent.notify(guest_, std::string{answer_key}, std::move(what));
    }

    const settings& settings_;
    nursery* understudies_;
    tree files_{settings_.sys};
    wye::runtime rt_;
    party us_;
    wye::arena letters_; ///< whoever begins writes to the first half, and reads of the understudy in the second
    wye::region area_, letter_, resume_;
    wye::peer guest_;
    tally now_;
    std::optional<std::uint64_t> awaited_; ///< checks, before that is answered
    std::uint64_t wrong_ = 0;
};

} // namespace

int serve(const settings& s)
{
    const auto understudies = s.efa ? std::make_unique<nursery>(s) : nullptr;
    return host{s, understudies.get()}.work();
}

} // namespace doctor
