# What jobs read, and what is shown meanwhile: compressed files, progress. Included by
# tests/CMakeLists.txt, whose functions and directory it uses.
foreach(script decompress progress)
	whorl_script_test(${script} integration/test_${script}.py LABELS integration)
endforeach()
whorl_test(test_job_packed SOURCES unit/mapreduce/test_job_packed.c support/task_test.c
	LABELS mapreduce LIBRARIES whorl_mapreduce_support)
