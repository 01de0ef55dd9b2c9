# Servers of many processes; included by tests/CMakeLists.txt, whose functions and directory it
# uses. What runs processes does so on epoll too.
whorl_test(test_supervise SOURCES unit/io/test_supervise.c support/task_test.c LABELS io)
whorl_test(test_supervised SOURCES unit/io/test_supervised.c support/task_test.c LABELS io)
whorl_script_test(supervise integration/test_supervise.py LABELS integration)

add_test(NAME test_supervise.epoll COMMAND test_supervise)
add_test(NAME supervise.epoll COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/integration/test_supervise.py
	${PROJECT_BINARY_DIR})
set_tests_properties(test_supervise.epoll supervise.epoll PROPERTIES
	ENVIRONMENT WHORL_BACKEND=epoll SKIP_RETURN_CODE 77 TIMEOUT 300 LABELS "io;epoll")
