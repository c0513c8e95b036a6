# SPDX-License-Identifier: Apache-2.0
add_library(wye_warnings INTERFACE)
target_compile_options(wye_warnings INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wold-style-cast
    -Wno-missing-field-initializers $<$<BOOL:${WYE_WERROR}>:-Werror>)

# g++ 12 and 13 say these of correct code: of coroutine frames that Asio allocates, once everything is inlined,
# and of std::string's operator+ (GCC bug 105651).
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 14)
    target_compile_options(wye_warnings INTERFACE -Wno-mismatched-new-delete -Wno-restrict)
endif()

# What every translation unit of the project is compiled with, and no user of it has to be.
add_library(wye_compile INTERFACE)
target_compile_features(wye_compile INTERFACE cxx_std_20)
target_compile_definitions(wye_compile INTERFACE BOOST_ASIO_SEPARATE_COMPILATION BOOST_ASIO_NO_DEPRECATED)
target_link_libraries(wye_compile INTERFACE Boost::headers Threads::Threads)
