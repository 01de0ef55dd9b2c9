# Jobs as many processes: the format that they hand each other, hostile bytes in its place, the
# tasks, and whole runs over hosts that are network namespaces.
foreach(test codec parts)
	whorl_test(test_${test} SOURCES unit/mapreduce/test_${test}.c support/task_test.c
		LABELS mapreduce LIBRARIES whorl_mapreduce_support)
endforeach()
whorl_fuzz(parts SOURCES fuzz/fuzz_parts.c)
foreach(script tasks slurm hosts)
	whorl_script_test(test_mr_${script} mr/test_${script}.py LABELS integration)
endforeach()
