/*
 * Question: what does one operation cost on its way to the kernel and back to its task?
 *
 * op_nop_1, op_nop_8, op_nop_64  that many tasks, each waiting for one no-op after the other; per
 *                                operation. All that are waiting go to the kernel in one call.
 *
 * Not measured: any work in the kernel beyond taking the operation and completing it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <whorl/scope.h>
#include <whorl/task.h>

#include "loop/loop.h"
#include "micro.h"

static uint64_t operations = 200000; /* per repeat */

static int wait_for_nops(void *arg)
{
	uint64_t count = *(const uint64_t *)arg;

	for (uint64_t i = 0; i < count; i++) {
		struct whi_op op = { .kind = WHI_OP_NOP };

		if (whi_await(&op) < 0)
			abort();
	}
	return 0;
}

static double round_trips(void *arg)
{
	uint64_t batch = *(const unsigned *)arg, each = operations / batch;
	uint64_t began = micro_now_ns();
	struct wh_scope scope;

	wh_scope_open(&scope, NULL);
	for (uint64_t i = 0; i < batch; i++)
		if (wh_spawn(&scope, wait_for_nops, &each) < 0)
			abort();
	wh_scope_close(&scope);
	return (double)(micro_now_ns() - began) / (double)(batch * each);
}

static int measure(void *arg)
{
	static unsigned batches[] = { 1, 8, 64 };
	char name[32];

	(void)arg;
	for (unsigned i = 0; i < sizeof(batches) / sizeof(batches[0]); i++) {
		snprintf(name, sizeof(name), "op_nop_%u", batches[i]);
		micro_measure(name, "ns", round_trips, &batches[i]);
	}
	return 0;
}

int main(int argc, char **argv)
{
	const struct micro_option options[] = { { "operations", &operations }, { 0 } };
	const struct wh_run_opts opts = { .loops = 1, .pin = true };

	micro_options(argc, argv, options);
	if (operations < 64)
		operations = 64;
	micro_check_run(wh_run(measure, NULL, &opts, NULL));
	return 0;
}
