# Programs to copy from: MapReduce jobs on the public interface, and tests of them against
# independent counts.
pkg_check_modules(CRYPTO IMPORTED_TARGET libcrypto)

function(whorl_example name)
	add_executable(example_${name} examples/${name}.c examples/program.c)
	target_include_directories(example_${name} PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
	target_link_libraries(example_${name} PRIVATE
		whorl_static whorl_build whorl_warnings ${ARGN})
	set_target_properties(example_${name} PROPERTIES OUTPUT_NAME ${name}
		RUNTIME_OUTPUT_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/examples)
endfunction()

foreach(name grep_count inverted_index log_status ngram_totals wordcount)
	whorl_example(${name})
endforeach()
if(CRYPTO_FOUND)
	whorl_example(hash_files PkgConfig::CRYPTO)
endif()
# Numeric names, so that it needs no network.
whorl_example(lookups)
add_test(NAME example_lookups COMMAND example_lookups 127.0.0.1 ::1 192.0.2.7)
set_tests_properties(example_lookups PROPERTIES TIMEOUT 60 LABELS exec
	PASS_REGULAR_EXPRESSION "192.0.2.7 192.0.2.7")
whorl_script_test(test_examples examples/test_examples.py LABELS mapreduce)
