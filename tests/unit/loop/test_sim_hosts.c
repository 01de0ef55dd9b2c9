/*
 * What programs in simulated worlds can do to their hosts: crashes, signals, children; and
 * executors.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <whorl/exec.h>
#include <whorl/file.h>

#include "loop/loop.h"
#include "support/child.h"
#include "support/sim_test.h"

enum { PORT = 80 };

/* Sends back single bytes, on a connection at a time. */
static int serve(void)
{
	struct wh_listener *listener;
	struct wh_sock *sock;
	struct wh_addr addr;
	char byte;

	wh_sim_addr(1, PORT, &addr);
	check_int(wh_listen(&addr, NULL, &listener), 0);
	while (wh_accept(listener, &sock) == 0) {
		while (wh_sock_recv(sock, &byte, 1) == 1)
			if (wh_sock_send(sock, &byte, 1) < 0)
				break;
		wh_sock_close(sock);
	}
	wh_listener_close(listener);
	return 0;
}

/* Crashes */

static int served;

static int live(void *arg)
{
	struct wh_file *file;
	char buf[8];

	(void)arg;
	check_int(wh_file_open("/kept", O_RDWR | O_CREAT, 0600, &file), 0);
	if (wh_file_read(file, buf, 4, 0) == 0) {
		check_int(wh_file_write(file, "kept", 4, 0), 4);
		check_int(wh_file_sync(file, false), 0);
	} else {
		check(memcmp(buf, "kept", 4) == 0);
	}
	wh_file_close(file);
	served++;
	return serve();
}

static void wait_until_served(int count)
{
	while (served < count)
		check_int(wh_sleep(WH_MS), 0);
	wh_sleep(WH_MS);
}

static int crashed_host_starts_afresh(void *arg)
{
	struct wh_sock *sock;
	struct wh_addr addr;
	char byte = 1;
	ssize_t r;

	(void)arg;
	served = 0;
	wh_sim_addr(1, PORT, &addr);
	check_int(wh_loop_spawn(wh_loop_at(1), live, NULL, NULL), 0);
	wait_until_served(1);
	check_int(wh_connect(&addr, &sock), 0);
	check_int(wh_sock_send(sock, &byte, 1), 1);
	check_int(wh_sock_recv(sock, &byte, 1), 1);
	check_int(wh_sim_reboot(1), -EALREADY);
	check_int(wh_sim_crash(0), -EINVAL);
	check_int(wh_sim_crash(1), 0);
	check_int(wh_sim_crash(1), 0);
	r = wh_sock_recv(sock, &byte, 1);
	check(r == -ECONNRESET || r == -ETIMEDOUT);
	wh_sock_close(sock);
	check_int(wh_connect(&addr, &sock), -ETIMEDOUT);
	check_int(wh_sim_reboot(1), 0);
	check_int(wh_connect(&addr, &sock), -ECONNREFUSED);
	check_int(wh_loop_spawn(wh_loop_at(1), live, NULL, NULL), 0);
	wait_until_served(2);
	check_int(wh_connect(&addr, &sock), 0);
	check_int(wh_sock_send(sock, &byte, 1), 1);
	check_int(wh_sock_recv(sock, &byte, 1), 1);
	wh_sock_close(sock);
	check_int(wh_sim_crash(1), 0);
	return 0;
}

static int peers_of_a_rebooted_host_are_reset(void *arg)
{
	struct wh_sock *sock;
	struct wh_addr addr;
	uint64_t begin;
	char byte = 1;

	(void)arg;
	served = 0;
	wh_sim_addr(1, PORT, &addr);
	check_int(wh_loop_spawn(wh_loop_at(1), live, NULL, NULL), 0);
	wait_until_served(1);
	check_int(wh_connect(&addr, &sock), 0);
	check_int(wh_sim_crash(1), 0);
	check_int(wh_sim_reboot(1), 0);
	begin = wh_now_ns();
	check_int(wh_sock_recv(sock, &byte, 1), -ECONNRESET);
	check(wh_now_ns() - begin < WH_SEC);
	wh_sock_close(sock);
	return 0;
}

static int told;

static int wait_for_signal(void *arg)
{
	(void)arg;
	check_int(wh_sleep(UINT64_MAX), -ECANCELED);
	told = wh_run_signal();
	return 0;
}

