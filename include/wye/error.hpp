// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/system/error_code.hpp>
#include <boost/system/system_error.hpp>

namespace wye {

using boost::system::error_code;
using boost::system::system_error;

/// What can go wrong that no operating system, vendor library or server has a number for.
///
/// A cancelled operation reports `boost::asio::error::operation_aborted`, as every Asio operation does.
/// Errors of the system keep their errno but live in the category of their tier (`file_category`,
/// `object_category`), so that a message names the tier; all compare equal to the standard conditions
/// (`ec == boost::system::errc::no_space_on_device`).
enum class errc {
    deadline_missed = 1, ///< the deadline passed first; the operation is quiescent all the same
    wrong_thread,        ///< a handle was used from a thread that is not its runtime's
    invalid_slice,       ///< a slice of nothing: default-made, or of a region that was closed
    out_of_range,        ///< a slice reaches past the end of its region, file or object
    length_mismatch,     ///< the two sides of a transfer differ in length
    no_route,            ///< no chain of drivers carries this pair of tiers
    other_runtime,       ///< the two sides belong to different runtimes
    short_transfer,      ///< the source ended before the slice did: a truncated file, object or body
    corrupt,             ///< `verify`: the bytes are not those that were written
    unverified,          ///< `verify`: no checksum is known for exactly this extent
    not_found,           ///< no such object, file, or published name
    read_only,           ///< a write to something opened or published for reading
    not_supported,       ///< the tier or the driver cannot do this
    shut_down,           ///< the runtime or the agent is gone, or going
    rail_lost,           ///< every rail that could carry it is lost; of a chunk, see `driver::may_lose_rails`
    bad_name,            ///< a key, path or URL that is malformed or forbidden
    peer_lost,           ///< the peer cannot be reached, or has said nothing for too long
    not_trusted,         ///< the other side does not know the secret
    bad_metadata,        ///< it is malformed, or of another version
    stale_metadata,      ///< it speaks of an earlier life of that agent: fetch it again
    stale_epoch,         ///< the peer has published something else by that name since
    withdrawn,           ///< the peer lets nobody in there any more, or not us
    path_lost,           ///< of a chunk: the way over this rail to this peer broke; nothing of the chunk touches memory
                         ///< any more, and others on the rail go on
};

const boost::system::error_category& wye_category() noexcept;
/// Errno values that FILE and BLOCK report; `message()` begins with "file: ".
const boost::system::error_category& file_category() noexcept;
/// Errno values that a directory store reports; `message()` begins with "object: ".
const boost::system::error_category& object_category() noexcept;

inline error_code make_error_code(errc e) noexcept
{
    return {static_cast<int>(e), wye_category()};
}
/// An errno (positive) as the FILE tier reports it.
inline error_code file_error(int number) noexcept { return {number, file_category()}; }
/// An errno (positive) as the OBJ tier's directory store reports it.
inline error_code object_error(int number) noexcept { return {number, object_category()}; }

} // namespace wye

template <>
struct boost::system::is_error_code_enum<wye::errc> : std::true_type {};
