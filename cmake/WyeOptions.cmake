# SPDX-License-Identifier: Apache-2.0
# WYE_WITH_X is AUTO, ON or OFF. AUTO: built when what it needs is found. ON: it is an error if not.

option(WYE_SAMPLES "Build the sample programs" ${PROJECT_IS_TOP_LEVEL})
option(WYE_TESTS "Build the tests" ${PROJECT_IS_TOP_LEVEL})
option(WYE_WERROR "Warnings are errors" OFF)

find_package(Boost 1.81 REQUIRED)
find_package(Threads REQUIRED)
find_package(PkgConfig QUIET)

set(WYE_SUMMARY "" CACHE INTERNAL "")

function(wye_feature name found reason)
    set(WYE_WITH_${name} AUTO CACHE STRING "AUTO, ON or OFF")
    set_property(CACHE WYE_WITH_${name} PROPERTY STRINGS AUTO ON OFF)
    set(on FALSE)
    if(WYE_WITH_${name} STREQUAL "OFF")
        set(why "switched off")
    elseif(found)
        set(on TRUE)
        set(why "${reason}")
    elseif(WYE_WITH_${name} STREQUAL "AUTO")
        set(why "${reason}")
    else()
        message(FATAL_ERROR "WYE_WITH_${name}=ON, but: ${reason}")
    endif()
    set(WYE_HAS_${name} ${on} PARENT_SCOPE)
    string(APPEND WYE_SUMMARY "  ${name}: ${on} (${why})\n")
    set(WYE_SUMMARY "${WYE_SUMMARY}" CACHE INTERNAL "")
endfunction()

if(PKG_CONFIG_FOUND)
    pkg_check_modules(URING QUIET IMPORTED_TARGET liburing>=2.3)
endif()
if(URING_FOUND)
    wye_feature(URING TRUE "liburing ${URING_VERSION}")
else()
    wye_feature(URING FALSE "liburing 2.3 or newer was not found; files go through a thread pool")
endif()
wye_feature(FABRIC FALSE "not part of this version")
wye_feature(CUDA FALSE "not part of this version")
wye_feature(S3 FALSE "not part of this version")

function(wye_summary)
    message(STATUS "wye ${PROJECT_VERSION}, ${CMAKE_BUILD_TYPE}, ${CMAKE_CXX_COMPILER_ID} "
                   "${CMAKE_CXX_COMPILER_VERSION}, Boost ${Boost_VERSION_STRING}:\n${WYE_SUMMARY}")
endfunction()
