# Ngram files. Included by tests/CMakeLists.txt, whose functions and directory it uses.
target_sources(whorl_mapreduce_support PRIVATE support/oracle_ngram.c)
whorl_test(test_ngram SOURCES unit/mapreduce/test_ngram.c support/task_test.c
	LABELS mapreduce LIBRARIES whorl_mapreduce_support)
whorl_script_test(test_ngram_command integration/test_ngram.py LABELS integration)
