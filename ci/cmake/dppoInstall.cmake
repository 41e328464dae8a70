# `cmake --install`: the library with its headers, the command with its page, the fixtures, and what pkg-config and
# find_package(dppo) need to link it.
include(CMakePackageConfigHelpers)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/dppo)

set_target_properties(libdppo PROPERTIES EXPORT_NAME dppo)
install(TARGETS libdppo EXPORT dppo ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(TARGETS dppo RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(EXPORT dppo FILE dppoTargets.cmake NAMESPACE dppo:: DESTINATION ${package_dir})

# A room's header is public unless its name says that it is a room's own.
install(DIRECTORY dppo/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/dppo
  FILES_MATCHING PATTERN "*.h"
  PATTERN "*_body.h" EXCLUDE PATTERN "*internal.h" EXCLUDE PATTERN "kernel_lanes.h" EXCLUDE
  PATTERN "kernel_set.h" EXCLUDE PATTERN "data/files.h" EXCLUDE PATTERN "entries_*.h" EXCLUDE
  PATTERN "dims.h" EXCLUDE PATTERN "autograd/map.h" EXCLUDE PATTERN "config/tree.h" EXCLUDE
  PATTERN "cli" EXCLUDE PATTERN "report" EXCLUDE)

install(DIRECTORY fixtures/ DESTINATION ${CMAKE_INSTALL_DATADIR}/dppo/fixtures PATTERN "make_*.py" EXCLUDE)
install(FILES ci/original/measure.py DESTINATION ${CMAKE_INSTALL_DATADIR}/dppo/original)
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})

# -- for find_package(dppo)
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/dppoConfig.cmake.in
  ${CMAKE_BINARY_DIR}/package/dppoConfig.cmake INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${CMAKE_BINARY_DIR}/package/dppoConfigVersion.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/package/dppoConfig.cmake ${CMAKE_BINARY_DIR}/package/dppoConfigVersion.cmake
  ${CMAKE_CURRENT_LIST_DIR}/dppoDependencies.cmake DESTINATION ${package_dir})

# -- for pkg-config: written when installing, because --prefix may differ from what was configured
set(DPPO_PC_LIBDIR ${CMAKE_INSTALL_LIBDIR})
set(DPPO_PC_INCLUDEDIR ${CMAKE_INSTALL_INCLUDEDIR})
foreach(folder DPPO_PC_LIBDIR DPPO_PC_INCLUDEDIR)
  if(NOT IS_ABSOLUTE ${${folder}})
    set(${folder} "\${prefix}/${${folder}}")
  endif()
endforeach()
string(JOIN " " DPPO_PC_REQUIRES ${DPPO_PKGCONFIG})
set(DPPO_PC_MUJOCO -lmujoco)
get_target_property(mujoco_file mujoco::mujoco LOCATION)
get_filename_component(mujoco_dir "${mujoco_file}" DIRECTORY)
if(NOT mujoco_dir IN_LIST CMAKE_C_IMPLICIT_LINK_DIRECTORIES)
  set(DPPO_PC_MUJOCO "-L${mujoco_dir} -lmujoco")
endif()
install(CODE "
  set(PROJECT_VERSION [==[${PROJECT_VERSION}]==])
  set(PROJECT_DESCRIPTION [==[${PROJECT_DESCRIPTION}]==])
  set(DPPO_PC_LIBDIR [==[${DPPO_PC_LIBDIR}]==])
  set(DPPO_PC_INCLUDEDIR [==[${DPPO_PC_INCLUDEDIR}]==])
  set(DPPO_PC_REQUIRES [==[${DPPO_PC_REQUIRES}]==])
  set(DPPO_PC_MUJOCO [==[${DPPO_PC_MUJOCO}]==])
  configure_file([==[${CMAKE_CURRENT_LIST_DIR}/dppo.pc.in]==] [==[${CMAKE_BINARY_DIR}/package/dppo.pc]==] @ONLY)")
install(FILES ${CMAKE_BINARY_DIR}/package/dppo.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

# -- the page: what --help prints on every level
if(NOT CMAKE_CROSSCOMPILING)
  set(page ${CMAKE_BINARY_DIR}/package/dppo.1)
  add_custom_command(OUTPUT ${page}
    COMMAND ${CMAKE_COMMAND} -DDPPO=$<TARGET_FILE:dppo> -DPAGE=${page} -DVERSION=${PROJECT_VERSION}
            -P ${CMAKE_CURRENT_LIST_DIR}/man_page.cmake
    DEPENDS dppo ${CMAKE_CURRENT_LIST_DIR}/man_page.cmake VERBATIM)
  add_custom_target(man_page ALL DEPENDS ${page})
  install(FILES ${page} DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
endif()
