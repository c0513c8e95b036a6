// SPDX-License-Identifier: Apache-2.0
#include <wye/error.hpp>

#include <string>

namespace wye {

namespace sys = boost::system;

namespace {

class wye_errors final : public sys::error_category {
public:
    const char* name() const noexcept override { return "wye"; }
    std::string message(int value) const override
    {
        switch (static_cast<errc>(value)) {
        case errc::deadline_missed: return "the deadline passed before the transfer ended";
        case errc::wrong_thread: return "a handle was used from a thread that is not its runtime's";
        case errc::invalid_slice: return "a slice of nothing, or of memory or a file that was closed";
        case errc::out_of_range: return "a slice reaches past the end of what it is part of";
        case errc::length_mismatch: return "the two sides of a transfer differ in length";
        case errc::no_route: return "no chain of drivers carries this pair of tiers";
        case errc::other_runtime: return "the two sides of a transfer belong to different agents";
        case errc::short_transfer: return "the source ended before the slice did";
        case errc::corrupt: return "the bytes are not those that were written: the checksum differs";
        case errc::unverified: return "no checksum is known for this extent";
        case errc::not_found: return "no such object, file or published name";
        case errc::read_only: return "it was opened for reading only";
        case errc::not_supported: return "the tier or its driver cannot do this";
        case errc::shut_down: return "the runtime or the agent is shutting down";
        case errc::rail_lost: return "every rail that could carry it is lost";
        case errc::bad_name: return "a malformed key, path or URL";
        case errc::peer_lost: return "the peer cannot be reached";
        case errc::not_trusted: return "the other side does not know the secret";
        case errc::bad_metadata: return "metadata that is malformed, or of another version";
        case errc::stale_metadata: return "metadata of an earlier life of that agent";
        case errc::stale_epoch: return "the peer has published something else by that name since";
        case errc::withdrawn: return "the peer has withdrawn that memory";
        case errc::path_lost: return "the way to the peer over this rail broke";
        }
        return "unknown error " + std::to_string(value);
    }
    sys::error_condition default_error_condition(int value) const noexcept override
    {
        switch (static_cast<errc>(value)) {
        case errc::deadline_missed: return sys::errc::timed_out;
        case errc::invalid_slice:
        case errc::length_mismatch:
        case errc::bad_name: return sys::errc::invalid_argument;
        case errc::out_of_range: return sys::errc::result_out_of_range;
        case errc::corrupt:
        case errc::rail_lost:
        case errc::path_lost:
        case errc::short_transfer: return sys::errc::io_error;
        case errc::not_found: return sys::errc::no_such_file_or_directory;
        case errc::peer_lost: return sys::errc::connection_aborted;
        case errc::withdrawn:
        case errc::not_trusted:
        case errc::read_only: return sys::errc::permission_denied;
        case errc::bad_metadata: return sys::errc::bad_message;
        case errc::not_supported:
        case errc::no_route: return sys::errc::operation_not_supported;
        case errc::shut_down: return sys::errc::operation_canceled;
        default: return {value, *this};
        }
    }
};

/// Errno values, said by the tier that met them.
class tier_errors final : public sys::error_category {
public:
    explicit constexpr tier_errors(const char* tier) noexcept : tier_{tier} {}
    const char* name() const noexcept override { return tier_; }
    std::string message(int value) const override
    {
        return std::string{tier_} + ": " + sys::generic_category().message(value);
    }
    sys::error_condition default_error_condition(int value) const noexcept override
    {
        return {value, sys::generic_category()};
    }

private:
    const char* tier_;
};

} // namespace

const sys::error_category& wye_category() noexcept
{
    static const wye_errors category;
    return category;
}

const sys::error_category& file_category() noexcept
{
    static const tier_errors category{"file"};
    return category;
}

const sys::error_category& object_category() noexcept
{
    static const tier_errors category{"object"};
    return category;
}

} // namespace wye
