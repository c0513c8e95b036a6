// SPDX-License-Identifier: Apache-2.0
#include "support/fault_proxy.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <future>
#include <memory>
#include <thread>
#include <vector>

#include <boost/asio/buffer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>

namespace wye::testing {

namespace asio = boost::asio;
using asio::ip::tcp;
using error = boost::system::error_code;

namespace {

/// One connection: two directions, and what may happen to both.
class link : public std::enable_shared_from_this<link> {
public:
    link(tcp::socket client, asio::io_context& io, fault f, std::atomic<unsigned>& open)
        : client_{std::move(client)}, server_{io}, fault_{std::move(f)}, open_{open}
    {
        ++open_;
    }
    ~link() { --open_; }

    void begin(std::uint16_t port)
    {
        if (fault_.refuse) return reset();
        if (!fault_.canned.empty()) return read_head();
        server_.async_connect({asio::ip::address_v4::loopback(), port}, [self = shared_from_this()](error e) {
            if (e) return self->reset();
            self->up_.read(self);
            self->down_.read(self);
        });
    }
    void close()
    {
        error ignored;
        client_.close(ignored);
        server_.close(ignored);
    }

private:
    /// Bytes one way.
    struct way {
        way(link& l, tcp::socket& f, tcp::socket& t, std::size_t m) : of{l}, from{f}, to{t}, timer{f.get_executor()}, most{m} {}
        void read(std::shared_ptr<link> keep)
        {
            const std::size_t some = std::min(buffer.size(), most - passed);
            if (some == 0) return of.end();
            from.async_read_some(asio::buffer(buffer.data(), some), [this, keep](error e, std::size_t n) {
                if (e) return of.half_closed(to);
                wait(keep, n);
            });
        }
        void wait(std::shared_ptr<link> keep, std::size_t n)
        {
            auto pause = std::chrono::duration_cast<std::chrono::nanoseconds>(of.fault_.delay);
            if (of.fault_.bytes_per_second > 0)
                pause += std::chrono::nanoseconds{static_cast<std::int64_t>(1e9 * static_cast<double>(n) / of.fault_.bytes_per_second)};
            if (pause.count() == 0) return write(keep, n);
            timer.expires_after(pause);
            timer.async_wait([this, keep, n](error e) {
                if (!e) write(keep, n);
            });
        }
        void write(std::shared_ptr<link> keep, std::size_t n)
        {
            if (of.stalled_) return;
            asio::async_write(to, asio::buffer(buffer.data(), n), [this, keep, n](error e, std::size_t) {
                passed += n;
                if (e) return of.close();
                read(keep);
            });
        }

        link& of;
        tcp::socket& from;
        tcp::socket& to;
        asio::steady_timer timer;
        const std::size_t most;
        std::size_t passed = 0;
        std::array<char, 16 * 1024> buffer;
    };

    void read_head()
    {
        client_.async_read_some(asio::buffer(up_.buffer), [self = shared_from_this()](error e, std::size_t n) {
            if (e) return;
            self->head_.append(self->up_.buffer.data(), n);
            if (self->head_.find("\r\n\r\n") == std::string::npos) return self->read_head();
            asio::async_write(self->client_, asio::buffer(self->fault_.canned), [self](error, std::size_t) {
                error ignored;
                self->client_.shutdown(tcp::socket::shutdown_send, ignored);
                self->drain();
            });
        });
    }
    /// So that what the client has sent meanwhile does not turn the end into a reset.
    void drain()
    {
        client_.async_read_some(asio::buffer(up_.buffer), [self = shared_from_this()](error e, std::size_t) {
            if (!e) self->drain();
            else if (self->stalled_) self->close(); // the client has had enough
        });
    }
    void half_closed(tcp::socket& other)
    {
        if (stalled_) return;
        error ignored;
        other.shutdown(tcp::socket::shutdown_send, ignored);
    }
    void end()
    {
        switch (fault_.then) {
        case fault::end::close: return close();
        case fault::end::reset: return reset();
        case fault::end::stall: stalled_ = true; return drain();
        }
    }
    void reset()
    {
        error ignored;
        const asio::socket_base::linger at_once{true, 0};
        client_.set_option(at_once, ignored);
        if (server_.is_open()) server_.set_option(at_once, ignored);
        close();
    }

    tcp::socket client_, server_;
    const fault fault_;
    std::atomic<unsigned>& open_;
    way up_{*this, client_, server_, fault_.after_to_server};
    way down_{*this, server_, client_, fault_.after_to_client};
    std::string head_;
    bool stalled_ = false;
};

} // namespace

struct fault_proxy::state {
    asio::io_context io{1};
    asio::executor_work_guard<asio::io_context::executor_type> keep{io.get_executor()};
    tcp::acceptor door{io};
    std::uint16_t port = 0, server = 0;
    plan by;
    std::vector<std::weak_ptr<link>> links;
    std::atomic<unsigned> accepted{0}, open{0};
    std::thread thread;

    void listen()
    {
        const tcp::endpoint here{asio::ip::address_v4::loopback(), port};
        door.open(here.protocol());
        door.set_option(asio::socket_base::reuse_address{true});
        door.bind(here);
        door.listen();
        port = door.local_endpoint().port();
        accept();
    }
    void accept()
    {
        door.async_accept([this](error e, tcp::socket client) {
            if (e) return;
            const unsigned n = accepted++;
            auto l = std::make_shared<link>(std::move(client), io, by ? by(n) : fault{}, open);
            std::erase_if(links, [](const auto& w) { return w.expired(); });
            links.push_back(l);
            l->begin(server);
            accept();
        });
    }
    /// Runs it on the proxy's thread, and waits for that.
    template <class Call>
    void there(Call c)
    {
        std::promise<void> done;
        asio::post(io, [&] {
            c();
            done.set_value();
        });
        done.get_future().wait();
    }
};

fault_proxy::fault_proxy(std::uint16_t server_port, plan p) : state_{std::make_unique<state>()}
{
    state_->server = server_port;
    state_->by = std::move(p);
    state_->listen();
    state_->thread = std::thread{[s = state_.get()] { s->io.run(); }};
}

fault_proxy::~fault_proxy()
{
    state_->there([this] {
        error ignored;
        state_->door.close(ignored);
        for (const auto& w : state_->links)
            if (const auto l = w.lock()) l->close();
        state_->keep.reset();
    });
    state_->thread.join();
}

std::uint16_t fault_proxy::port() const noexcept { return state_->port; }

void fault_proxy::follow(plan p)
{
    state_->there([&] {
        state_->by = std::move(p);
        state_->accepted = 0;
    });
}

void fault_proxy::shut(bool closed)
{
    state_->there([&] {
        error ignored;
        if (closed) state_->door.close(ignored);
        else if (!state_->door.is_open()) state_->listen();
    });
}

unsigned fault_proxy::accepted() const noexcept { return state_->accepted; }
unsigned fault_proxy::open() const noexcept { return state_->open; }

} // namespace wye::testing
