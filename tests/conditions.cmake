# What a test needs around it: no optimisation when it is linked, the machine for itself, fewer
# rounds, or another sanitizer. Included last by tests/CMakeLists.txt, of whose tests it speaks.

# See tools/cmake/CompileOptions.cmake.
get_property(programs DIRECTORY PROPERTY BUILDSYSTEM_TARGETS)
set_target_properties(${programs} PROPERTIES WHORL_NO_LTO ON)

# CMakePresets.json gives the tests 8 processors, which stand for two: a test counts as 3, and as 1
# if it mostly waits for clocks, peers and programs, so that two work while two wait. What takes
# long comes first; those that wait fill the gaps.
get_property(tests DIRECTORY PROPERTY TESTS)
set_tests_properties(${tests} PROPERTIES PROCESSORS 3)
foreach(test broken_disk echo echo.epoll limits limits.epoll load load.epoll progress supervise
		supervise.epoll test_echo_servers test_echo_without_features test_mr_hosts
		test_mr_slurm)
	if(test IN_LIST tests)
		set_tests_properties(${test} PROPERTIES PROCESSORS 1 COST 20)
	endif()
endforeach()
set_tests_properties(counting decompress test_ngram test_ngram_command test_spill test_start
	test_torture_epoll test_torture_uring test_wordcount_spill wordcount wordcount.epoll
	PROPERTIES COST 30)
# One after the other, and beside one that works and one that waits: they look at what many peers do
# to memory, processor time and those who wait.
set(stress ${tests})
list(FILTER stress INCLUDE REGEX "^stress_")
set_tests_properties(${stress} PROPERTIES PROCESSORS 4 RESOURCE_LOCK stress COST 50)
# These use every processor themselves.
set_tests_properties(sim_seeds sim_command PROPERTIES PROCESSORS 6 COST 40)

# whorl_not_under(<preset> <test>...): label no_<preset>, which that preset leaves out.
function(whorl_not_under preset)
	foreach(test ${ARGN})
		if(test IN_LIST tests)
			set_property(TEST ${test} APPEND PROPERTY LABELS no_${preset})
		endif()
	endforeach()
endfunction()

# Sanitizers look at our code, and see it once: what runs scripts another time, with another
# backend, without features, or under somebody's scheduler, is for the release preset. The code that
# differs is in test_*.epoll and test_*_without_*, which run with each sanitizer, and test_mr_tasks,
# whose processes have no threads to race. gdb wants more debug information than these builds have.
foreach(preset asan tsan)
	whorl_not_under(${preset} echo.epoll gdb limits.epoll load.epoll supervise.epoll
		test_echo_without_features test_mr_hosts test_mr_slurm wordcount.epoll)
endforeach()

# Their crowds are larger than the 8,128 tasks and threads that ThreadSanitizer takes, and their
# limits of memory and time are for programs without its shadow memory.
whorl_not_under(tsan ${stress})
# Worlds of one thread by the ten thousand; test_sim_run and test_sim_hosts have several threads.
whorl_not_under(tsan sim_seeds sim_command)
# One thread each, and no task: minutes of nothing to race with.
whorl_not_under(tsan test_words test_ngram test_histogram test_table test_codec)
# The hand-written servers have one thread each; that of the command is `echo`'s.
whorl_not_under(tsan test_echo_servers)
# Their workers are ended by SIGTERM. ThreadSanitizer takes that from the kernel and keeps it until
# the task it came to calls the C library, which a loop that waits in its backend may never do.
whorl_not_under(tsan supervise test_supervise test_supervise.epoll)

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
