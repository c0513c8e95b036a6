// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include <wye/fabric.hpp>

namespace perf {

/// Another agent of this process, reached over rails that do nothing: messages come, writes are over on the next poll
/// without having moved a byte. What is left is the runtime's own cost of a peer.
class null_fabric final : public wye::fabric {
public:
    null_fabric(std::uint32_t rails, null_fabric* other) : rails_{rails}, other_{other}
    {
        if (other) other->other_ = this;
    }

    std::string_view name() const noexcept override { return "null"; }
    std::uint32_t rails() const noexcept override { return rails_; }
    bool may_lose_rails() const noexcept override { return true; }
    bool carries(const wye::slice& from, const wye::slice& to) const noexcept override
    {
        return !from.of->peer != !to.of->peer;
    }
    bool submit(wye::chunk& c) noexcept override
    {
        c.next = std::exchange(taken_, &c);
        return true;
    }
    std::size_t poll(wye::turn) noexcept override
    {
        std::size_t n = 0;
        for (wye::chunk* c = std::exchange(taken_, nullptr); c; ++n) {
            wye::chunk* const next = c->next;
            c->done();
            c = next;
        }
        for (const auto& message : std::exchange(inbox_, {})) received(message), ++n;
        for (const auto& answer : std::exchange(answers_, {})) answer(), ++n;
        return n;
    }
    bool busy() const noexcept override { return !inbox_.empty() || !answers_.empty(); }
    bool attentive() const noexcept override { return true; }

    std::vector<std::byte> address() override { return std::vector<std::byte>(1); }
    void grant(wye::segment&, wye::access, std::function<void(wye::error_code, key)> done) override
    {
        answers_.push_back([done = std::move(done)] { done({}, {1, std::vector<std::byte>(1)}); });
    }
    void withdraw(std::uint64_t) noexcept override {}
    void admit(std::span<const std::byte>, std::function<void(wye::error_code, std::uint32_t)> done) override
    {
        answers_.push_back([done = std::move(done)] { done({}, 1); });
    }
    void sever(std::uint32_t, std::function<void()> severed) override { answers_.push_back(std::move(severed)); }
    std::unique_ptr<wye::segment> import(std::uint32_t, wye::tier t, std::int32_t, std::uint64_t length,
                                         std::span<const std::byte>) override
    {
        auto s = std::make_unique<wye::segment>(t);
        s->length = length;
        s->reach = 1;
        return s;
    }
    bool renew(wye::segment&, std::span<const std::byte>, std::function<void()> drained) override
    {
        answers_.push_back(std::move(drained));
        return true;
    }
    bool send(std::uint32_t, std::uint32_t, std::span<const std::byte> message) noexcept override
    {
        if (other_) other_->inbox_.emplace_back(message.begin(), message.end());
        return true;
    }

private:
    const std::uint32_t rails_;
    null_fabric* other_;
    wye::chunk* taken_ = nullptr;
    std::vector<std::vector<std::byte>> inbox_;
    std::vector<std::function<void()>> answers_;
};

} // namespace perf
