/*
 * A worker of the executor scenario has a process, a child of the supervisor's, which ends now and
 * then. Exited: the worker's program is ended on its host. Died of a signal: the host crashes, and
 * is started again. The program comes back in both cases.
 */
#include <errno.h>
#include <string.h>
#include <sys/wait.h>
#include <whorl/process.h>

#include "sim/executor.h"

enum { ENDS = 2 /* of a worker's process */, SIGNAL_MAX = 31, UNTOUCHED = -1 };

struct child {
	int pid;
	int status;
	uint64_t ends_ns;
};

/* As wait(2) has them: exited with a number, died of a signal, and that with a core file. */
static int any_status(void)
{
	int signal = (int)between(1, SIGNAL_MAX);

	switch (wh_sim_random(3)) {
	case 0:
		return W_EXITCODE((int)wh_sim_random(256), 0);
	case 1:
		return W_EXITCODE(0, signal);
	default:
		return W_EXITCODE(0, signal | WCOREFLAG);
	}
}

static struct child start(void)
{
	uint64_t after_ns = between(1, EXECUTOR_CALM_NS / ENDS);
	struct child child = { .status = any_status(), .ends_ns = wh_now_ns() + after_ns };

	child.pid = wh_sim_child(after_ns, child.status);
	return child;
}

/* Impatient: a child whose end was not waited for to the end can be waited for again. */
static int wait_once(const struct child *child, int *ret_status)
{
	struct wh_scope scope;
	int r;

	wh_scope_open(&scope,
		      &(struct wh_scope_opts){ .timeout_ns = between(1, EXECUTOR_CALM_NS) });
	r = wh_process_wait(child->pid, ret_status);
	wh_scope_close(&scope);
	return r;
}

static bool goes_on(int r)
{
	return r == -ETIMEDOUT || r == -ENOMEM || r == -EMFILE;
}

static int wait_for_end(const struct child *child)
{
	int status = UNTOUCHED;
	int r;

	while (goes_on(r = wait_once(child, &status)))
		if (status != UNTOUCHED)
			return wh_sim_fail("a status of a child that goes on");
	if (r == -ECANCELED && wh_cancelled() < 0)
		return r;
	if (r < 0)
		return wh_sim_fail("wh_process_wait returned %s", strerrorname_np(-r));
	if (status != child->status)
		return wh_sim_fail("a child ended with %#x, and is said to have with %#x",
				   (unsigned)child->status, (unsigned)status);
	if (wh_now_ns() < child->ends_ns)
		return wh_sim_fail("a child is said to have ended before it did");
	r = wh_process_wait(child->pid, &status);
	if (r != -ESRCH && r != -ECHILD)
		return wh_sim_fail("a child was collected twice");
	return 0;
}

static int restart_host(struct keeper *keeper)
{
	bool *down = &keeper->supervisor->down[keeper->host];
	int r;

	*down = true;
	r = wh_sim_crash(keeper->host);
	if (r < 0)
		return r;
	wh_sleep(between(1, 50) * WH_MS);
	*down = false;
	return wh_sim_reboot(keeper->host);
}

int executor_mind(void *arg)
{
	struct keeper *keeper = arg;
	int r = 0;

	for (int i = 0; r == 0 && i < ENDS; i++) {
		struct child child = start();

		r = wait_for_end(&child);
		if (r == 0 && WIFSIGNALED(child.status))
			r = restart_host(keeper);
		else if (r == 0 && keeper->program)
			wh_scope_cancel(keeper->program);
	}
	return r;
}
