# SPDX-License-Identifier: Apache-2.0
add_library(wye_warnings INTERFACE)
target_compile_options(wye_warnings INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wold-style-cast
    -Wno-missing-field-initializers $<$<BOOL:${WYE_WERROR}>:-Werror>)

# What g++ says of correct code: of coroutine frames that Asio allocates, once everything is inlined; of
# std::string's operator+ (GCC bug 105651); and, from 13 on, of references that come from a call with a temporary.
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    target_compile_options(wye_warnings INTERFACE -Wno-mismatched-new-delete -Wno-restrict -Wno-dangling-reference)
    if(WYE_SANITIZE) # it cannot see through the instrumentation of Asio's use_future
        target_compile_options(wye_warnings INTERFACE -Wno-maybe-uninitialized)
    endif()
endif()

# What every translation unit of the project is compiled with, and no user of it has to be.
add_library(wye_compile INTERFACE)
target_compile_features(wye_compile INTERFACE cxx_std_20)
target_compile_definitions(wye_compile INTERFACE BOOST_ASIO_SEPARATE_COMPILATION BOOST_ASIO_NO_DEPRECATED)
target_link_libraries(wye_compile INTERFACE Boost::headers Threads::Threads)
