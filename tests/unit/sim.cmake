# Tests in simulated worlds, and of the parts of the simulated kernel that need none.
add_library(whorl_sim_test_support STATIC support/sim_test.c)
target_include_directories(whorl_sim_test_support PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}
	$<TARGET_PROPERTY:whorl_objects,INTERFACE_INCLUDE_DIRECTORIES>)
target_link_libraries(whorl_sim_test_support
	PRIVATE whorl_build whorl_warnings PkgConfig::CMOCKA
	PUBLIC whorl_test_support)

foreach(test sim_disk sim_fs sim_fs_crash sim_net)
	whorl_test(test_${test} SOURCES unit/backend/test_${test}.c
		LABELS backend sim LIBRARIES whorl_sim_test_support)
endforeach()

# What takes time, or depends on who comes first, through the public API.
foreach(test race_sim serve stream_sim timing)
	whorl_test(test_${test} SOURCES unit/io/test_${test}.c
		LABELS io sim LIBRARIES whorl_sim_test_support)
endforeach()

whorl_test(test_exec_sim SOURCES unit/exec/test_exec_sim.c
	LABELS exec sim LIBRARIES whorl_sim_test_support)

foreach(test sim_hosts sim_run)
	whorl_test(test_${test} SOURCES unit/loop/test_${test}.c
		LABELS loop sim LIBRARIES whorl_sim_test_support)
endforeach()
