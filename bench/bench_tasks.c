/*
 * Question: what does it take to hold very many suspended tasks?
 *
 * tasks_spawn        --tasks tasks started, each until it is suspended for good; per task
 * tasks_resident     resident memory, from /proc/self/statm; per task
 * tasks_page_tables  page tables, VmPTE of /proc/self/status; per task
 * tasks_mappings     mappings of the whole process, from /proc/self/maps
 * tasks_end          all of them cancelled and waited for; per task
 *
 * Each task waits in wh_sleep_until, a few frames deep. Not measured: what a task's own variables
 * and calls add; the first page of a stack is paid for in any case, the next ones when touched.
 * Nothing is repeated: a second round would find the memory of the first.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <whorl/run.h>
#include <whorl/scope.h>
#include <whorl/task.h>

#include "micro.h"

static uint64_t tasks = 1000000;

struct memory {
	double resident_bytes;
	double page_table_bytes;
};

static struct memory memory_now(void)
{
	struct memory now = { 0 };
	unsigned long total, resident, kib;
	FILE *statm = fopen("/proc/self/statm", "re");
	FILE *status = fopen("/proc/self/status", "re");
	char line[256];

	if (!statm || !status || fscanf(statm, "%lu %lu", &total, &resident) != 2)
		abort();
	now.resident_bytes = (double)resident * (double)sysconf(_SC_PAGESIZE);
	while (fgets(line, sizeof(line), status))
		if (sscanf(line, "VmPTE: %lu", &kib) == 1)
			now.page_table_bytes = (double)kib * 1024;
	fclose(statm);
	fclose(status);
	return now;
}

static unsigned mappings_now(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	unsigned count = 0;
	int c;

	if (!maps)
		abort();
	while ((c = getc(maps)) != EOF)
		count += c == '\n';
	fclose(maps);
	return count;
}

static int wait_for_ever(void *arg)
{
	(void)arg;
	return wh_sleep_until(UINT64_MAX);
}

static void spawn_all(struct wh_scope *scope)
{
	for (uint64_t i = 0; i < tasks; i++) {
		int r = wh_spawn(scope, wait_for_ever, NULL);

		if (r < 0) {
			fprintf(stderr, "cannot start task %llu: %s\n", (unsigned long long)i,
				strerror(-r));
			exit(1);
		}
	}
}

static int measure(void *arg)
{
	struct memory before = memory_now(), after;
	uint64_t began = micro_now_ns();
	struct wh_scope scope;

	(void)arg;
	wh_scope_open(&scope, NULL);
	spawn_all(&scope);
	/* When it is our turn again, all have run and are suspended. */
	wh_yield();
	micro_print_once("tasks_spawn", "ns", (double)(micro_now_ns() - began) / (double)tasks);
	after = memory_now();
	micro_print_once("tasks_resident", "bytes",
			 (after.resident_bytes - before.resident_bytes) / (double)tasks);
	micro_print_once("tasks_page_tables", "bytes",
			 (after.page_table_bytes - before.page_table_bytes) / (double)tasks);
	micro_print_once("tasks_mappings", "mappings", mappings_now());
	began = micro_now_ns();
	wh_scope_cancel(&scope);
	wh_scope_close(&scope);
	micro_print_once("tasks_end", "ns", (double)(micro_now_ns() - began) / (double)tasks);
	return 0;
}

int main(int argc, char **argv)
{
	const struct micro_option options[] = { { "tasks", &tasks }, { 0 } };
	struct wh_run_opts opts = { .loops = 1, .pin = true };

	micro_options(argc, argv, options);
	opts.tasks_max = (uint32_t)tasks + 1;
	micro_check_run(wh_run(measure, NULL, &opts, NULL));
	return 0;
}
