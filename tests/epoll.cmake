# The test run on epoll: every test that opens a runtime or a backend, once more with
# WHORL_BACKEND=epoll, as NAME.epoll with the label `epoll`. Included last by tests/CMakeLists.txt,
# whose tests it repeats.
#
# Not repeated: what never opens a backend; what runs on the fake or the simulated one;
# test_selftest and test_restrict, which are about io_uring's features; test_command, test_gdb and
# the tests of choosing a backend, which name backends themselves.
whorl_test(test_process LABELS io SOURCES unit/io/test_process.c support/task_test.c)
whorl_engine_tests(backend epoll)

# whorl_epoll_test(<name> <command>...)
function(whorl_epoll_test name)
	get_test_property(${name} LABELS labels)
	add_test(NAME ${name}.epoll COMMAND ${ARGN})
	set_tests_properties(${name}.epoll PROPERTIES ENVIRONMENT WHORL_BACKEND=epoll
		SKIP_RETURN_CODE 77 TIMEOUT 300 LABELS "${labels};epoll")
endfunction()

foreach(test call cross file job job_end job_input job_processes job_whole listener overflow
		process race reader runtime send_view serve signals sock sock_end stream threads
		uring uring_data uring_file uring_net uring_peers)
	whorl_epoll_test(test_${test} test_${test})
endforeach()
foreach(test pool pool_cancel pool_deaths)
	whorl_epoll_test(test_${test} test_${test})
endforeach()
foreach(script echo limits load wordcount)
	whorl_epoll_test(${script} ${CMAKE_CURRENT_SOURCE_DIR}/integration/test_${script}.py
		${PROJECT_BINARY_DIR})
endforeach()