static int signal_ends_one_host(void *arg)
{
	(void)arg;
	told = 0;
	check_int(wh_loop_spawn(wh_loop_at(1), wait_for_signal, NULL, NULL), 0);
	check_int(wh_sleep(WH_SEC), 0);
	check_int(wh_sim_signal(1, SIGKILL), -EINVAL);
	check_int(wh_sim_signal(1, SIGTERM), 0);
	check_int(wh_sleep(WH_SEC), 0);
	check_int(told, SIGTERM);
	check_int(wh_run_signal(), 0);
	return 0;
}

static int child_exits_in_virtual_time(void *arg)
{
	uint64_t begin = wh_now_ns();
	int pid = wh_sim_child(5 * WH_SEC, 3 << 8);
	struct whi_op open = { .kind = WHI_OP_PIDFD_OPEN, .arg.value = pid };
	siginfo_t info;
	struct whi_op wait = { .kind = WHI_OP_WAITID, .wait.info = &info };

	(void)arg;
	check(pid > 0);
	wait.fd = whi_perform(&open);
	check(wait.fd >= 0);
	check_int(whi_perform(&wait), -EAGAIN);
	check(wh_fd_poll(wait.fd, POLLIN) > 0);
	check(wh_now_ns() - begin >= 5 * WH_SEC);
	check_int(whi_perform(&wait), 0);
	check_int(info.si_pid, pid);
	check_int(info.si_status, 3);
	check_int(whi_perform(&wait), -ECHILD);
	whi_close(wait.fd);
	check_int(whi_perform(&open), -ESRCH);
	return 0;
}

/* Executors */

enum { JOBS = 30 };

struct jobs {
	struct wh_executor *executor;
	unsigned ran, cancelled;
};

static int count_job(void *arg)
{
	struct jobs *jobs = arg;

	check(!wh_loop_self() && wh_sim_active());
	return (int)++jobs->ran;
}

static int offload_one(void *arg)
{
	struct jobs *jobs = arg;
	int result = 0;
	int r = wh_offload(jobs->executor, count_job, jobs, &result);

	check(r == 0 ? result > 0 : r == -ETIMEDOUT);
	jobs->cancelled += r < 0;
	return 0;
}

static int jobs_run_at_virtual_times_and_waiting_ones_are_cancelled(void *arg)
{
	const struct wh_executor_opts opts = { .threads = 2, .queue_max = 3 };
	uint64_t begin = wh_now_ns();
	struct jobs jobs = { 0 };
	struct wh_scope scope;

	(void)arg;
	check_int(wh_executor_open(&opts, &jobs.executor), 0);
	check_int(wh_executor_threads(jobs.executor), 2);
	wh_scope_open(&scope, &(struct wh_scope_opts){ .timeout_ns = 5 * WH_MS });
	for (int i = 0; i < JOBS; i++)
		check_int(wh_spawn(&scope, offload_one, &jobs), 0);
	wh_scope_close(&scope);
	check_int(jobs.ran + jobs.cancelled, JOBS);
	check(jobs.ran > 0 && jobs.cancelled > 0);
	check(wh_now_ns() - begin < 20 * WH_MS);
	wh_executor_close(jobs.executor);
	return 0;
}

/* Small frames, so that none steps over the guard. */
__attribute__((noinline)) static int recurse(int depth)
{
	volatile char frame[256];

	frame[0] = (char)depth;
	if (depth < 0)
		return 0;
	return recurse(depth + 1) + frame[0];
}

static int overflow(void *arg)
{
	(void)arg;
	return recurse(0);
}

static void run_overflow(void *arg)
{
	(void)arg;
	wh_sim_run(1, overflow, NULL, NULL);
}

static void overflow_names_the_task(void **state)
{
	struct child child;

	(void)state;
	run_child(&child, run_overflow, NULL);
	assert_int_equal(child.signal, SIGSEGV);
	assert_non_null(strstr(child.text, "task 'main' overflowed its stack of 65536 bytes"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		sim_test(crashed_host_starts_afresh, .opts.hosts = 2),
		sim_test(peers_of_a_rebooted_host_are_reset, .opts.hosts = 2),
		sim_test(signal_ends_one_host, .opts.hosts = 2, .seeds = 5),
		sim_test(child_exits_in_virtual_time, .seeds = 5),
		sim_test(jobs_run_at_virtual_times_and_waiting_ones_are_cancelled),
		cmocka_unit_test(overflow_names_the_task),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
