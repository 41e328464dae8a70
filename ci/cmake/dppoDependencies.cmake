# What libdppo links: read by the build and, installed beside dppoConfig.cmake, by whoever links the library.
# Sets DPPO_PKGCONFIG (their pkg-config names), DPPO_LIBRARIES (targets) and DPPO_NOT_FOUND (names, empty when all are
# there).
set(DPPO_PKGCONFIG hdf5-serial openblas sleef yaml-0.1 libzip)
set(DPPO_LIBRARIES)
set(DPPO_NOT_FOUND)

find_package(PkgConfig QUIET)
find_package(Threads QUIET)
foreach(package ${DPPO_PKGCONFIG})
  string(MAKE_C_IDENTIFIER "dppo_${package}" target)
  if(PKG_CONFIG_FOUND)
    pkg_check_modules(${target} QUIET IMPORTED_TARGET GLOBAL ${package})
  endif()
  if(TARGET PkgConfig::${target})
    list(APPEND DPPO_LIBRARIES PkgConfig::${target})
  else()
    list(APPEND DPPO_NOT_FOUND ${package})
  endif()
endforeach()

# Debian's package names an include folder of qhull that it does not bring; the one with mujoco/mujoco.h is enough.
# The target is global because the command, the shim and the tests link it through libdppo from other folders.
find_package(mujoco QUIET)
find_path(MUJOCO_INCLUDE_DIR mujoco/mujoco.h)
if(TARGET mujoco::mujoco AND MUJOCO_INCLUDE_DIR)
  get_target_property(is_global mujoco::mujoco IMPORTED_GLOBAL)
  if(NOT is_global)
    set_target_properties(mujoco::mujoco PROPERTIES IMPORTED_GLOBAL TRUE)
  endif()
  set_target_properties(mujoco::mujoco PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${MUJOCO_INCLUDE_DIR}")
else()
  list(APPEND DPPO_NOT_FOUND mujoco)
endif()
list(APPEND DPPO_LIBRARIES mujoco::mujoco Threads::Threads m)
