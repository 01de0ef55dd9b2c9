# Whole uses of the engine with something failing in them, on every real backend. Included by
# tests/CMakeLists.txt, whose functions and directory it uses.
file(GLOB whorl_headers CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/engine/include/whorl/*.h)
set(whorl_documented ${CMAKE_CURRENT_BINARY_DIR}/documented.inc)
add_custom_command(OUTPUT ${whorl_documented}
	COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/support/documented.py ${whorl_headers}
		> ${whorl_documented}
	DEPENDS support/documented.py ${whorl_headers} VERBATIM)

# What stands in front of the engine's functions and the system's must not be optimised away.
add_library(whorl_faults OBJECT support/faulty_backend.c support/faulty_system.c support/manual.c
	support/task_test.c fault/outcome.c fault/scenarios.c fault/scenarios_bare.c
	fault/scenarios_file.c fault/scenarios_sock.c fault/scenarios_work.c fault/torture.c
	${whorl_documented})
target_compile_options(whorl_faults PRIVATE -fno-lto)
target_include_directories(whorl_faults PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}
	${CMAKE_CURRENT_BINARY_DIR} $<TARGET_PROPERTY:whorl_objects,INTERFACE_INCLUDE_DIRECTORIES>)
target_link_libraries(whorl_faults PRIVATE whorl_build whorl_warnings PkgConfig::CMOCKA)
foreach(name whi_backend_find epoll_create1 epoll_ctl eventfd io_uring_get_probe_ring
		io_uring_queue_init_params io_uring_register_ring_fd io_uring_setup_buf_ring madvise
		memfd_create mmap mprotect posix_spawn pthread_create pthread_join sendmsg
		sigaltstack socketpair)
	target_link_options(whorl_faults INTERFACE LINKER:--wrap=${name})
endforeach()

# ThreadSanitizer is slower, and the races it looks for show early.
set(scale 1)
if(WHORL_SANITIZE MATCHES thread)
	set(scale 0.03)
endif()
whorl_test(test_start LABELS fault LIBRARIES whorl_faults SOURCES fault/test_start.c)
add_executable(test_torture fault/test_torture.c fault/passes_alloc.c fault/passes_ops.c)
target_include_directories(test_torture PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
target_link_libraries(test_torture PRIVATE
	whorl_objects whorl_faulty_alloc whorl_warnings whorl_faults PkgConfig::CMOCKA)
foreach(backend uring epoll)
	add_test(NAME test_torture_${backend} COMMAND test_torture ${backend} ${scale})
	set_tests_properties(test_torture_${backend} PROPERTIES
		SKIP_RETURN_CODE 77 TIMEOUT 300 LABELS fault)
endforeach()
whorl_test(test_pool_faults LABELS fault LIBRARIES whorl_faults
	SOURCES fault/test_pool_faults.c support/pool_jobs.c)
