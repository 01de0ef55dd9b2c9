/* The least that touches tasks, scopes and timers through the installed package. */
#include <stdio.h>

#include <whorl/whorl.h>

static int child(void *arg)
{
	int *counter = arg;

	(*counter)++;
	return wh_sleep(1 * WH_MS);
}

static int root(void *arg)
{
	struct wh_scope scope;
	int r;

	wh_scope_open(&scope, NULL);
	for (int i = 0; i < 10; i++) {
		r = wh_spawn(&scope, child, arg);
		if (r < 0)
			wh_scope_cancel(&scope);
	}
	return wh_scope_close(&scope);
}

int main(void)
{
	int counter = 0;
	int result = -1;
	int r = wh_run(root, &counter, NULL, &result);

	if (r < 0) {
		fprintf(stderr, "consumer: %s\n", wh_run_advice(r));
		return 1;
	}
	return result == 0 && counter == 10 ? 0 : 1;
}
