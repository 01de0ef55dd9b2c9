# What jobs read and write, and what is shown meanwhile: compressed and changing files, broken and
# full disks, progress. Included by tests/CMakeLists.txt, whose functions and directory it uses.
foreach(script broken_disk decompress full_disk progress)
	whorl_script_test(${script} integration/test_${script}.py LABELS integration)
endforeach()
foreach(test changing packed)
	whorl_test(test_job_${test} SOURCES unit/mapreduce/test_job_${test}.c support/task_test.c
		LABELS mapreduce LIBRARIES whorl_mapreduce_support)
endforeach()
