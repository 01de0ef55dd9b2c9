# Which backend and which kernel features are used, and what the rings and the process may do.
whorl_engine_tests(backend refusal selftest)
whorl_engine_tests(loop choice restrict)

# The same tests with each kernel feature turned off that the engine would use.
foreach(off bufring multirecv multiaccept msgring)
	foreach(test listener serve sock stream cross)
		add_test(NAME test_${test}_without_${off} COMMAND test_${test})
		set_tests_properties(test_${test}_without_${off} PROPERTIES
			ENVIRONMENT WHORL_URING_OFF=${off} LABELS backend
			SKIP_RETURN_CODE 77 TIMEOUT 300)
	endforeach()
endforeach()

if(TARGET whorl_filter)
	whorl_test(test_filter SOURCES unit/tools/test_filter.c LIBRARIES
		whorl_filter whorl_test_support)
	add_executable(under_filter support/under_filter.c)
	target_link_libraries(under_filter PRIVATE whorl_build whorl_warnings PkgConfig::SECCOMP)
	whorl_script_test(backend_choice integration/test_backend_choice.py LABELS integration)
	add_test(NAME test_echo_without_features COMMAND
		${CMAKE_CURRENT_SOURCE_DIR}/integration/test_echo.py ${PROJECT_BINARY_DIR})
	set_tests_properties(test_echo_without_features PROPERTIES
		ENVIRONMENT WHORL_URING_OFF=bufring,multirecv,multiaccept,msgring
		LABELS integration SKIP_RETURN_CODE 77 TIMEOUT 300)
	# It changes what every program on the machine may do, so nothing else runs meanwhile.
	add_test(NAME backend_sysctl COMMAND
		${CMAKE_CURRENT_SOURCE_DIR}/integration/test_backend_sysctl.py
		${PROJECT_BINARY_DIR})
	set_tests_properties(backend_sysctl PROPERTIES RUN_SERIAL ON
		LABELS integration SKIP_RETURN_CODE 77 TIMEOUT 300)
endif()
