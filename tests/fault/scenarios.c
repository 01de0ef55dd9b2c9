#include "scenarios.h"

#include <errno.h>
#include <stdio.h>

#include "support/task_test.h"

#define PATIENCE_NS (20 * WH_SEC)

char scenario_folder[64];

const struct scenario scenarios[] = {
	{ "echo over TCP", echo_over_tcp, 1, 0 },
	{ "echo over a Unix socket", echo_over_unix, 1, 0 },
	{ "crowd", crowd, 1, 0 },
	{ "scarce buffers", scarce_buffers, 1, 2 },
	{ "datagrams", datagrams, 1, 0 },
	{ "adopted listener", adopted_listener, 1, 0 },
	{ "stale socket file", stale_socket_file, 1, 0 },
	{ "files", files, 1, 0 },
	{ "a pipe", a_pipe, 1, 0 },
	{ "named pipe", named_pipe, 1, 0 },
	{ "offloading", offloading, 1, 0 },
	{ "two loops", two_loops, 2, 0 },
	{ "word count", word_count, 1, 0 },
	{ "lines by first letter", lines_by_first_letter, 1, 0 },
	{ "deadlines", deadlines, 1, 0 },
	{ "cancellations", cancellations, 1, 0 },
	{ "bare operations", bare_operations, 1, 0 },
	{ "a process", a_process, 1, 0 },
};

const unsigned scenario_count = sizeof(scenarios) / sizeof(scenarios[0]);

void scenarios_init(void)
{
	make_folder(scenario_folder);
	make_words();
}

void scenarios_fini(void)
{
	remove_folder(scenario_folder);
}

const char *scenario_path(char path[128], const char *name)
{
	snprintf(path, 128, "%s/%s", scenario_folder, name);
	return path;
}

int in_time(wh_task_fn fn, void *arg)
{
	struct wh_scope scope;
	int r, closed;

	wh_scope_open(&scope, &(struct wh_scope_opts){ .timeout_ns = PATIENCE_NS });
	r = fn(arg);
	closed = wh_scope_close(&scope);
	return r < 0 ? r : closed;
}

int first_failure(int r, int closed)
{
	if (closed < 0 && closed != -ECANCELED && (r >= 0 || r == -ECANCELED))
		return closed;
	return r;
}
