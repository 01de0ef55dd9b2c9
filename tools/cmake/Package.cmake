# The installed package: libraries, headers, whorl.pc and the CMake package `whorl`.
include(CMakePackageConfigHelpers)

set(whorl_cmake_dir ${CMAKE_INSTALL_LIBDIR}/cmake/whorl)
install(TARGETS whorl whorl_static EXPORT whorlTargets FILE_SET HEADERS)
install(EXPORT whorlTargets NAMESPACE whorl:: DESTINATION ${whorl_cmake_dir})
if(TARGET whorl_command)
	install(TARGETS whorl_command)
endif()

configure_package_config_file(tools/cmake/whorlConfig.cmake.in whorlConfig.cmake
	INSTALL_DESTINATION ${whorl_cmake_dir})
write_basic_package_version_file(whorlConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/whorlConfig.cmake ${PROJECT_BINARY_DIR}/whorlConfigVersion.cmake
	DESTINATION ${whorl_cmake_dir})

# What a static link needs besides libwhorl.a.
set(whorl_pc_private "${WHORL_DECODER_FLAGS}-pthread")
if(WHORL_USE_MIMALLOC)
	string(PREPEND whorl_pc_private "-lmimalloc ")
endif()
# Relative, so that an installed tree can be moved, unless the directories are absolute.
file(RELATIVE_PATH whorl_pc_up "/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/")
set(whorl_pc_prefix "\${pcfiledir}/${whorl_pc_up}")
set(whorl_pc_libdir "\${prefix}/${CMAKE_INSTALL_LIBDIR}")
set(whorl_pc_includedir "\${prefix}/${CMAKE_INSTALL_INCLUDEDIR}")
if(IS_ABSOLUTE "${CMAKE_INSTALL_LIBDIR}")
	set(whorl_pc_prefix "${CMAKE_INSTALL_PREFIX}")
	set(whorl_pc_libdir "${CMAKE_INSTALL_LIBDIR}")
endif()
if(IS_ABSOLUTE "${CMAKE_INSTALL_INCLUDEDIR}")
	set(whorl_pc_includedir "${CMAKE_INSTALL_INCLUDEDIR}")
endif()
configure_file(tools/cmake/whorl.pc.in whorl.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/whorl.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
