# Pools of processes, and what processes share; included by tests/CMakeLists.txt, whose functions
# and directory it uses.
whorl_engine_tests(exec process_rings shared)
foreach(test pool pool_cancel pool_deaths)
	whorl_test(test_${test} SOURCES unit/exec/test_${test}.c support/pool_jobs.c
		LABELS exec LIBRARIES whorl_test_support)
endforeach()

add_executable(example_lost_updates examples/lost_updates.c)
target_link_libraries(example_lost_updates PRIVATE whorl_static whorl_build whorl_warnings)
set_target_properties(example_lost_updates PROPERTIES OUTPUT_NAME lost_updates
	RUNTIME_OUTPUT_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/examples)
add_test(NAME example_lost_updates COMMAND example_lost_updates 2 2000000)
set_tests_properties(example_lost_updates PROPERTIES TIMEOUT 300 LABELS exec)

# With either library: in the shared one a function's address is not the program's own.
foreach(library static shared)
	add_executable(pool_program_${library} support/pool_program.c)
	target_link_libraries(pool_program_${library} PRIVATE whorl_build whorl_warnings)
endforeach()
target_link_libraries(pool_program_static PRIVATE whorl_static)
target_link_libraries(pool_program_shared PRIVATE whorl)
whorl_script_test(pool integration/test_pool.py LABELS integration)

# The library's jobs register with the program that loads it.
add_library(pool_library MODULE support/pool_library.c)
target_include_directories(pool_library PRIVATE ${PROJECT_SOURCE_DIR}/engine/include)
target_link_libraries(pool_library PRIVATE whorl_build whorl_warnings)
add_executable(test_pool_library unit/exec/test_pool_library.c support/pool_jobs.c)
target_include_directories(test_pool_library PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
target_link_libraries(test_pool_library PRIVATE
	whorl_objects whorl_faulty_alloc whorl_warnings whorl_test_support PkgConfig::CMOCKA)
set_target_properties(test_pool_library PROPERTIES ENABLE_EXPORTS ON)
add_test(NAME test_pool_library COMMAND test_pool_library $<TARGET_FILE:pool_library>)
set_tests_properties(test_pool_library PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 300 LABELS exec)
