# What a test needs around it: no optimisation when it is linked, the machine for itself, fewer
# rounds, or another sanitizer. Included last by tests/CMakeLists.txt, of whose tests it speaks.

# See tools/cmake/CompileOptions.cmake.
get_property(programs DIRECTORY PROPERTY BUILDSYSTEM_TARGETS)
set_target_properties(${programs} PROPERTIES WHORL_NO_LTO ON)

# Presets run two tests at a time, which is `jobs` of 4 in CMakePresets.json: a test counts as two,
# and as one if it mostly waits for clocks, peers and programs. What takes long comes first.
get_property(tests DIRECTORY PROPERTY TESTS)
set_tests_properties(${tests} PROPERTIES PROCESSORS 2)
foreach(test echo echo.epoll limits limits.epoll load load.epoll progress test_echo_servers
		test_echo_without_features test_mr_hosts test_mr_slurm)
	if(test IN_LIST tests)
		set_tests_properties(${test} PROPERTIES PROCESSORS 1 COST 20)
	endif()
endforeach()
set_tests_properties(decompress test_ngram_command test_start test_torture_epoll test_torture_uring
	wordcount wordcount.epoll PROPERTIES COST 30)
# These run alone: they fill the machine and look at what that does to memory, processor time and
# those who wait.
set(stress ${tests})
list(FILTER stress INCLUDE REGEX "^stress_")
set_tests_properties(${stress} PROPERTIES RUN_SERIAL ON)
# These use every processor themselves.
set_tests_properties(sim_seeds sim_command PROPERTIES PROCESSORS 4)

# Label `no_tsan`, which the preset tsan leaves out.
function(whorl_no_tsan)
	foreach(test ${ARGN})
		if(test IN_LIST tests)
			set_property(TEST ${test} APPEND PROPERTY LABELS no_tsan)
		endif()
	endforeach()
endfunction()

# Their crowds are larger than the 8,128 tasks and threads that ThreadSanitizer takes, and their
# limits of memory and time are for programs without its shadow memory.
whorl_no_tsan(${stress})
# Worlds of one thread by the ten thousand; test_sim_run and test_sim_hosts have several threads.
whorl_no_tsan(sim_seeds sim_command)
# One thread each, and no task: a minute of nothing to race with.
whorl_no_tsan(test_words test_ngram test_histogram)

# Worlds run one after the other in one thread: few show what there is.
if(WHORL_SANITIZE MATCHES thread)
	foreach(test sim_disk sim_fs sim_fs_crash sim_net race_sim serve stream_sim timing)
		set_property(TEST test_${test} APPEND PROPERTY ENVIRONMENT TEST_SIM_SEEDS=10)
	endforeach()
	# It releases locks that are not its own, to be told so.
	set_property(TEST test_shared APPEND PROPERTY ENVIRONMENT TSAN_OPTIONS=report_mutex_bugs=0)
	foreach(off bufring multirecv multiaccept msgring)
		set_property(TEST test_serve_without_${off} APPEND PROPERTY
			ENVIRONMENT TEST_SIM_SEEDS=10)
	endforeach()
	set_property(TEST test_serve.epoll APPEND PROPERTY ENVIRONMENT TEST_SIM_SEEDS=10)
endif()
