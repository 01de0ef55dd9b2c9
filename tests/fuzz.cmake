# Fuzz targets. Under WHORL_FUZZ (clang) they are programs for tools/fuzz; in every other build,
# tests that run the kept inputs once.
#
# whorl_fuzz(<name> SOURCES <file>...): target fuzz_<name>, corpus fuzz/corpus/<name>/
function(whorl_fuzz name)
	cmake_parse_arguments(fuzz "" "" "SOURCES" ${ARGN})
	if(NOT WHORL_FUZZ)
		whorl_test(test_fuzz_${name} SOURCES ${fuzz_SOURCES} fuzz/replay.c
			LABELS fuzz LIBRARIES whorl_test_support)
		target_compile_definitions(test_fuzz_${name} PRIVATE
			FUZZ_CORPUS="${CMAKE_CURRENT_SOURCE_DIR}/fuzz/corpus/${name}")
		return()
	endif()
	add_executable(fuzz_${name} EXCLUDE_FROM_ALL ${fuzz_SOURCES})
	target_include_directories(fuzz_${name} PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
	target_link_libraries(fuzz_${name} PRIVATE
		whorl_objects whorl_warnings whorl_test_support PkgConfig::CMOCKA)
	target_link_options(fuzz_${name} PRIVATE -fsanitize=fuzzer)
	add_dependencies(fuzzers fuzz_${name})
endfunction()

if(WHORL_FUZZ)
	add_custom_target(fuzzers)
endif()
whorl_fuzz(completions SOURCES fuzz/fuzz_completions.c fuzz/kernel.c)
whorl_fuzz(reader SOURCES fuzz/fuzz_reader.c fuzz/kernel.c)
whorl_fuzz(addr SOURCES fuzz/fuzz_addr.c)
whorl_fuzz(decompress SOURCES fuzz/fuzz_decompress.c)
whorl_fuzz(records SOURCES fuzz/fuzz_records.c)
whorl_fuzz(ngram SOURCES fuzz/fuzz_ngram.c support/oracle_ngram.c support/row_text.c
	unit/mapreduce/count_blocks.c)
