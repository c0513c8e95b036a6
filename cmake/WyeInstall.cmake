# SPDX-License-Identifier: Apache-2.0
# cmake --install: the library, its headers, and what find_package(wye) reads.
if(NOT WYE_INSTALL)
    return()
endif()

include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(config_dir ${CMAKE_INSTALL_LIBDIR}/cmake/wye)

install(TARGETS wye EXPORT wye_targets)
install(DIRECTORY include/wye TYPE INCLUDE FILES_MATCHING PATTERN "*.hpp")
install(EXPORT wye_targets NAMESPACE wye:: FILE wyeTargets.cmake DESTINATION ${config_dir})

# A static library hands its own dependencies on to whoever links it.
get_target_property(kind wye TYPE)
set(WYE_RELINKS_CRYPTO OFF)
set(WYE_RELINKS_JSON OFF)
set(WYE_RELINKS_URING OFF)
set(WYE_RELINKS_FABRIC OFF)
set(WYE_RELINKS_HWLOC OFF)
if(kind STREQUAL "STATIC_LIBRARY")
    set(WYE_RELINKS_CRYPTO ON)
    set(WYE_RELINKS_JSON ${WYE_HAS_ETCD})
    set(WYE_RELINKS_URING ${WYE_HAS_URING})
    set(WYE_RELINKS_FABRIC ${WYE_HAS_FABRIC})
    set(WYE_RELINKS_HWLOC ${WYE_HAS_HWLOC})
endif()
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/wyeConfig.cmake.in ${CMAKE_CURRENT_BINARY_DIR}/wyeConfig.cmake
                              INSTALL_DESTINATION ${config_dir})
# Before 1.0 a minor version may break; the same minor does not.
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/wyeConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/wyeConfig.cmake ${CMAKE_CURRENT_BINARY_DIR}/wyeConfigVersion.cmake
        DESTINATION ${config_dir})
install(FILES LICENSE TYPE DOC)
