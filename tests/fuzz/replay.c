/* The kept inputs of a fuzz target once each, in builds that have no fuzzer. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include "fuzz/bytes.h"
#include "support/task_test.h"

enum { INPUT_BYTES_MAX = 1 << 16, PATH_BYTES_MAX = 4096 };

static void replay(const char *path)
{
	static uint8_t data[INPUT_BYTES_MAX];
	FILE *file = fopen(path, "rb");
	size_t size;

	assert_non_null(file);
	size = fread(data, 1, sizeof(data), file);
	assert_true(feof(file));
	fclose(file);
	assert_int_equal(LLVMFuzzerTestOneInput(data, size), 0);
}

static void every_kept_input_ends_well(void **state)
{
	DIR *dir = opendir(FUZZ_CORPUS);
	char path[PATH_BYTES_MAX];
	struct dirent *entry;
	unsigned count = 0;

	(void)state;
	assert_non_null(dir);
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", FUZZ_CORPUS, entry->d_name);
		replay(path);
		count++;
	}
	closedir(dir);
	assert_true(count > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_kept_input_ends_well),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
