# The end of jobs: rows in slices, and what becomes of them.
whorl_test(test_slices SOURCES unit/mapreduce/test_slices.c support/task_test.c
	LABELS mapreduce LIBRARIES whorl_mapreduce_support)
whorl_test(test_job_output SOURCES unit/mapreduce/test_job_output.c support/task_test.c
	LABELS mapreduce LIBRARIES whorl_mapreduce_support)
