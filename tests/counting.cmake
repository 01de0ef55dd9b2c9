# What counting is made of, and what it costs. Included by tests/CMakeLists.txt, whose functions it
# uses.
whorl_test(test_table SOURCES unit/mapreduce/test_table.c LABELS mapreduce)
whorl_script_test(counting integration/test_counting.py LABELS integration)
whorl_script_test(instructions integration/test_instructions.py LABELS integration)
