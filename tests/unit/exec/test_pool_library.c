/*
 * Jobs of a library that is loaded when the workers are there already. The path of the library is
 * the first argument.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "support/pool_jobs.h"
#include "support/task_test.h"

static char library[4096];

static int job_of_a_loaded_library_runs_in_workers(void *arg)
{
	struct wh_executor *executor = open_pool(&(struct wh_pool_opts){ .processes = 2 });
	struct offload jobs[50];
	struct wh_scope scope;
	void *handle;

	(void)arg;
	check_int(result_of(executor, "from_library"), -ENOSYS);
	handle = dlopen(library, RTLD_NOW);
	check(handle);
	wh_scope_open(&scope, NULL);
	for (int i = 0; i < 50; i++) {
		jobs[i] = (struct offload){ .executor = executor,
					    .call = { .job = "from_library" } };
		check_int(wh_spawn(&scope, run_offload, &jobs[i]), 0);
	}
	check_int(wh_scope_close(&scope), 0);
	for (int i = 0; i < 50; i++) {
		check_int(jobs[i].r, 0);
		check_int(jobs[i].result, 42);
	}
	dlclose(handle);
	check_int(result_of(executor, "from_library"), -ENOSYS);
	wh_executor_close(executor);
	return 0;
}

/* Relative to a directory that the workers are not in. */
static int path_of_the_library_is_made_absolute(void *arg)
{
	struct wh_executor *executor = open_pool(&(struct wh_pool_opts){ .processes = 1 });
	char *slash = library;
	char relative[4100];
	void *handle;

	(void)arg;
	for (char *at = library; *at; at++)
		if (*at == '/')
			slash = at;
	check(*slash == '/');
	*slash = '\0';
	check_int(chdir(library), 0);
	snprintf(relative, sizeof(relative), "./%s", slash + 1);
	*slash = '/';
	handle = dlopen(relative, RTLD_NOW);
	check(handle);
	check_int(result_of(executor, "from_library"), 42);
	dlclose(handle);
	wh_executor_close(executor);
	return 0;
}

static int library_that_is_gone_is_named(void *arg)
{
	struct wh_executor *executor = open_pool(&(struct wh_pool_opts){ .processes = 1 });
	char copy[] = "/tmp/whorl-library-XXXXXX";
	char command[9000];
	void *handle;
	int fd = mkstemp(copy);

	(void)arg;
	check(fd >= 0);
	close(fd);
	snprintf(command, sizeof(command), "cp '%s' '%s'", library, copy);
	check_int(system(command), 0);
	handle = dlopen(copy, RTLD_NOW);
	check(handle);
	check_int(unlink(copy), 0);
	check_int(result_of(executor, "from_library"), -ELIBACC);
	check_int(result_of(executor, "nothing"), 0);
	dlclose(handle);
	wh_executor_close(executor);
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		task_test(job_of_a_loaded_library_runs_in_workers),
		task_test(path_of_the_library_is_made_absolute),
		task_test(library_that_is_gone_is_named),
	};

	wh_jobs_main();
	if (argc != 2 || !realpath(argv[1], library)) {
		fprintf(stderr, "usage: test_pool_library LIBRARY\n");
		return 2;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
