// SPDX-License-Identifier: Apache-2.0
#include "errors.hpp"

#include <cerrno>
#include <string>

#include <wye/cufile.hpp>

namespace wye {

namespace {

namespace sys = boost::system;

const char* words(int value) noexcept
{
    switch (value) {
    case 5001: return "the nvidia-fs driver is not loaded or not open";
    case 5003: return "a limit is out of range";
    case 5004: return "nvidia-fs is of another version";
    case 5005: return "the version of nvidia-fs cannot be read";
    case 5006: return "it is being closed";
    case 5007: return "the platform is not supported";
    case 5008: return "the file is on a filesystem or device that is not supported";
    case 5009: return "the GPU is not supported";
    case 5010: return "nvidia-fs failed";
    case cuf::cuda_failed: return "CUDA's driver failed";
    case 5012: return "this is no device memory";
    case 5013: return "memory of this kind is not supported";
    case 5014: return "this reaches past the end of its allocation";
    case 5015: return "the context is another's";
    case 5018: return "files of this kind are not supported";
    case 5019: return "the file is open in a way that is not supported";
    case 5020: return "the file is not open for O_DIRECT";
    case 5022: return "an argument is invalid";
    case 5023: return "the memory is registered already";
    case 5024: return "the memory is not registered";
    case 5025: return "this is not permitted";
    case cuf::already_open: return "it is open already";
    case 5027: return "the file cannot be registered";
    case 5028: return "the file is registered already";
    case 5029: return "no such GPU";
    case 5030: return "an error within it";
    case 5034: return "I/O is disabled";
    case 5036: return "device memory could not be pinned";
    case 5043: return "out of memory";
    case 5044: return "an I/O error";
    }
    return nullptr;
}

class cufile_errors final : public sys::error_category {
public:
    const char* name() const noexcept override { return "cufile"; }
    std::string message(int value) const override
    {
        const char* const known = words(value);
        return "cufile: " + (known ? known + (" (" + std::to_string(value) + ")") : "error " + std::to_string(value));
    }
    sys::error_condition default_error_condition(int value) const noexcept override
    {
        switch (value) {
        case 5007:
        case 5008:
        case 5009:
        case 5013:
        case 5018:
        case 5020: return sys::errc::operation_not_supported;
        case 5012:
        case 5022:
        case 5024: return sys::errc::invalid_argument;
        case 5014: return sys::errc::result_out_of_range;
        case 5025: return sys::errc::operation_not_permitted;
        case 5029: return sys::errc::no_such_device;
        case 5036:
        case 5043: return sys::errc::not_enough_memory;
        default: return sys::errc::io_error;
        }
    }
};

} // namespace

const sys::error_category& cufile_category() noexcept
{
    static const cufile_errors category;
    return category;
}

namespace cuf {

error_code error_of(status s) noexcept
{
    if (s.error == 0) return {};
    return {s.error, cufile_category()};
}

/// -1 is the system's error, and any other the library's own.
error_code error_of(ssize_t returned, int number) noexcept
{
    if (returned == -1) return file_error(number != 0 ? number : EIO);
    return {static_cast<int>(-returned), cufile_category()};
}

} // namespace cuf

} // namespace wye
