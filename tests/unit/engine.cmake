# The tests of engine/, a folder a group; included by tests/CMakeLists.txt, whose functions and
# directory they use.
add_library(whorl_test_support STATIC
	support/bare_sched.c
	support/child.c
	support/fake_backend.c
	support/ring.c
	support/task_test.c)
target_include_directories(whorl_test_support PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}
	$<TARGET_PROPERTY:whorl_objects,INTERFACE_INCLUDE_DIRECTORIES>)
target_link_libraries(whorl_test_support PRIVATE whorl_build whorl_warnings PkgConfig::CMOCKA)

function(whorl_engine_tests folder)
	foreach(name ${ARGN})
		whorl_test(test_${name} SOURCES unit/${folder}/test_${name}.c
			LABELS ${folder} LIBRARIES whorl_test_support m)
	endforeach()
endfunction()

whorl_engine_tests(arch context)
whorl_engine_tests(backend uring uring_data uring_file uring_net uring_peers)
whorl_engine_tests(base alloc list queue spin wheel)
whorl_engine_tests(exec lanes map threads)
target_link_options(test_lanes PRIVATE LINKER:--wrap=pthread_create)
whorl_engine_tests(io reader_scripted stream_scarce stream_scripted)
whorl_engine_tests(loop await bufs call cross runtime signals)
whorl_engine_tests(op op)
whorl_engine_tests(task deadline join overflow scope stack task)
