# MapReduce's general interface: records, generated input, numbers, files as records, complaints.
foreach(test batch emit generated numbers processes records resume whole why)
	whorl_test(test_job_${test} SOURCES unit/mapreduce/test_job_${test}.c support/task_test.c
		LABELS mapreduce LIBRARIES whorl_mapreduce_support)
endforeach()
