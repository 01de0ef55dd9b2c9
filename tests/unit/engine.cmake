# The tests of engine/, a folder a group; included by tests/CMakeLists.txt, whose functions and
# directory they use. A name is <file>, or <file>:concurrent for one worth running under
# ThreadSanitizer.
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
	foreach(entry ${ARGN})
		string(REPLACE ":" ";" parts ${entry})
		list(POP_FRONT parts name)
		whorl_test(test_${name} SOURCES unit/${folder}/test_${name}.c
			LABELS ${folder} ${parts} LIBRARIES whorl_test_support m)
	endforeach()
endfunction()

whorl_engine_tests(arch context)
whorl_engine_tests(backend uring:concurrent uring_data uring_file uring_net uring_peers:concurrent)
whorl_engine_tests(base alloc list queue:concurrent wheel)
whorl_engine_tests(exec threads:concurrent)
whorl_engine_tests(io reader_scripted stream_scarce stream_scripted)
whorl_engine_tests(loop await bufs call:concurrent cross:concurrent runtime:concurrent
	signals:concurrent)
whorl_engine_tests(op op)
whorl_engine_tests(task deadline join overflow scope stack task)
