# Jobs whose memory is not enough. Included by tests/CMakeLists.txt, whose functions and directory
# it uses. What stands in front of the system's calls must not be optimised away.
add_library(whorl_faulty_io OBJECT support/faulty_io.c)
target_compile_options(whorl_faulty_io PRIVATE -fno-lto)
target_include_directories(whorl_faulty_io PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
target_link_libraries(whorl_faulty_io PRIVATE whorl_build whorl_warnings)
foreach(name open pread pwrite)
	target_link_options(whorl_faulty_io INTERFACE LINKER:--wrap=${name})
endforeach()

whorl_test(test_spill SOURCES unit/mapreduce/test_spill.c support/task_test.c
	LABELS mapreduce LIBRARIES whorl_mapreduce_support whorl_faulty_io)
whorl_script_test(test_wordcount_spill integration/test_wordcount_spill.py
	LABELS integration mapreduce)
