# Whole machines' worth of trouble: one server that offers everything, programs that ill-treat it,
# and scripts that run both and judge. Sizes are those of a quick run; a script takes others as
# arguments, NAME=VALUE. Included by tests/CMakeLists.txt, whose functions and directory it uses.
function(whorl_stress_program name)
	add_executable(stress_${name} ${ARGN})
	target_include_directories(stress_${name} PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
	target_link_libraries(stress_${name} PRIVATE whorl_objects whorl_warnings m)
	# What a program must be compiled with for a large frame not to step over a guard.
	target_compile_options(stress_${name} PRIVATE -fstack-clash-protection)
endfunction()

whorl_stress_program(server stress/server.c stress/services.c)
whorl_stress_program(fair stress/fair.c stress/client.c)
whorl_stress_program(resets stress/resets.c stress/client.c)
whorl_stress_program(mixed stress/mixed.c stress/client.c)

# On each backend; NAME=VALUE for the shorter runs: the one on epoll, and those with a sanitizer.
function(whorl_stress_test name)
	set(script ${CMAKE_CURRENT_SOURCE_DIR}/stress/${name}.py ${PROJECT_BINARY_DIR})
	set(sizes "")
	if(WHORL_SANITIZE)
		set(sizes ${ARGN})
	endif()
	add_test(NAME stress_${name} COMMAND ${script} ${sizes})
	add_test(NAME stress_${name}.epoll COMMAND ${script} ${ARGN})
	set_tests_properties(stress_${name} stress_${name}.epoll PROPERTIES
		SKIP_RETURN_CODE 77 TIMEOUT 300 LABELS stress)
	set_tests_properties(stress_${name}.epoll PROPERTIES
		ENVIRONMENT WHORL_BACKEND=epoll LABELS "stress;epoll")
endfunction()

whorl_stress_test(bufs seconds=1)
whorl_stress_test(limits)
whorl_stress_test(mixed seconds=4)
whorl_stress_test(overflow)
whorl_stress_test(readers seconds=1)
whorl_stress_test(resets connections=10000)
