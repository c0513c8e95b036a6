# SPDX-License-Identifier: Apache-2.0
# What is built, and why not. WYE_WITH_X is AUTO, ON or OFF. AUTO: built when what it needs is found.
# ON: it is an error if it is not.

option(WYE_SAMPLES "Build the sample programs" ${PROJECT_IS_TOP_LEVEL})
option(WYE_TESTS "Build the tests" ${PROJECT_IS_TOP_LEVEL})
option(WYE_INSTALL "Let cmake --install install the library" ${PROJECT_IS_TOP_LEVEL})
option(WYE_WERROR "Warnings are errors" OFF)

if(NOT CMAKE_BUILD_TYPE AND PROJECT_IS_TOP_LEVEL AND NOT CMAKE_CONFIGURATION_TYPES)
    set(CMAKE_BUILD_TYPE Release CACHE STRING "Release, Debug or RelWithDebInfo" FORCE)
endif()

# Ends the configuration with one line when the compiler is older than what the coroutines need.
function(wye_require_compiler id name oldest)
    if(CMAKE_CXX_COMPILER_ID STREQUAL id AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS oldest)
        message(FATAL_ERROR "wye needs ${name} ${oldest} or newer, and ${CMAKE_CXX_COMPILER} is "
                            "${CMAKE_CXX_COMPILER_VERSION}: choose another with -DCMAKE_CXX_COMPILER=...")
    endif()
endfunction()
wye_require_compiler(GNU g++ 12)
wye_require_compiler(Clang clang 16)

# Found packages must be visible to a project that takes wye in with add_subdirectory.
set(CMAKE_FIND_PACKAGE_TARGETS_GLOBAL ON)

# Finds Boost with these components, or says in one line what to install.
macro(wye_find_boost what)
    find_package(Boost 1.81 QUIET CONFIG COMPONENTS headers ${ARGN})
    if(NOT Boost_FOUND)
        message(FATAL_ERROR "${what} needs Boost 1.81 or newer with: headers ${ARGN} (Debian 12: "
                            "libboost1.81-dev libboost-json1.81-dev libboost-test1.81-dev; samples/run and "
                            "tests/run install them)")
    endif()
endmacro()

wye_find_boost(wye)
if(WYE_SAMPLES)
    wye_find_boost(WYE_SAMPLES json)
endif()
if(WYE_TESTS)
    wye_find_boost(WYE_TESTS json unit_test_framework)
endif()
find_package(Threads REQUIRED)
find_package(OpenSSL 3.0 QUIET COMPONENTS Crypto SSL)
if(NOT OPENSSL_FOUND)
    message(FATAL_ERROR "wye needs OpenSSL 3.0 or newer, its libcrypto and libssl (Debian: libssl-dev; samples/run and tests/run "
                        "install it)")
endif()
find_package(PkgConfig QUIET)

set_property(GLOBAL PROPERTY WYE_SUMMARY "")

# Decides WYE_HAS_<name> from WYE_WITH_<name>, whether what it needs was `found`, and the `reason` for that.
function(wye_feature name found reason)
    set(WYE_WITH_${name} AUTO CACHE STRING "AUTO, ON or OFF")
    set_property(CACHE WYE_WITH_${name} PROPERTY STRINGS AUTO ON OFF)
    set(wish ${WYE_WITH_${name}})
    set(built ${found})
    if(NOT wish)
        set(built FALSE)
        set(reason "switched off")
    elseif(NOT found AND NOT wish STREQUAL "AUTO")
        message(FATAL_ERROR "WYE_WITH_${name}=${wish}, but: ${reason}")
    endif()
    set(WYE_HAS_${name} ${built} PARENT_SCOPE)
    set(word off)
    if(built)
        set(word on)
    endif()
    string(SUBSTRING "${name}      " 0 8 column)
    set_property(GLOBAL APPEND_STRING PROPERTY WYE_SUMMARY "\n     ${column}${word}: ${reason}")
endfunction()

set(URING_FOUND FALSE)
set(uring_missing "pkg-config was not found, and so no liburing; files go through threads")
if(PKG_CONFIG_FOUND)
    pkg_check_modules(URING QUIET IMPORTED_TARGET GLOBAL liburing>=2.3)
    set(uring_missing "liburing 2.3 or newer was not found; files go through threads")
endif()
if(URING_FOUND)
    wye_feature(URING TRUE "liburing ${URING_VERSION}; threads where the kernel forbids it")
else()
    wye_feature(URING FALSE "${uring_missing}")
endif()
set(FABRIC_FOUND FALSE)
if(PKG_CONFIG_FOUND)
    pkg_check_modules(FABRIC QUIET IMPORTED_TARGET GLOBAL libfabric>=1.17)
endif()
if(FABRIC_FOUND)
    wye_feature(FABRIC TRUE "libfabric ${FABRIC_VERSION}")
else()
    wye_feature(FABRIC FALSE "libfabric 1.17 or newer was not found; no other machines")
endif()
wye_feature(CUDA FALSE "no CUDA driver in this version; the VRAM stand-in is always built")
wye_feature(S3 FALSE "no S3 client in this version; the directory store is always built")

function(wye_summary)
    get_property(features GLOBAL PROPERTY WYE_SUMMARY)
    set(build "${CMAKE_BUILD_TYPE}")
    if(WYE_SANITIZE)
        string(APPEND build " under the ${WYE_SANITIZE} sanitizer")
    endif()
    message(STATUS "wye ${PROJECT_VERSION}: ${build}, ${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION}, "
                   "Boost ${Boost_VERSION}${features}")
endfunction()
