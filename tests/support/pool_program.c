/*
 * A program with a pool of processes, for integration/test_pool.py to start, signal and kill.
 *
 * usage: pool_program MODE [PATH]
 *
 * hold       two jobs run for ever; prints the numbers of all its processes, then "ready". When it
 *            is cancelled it ends the jobs by force; then the pool is used again
 * open       opens a pool, uses it and closes it; prints what opening returned
 * unlink     removes PATH, which is itself, and then as `open`
 * forgetful  as `open`, without wh_jobs_main
 * filtered   as `open`, but no program may be executed
 * late       the same, forbidden only once the runtime has begun
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <whorl/pool.h>
#include <whorl/run.h>
#include <whorl/scope.h>
#include <whorl/task.h>

enum { WORKERS = 2 };

WH_JOB(burn)
{
	(void)io;
	for (volatile unsigned long i = 0;; i++)
		;
	return 0;
}

WH_JOB(tell_pid)
{
	(void)io;
	return getpid();
}

WH_JOB(tell_parent)
{
	(void)io;
	return getppid();
}

static const char *mode;
static struct wh_executor *executor;

static void forbid_exec(void)
{
	struct sock_filter steps[] = {
		{ BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(struct seccomp_data, nr) },
		{ BPF_JMP | BPF_JEQ | BPF_K, 0, 1, SYS_execve },
		{ BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ERRNO | EPERM },
		{ BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW },
	};
	struct sock_fprog program = { .len = sizeof(steps) / sizeof(steps[0]), .filter = steps };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
		exit(77);
}

static int result_of(const char *job)
{
	struct wh_call call = { .job = job };
	int result = 0, r = wh_offload(executor, wh_job_run, &call, &result);

	return r < 0 ? r : result;
}

static int open_and_close(void)
{
	int r = wh_pool_open(&(struct wh_pool_opts){ .processes = WORKERS }, &executor);

	printf("opened: %s\n", r < 0 ? strerrorname_np(-r) : "0");
	if (r < 0)
		return 0;
	r = result_of("tell_pid");
	wh_executor_close(executor);
	return r > 0 ? 0 : -EIO;
}

static int burn_until_cancelled(void *arg)
{
	const struct wh_offload_opts opts = { .kill = true };
	struct wh_call call = { .job = "burn" };

	(void)arg;
	return wh_offload_opts(executor, wh_job_run, &call, &opts, NULL);
}

static void print_processes(void)
{
	pid_t pids[WORKERS];
	unsigned count = wh_pool_pids(executor, pids, WORKERS);

	for (unsigned i = 0; i < count; i++)
		printf("%d ", pids[i]);
	printf("%d\n", result_of("tell_parent"));
}

static int hold(void)
{
	struct wh_scope scope, shield;
	int r = wh_pool_open(&(struct wh_pool_opts){ .processes = WORKERS }, &executor);

	if (r < 0)
		return r;
	print_processes();
	wh_scope_open(&scope, NULL);
	for (int i = 0; i < WORKERS && r == 0; i++)
		r = wh_spawn(&scope, burn_until_cancelled, NULL);
	wh_sleep(WH_MS);
	printf("ready\n");
	fflush(stdout);
	r = wh_scope_close(&scope);
	printf("jobs: %s\n", strerrorname_np(-r));
	wh_scope_open(&shield, &(struct wh_scope_opts){ .shield = true });
	printf("after that: %s\n", result_of("tell_pid") > 0 ? "works" : "fails");
	wh_scope_close(&shield);
	wh_executor_close(executor);
	return 0;
}

static int run(void *arg)
{
	(void)arg;
	if (strcmp(mode, "late") == 0)
		forbid_exec();
	return strcmp(mode, "hold") == 0 ? hold() : open_and_close();
}

int main(int argc, char **argv)
{
	int r, result = 0;

	if (argc < 2 || strcmp(argv[1], "forgetful") != 0)
		wh_jobs_main();
	printf("main\n");
	fflush(stdout);
	if (argc < 2)
		return 2;
	mode = argv[1];
	if (strcmp(mode, "unlink") == 0 && unlink(argv[2]) < 0)
		return 1;
	if (strcmp(mode, "filtered") == 0)
		forbid_exec();
	r = wh_run(run, NULL, &(struct wh_run_opts){ .loops = 1 }, &result);
	return r < 0 || result < 0;
}
