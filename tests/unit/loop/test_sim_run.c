/*
 * Simulated worlds: that a seed is a schedule, that time is virtual; what a bad end is called, and
 * when faults strike.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <whorl/exec.h>
#include <whorl/file.h>
#include <whorl/sim.h>

#include "loop/loop.h"
#include "support/task_test.h"

enum { PORT = 80, SEEDS = 20, BYTES = 3000 };

static struct wh_sim_report report;

/* A program with something of everything: traffic between hosts, a file, an executor. */

static int talk(struct wh_sock *sock, void *arg)
{
	struct wh_view view = { 0 };

	(void)arg;
	while (wh_sock_recv_view(sock, &view) > 0)
		if (wh_sock_send_view(sock, &view) < 0)
			break;
	wh_view_release(&view);
	wh_sock_flush(sock);
	wh_sock_close(sock);
	return 0;
}

static int serve(void *arg)
{
	struct wh_listener *listener;
	struct wh_addr addr;

	(void)arg;
	wh_sim_addr(1, PORT, &addr);
	while (wh_listen(&addr, NULL, &listener) < 0)
		if (wh_sleep(WH_MS) < 0)
			return 0;
	wh_serve(listener, talk, NULL, NULL);
	wh_listener_close(listener);
	return 0;
}

static void exchange(struct wh_sock *sock)
{
	char buf[BYTES] = { 0 };
	size_t got = 0;
	ssize_t r = wh_sock_send(sock, buf, sizeof(buf));

	while (r > 0 && got < sizeof(buf)) {
		r = wh_sock_recv(sock, buf, sizeof(buf));
		got += r > 0 ? (size_t)r : 0;
	}
	wh_sock_close(sock);
}

static void use_file(void)
{
	struct wh_file *file;

	if (wh_file_open("/file", O_RDWR | O_CREAT, 0600, &file) < 0)
		return;
	wh_file_write(file, "text", 4, 0);
	wh_file_sync(file, false);
	wh_file_close(file);
}

static int job(void *arg)
{
	(void)arg;
	return 7;
}

static void use_executor(void)
{
	struct wh_executor *executor;

	check_int(wh_executor_open(NULL, &executor), 0);
	wh_offload(executor, job, NULL, NULL);
	wh_executor_close(executor);
}

static int client(void *arg)
{
	struct wh_sock *sock;
	struct wh_addr addr;

	(void)arg;
	wh_sim_addr(1, PORT, &addr);
	if (wh_connect(&addr, &sock) == 0)
		exchange(sock);
	use_file();
	return 0;
}

static int everything(void *arg)
{
	struct wh_scope scope;

	(void)arg;
	check_int(wh_loop_spawn(wh_loop_at(1), serve, NULL, NULL), 0);
	wh_scope_open(&scope, &(struct wh_scope_opts){ .timeout_ns = 20 * WH_SEC });
	for (int i = 0; i < 4; i++) {
		check_int(wh_spawn(&scope, client, NULL), 0);
		wh_sleep(wh_sim_random(WH_MS));
	}
	use_executor();
	wh_scope_close(&scope);
	wh_sim_signal(1, SIGTERM);
	return 0;
}

static const struct wh_sim_opts stormy = {
	.hosts = 2,
	.faults = "hostile",
	.calm_after_ns = 5 * WH_SEC,
	.ret_report = &report,
};

static uint64_t hash_of(uint64_t seed)
{
	check_int(wh_sim_run(seed, everything, NULL, &stormy), 0);
	return report.trace_hash;
}

/* Schedules */

static void same_seed_is_the_same_run(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		uint64_t hash = hash_of(seed);
		uint64_t events = report.events, duration = report.duration_ns;

		assert_int_equal(hash_of(seed), hash);
		assert_int_equal(report.events, events);
		assert_int_equal(report.duration_ns, duration);
	}
}

static void different_seeds_are_different_runs(void **state)
{
	uint64_t hashes[SEEDS];

	(void)state;
	for (unsigned i = 0; i < SEEDS; i++) {
		hashes[i] = hash_of(i);
		for (unsigned k = 0; k < i; k++)
			assert_int_not_equal(hashes[i], hashes[k]);
	}
}

/* Another program image has everything at other addresses. */
static void another_process_has_the_same_runs(void **state)
{
	char command[256], line[64];
	FILE *other;

	(void)state;
	for (uint64_t seed = 1; seed <= 3; seed++) {
		snprintf(command, sizeof(command), "%s hash %ju", program_invocation_name,
			 (uintmax_t)seed);
		other = popen(command, "r");
		assert_non_null(other);
		assert_non_null(fgets(line, sizeof(line), other));
		assert_int_equal(pclose(other), 0);
		assert_true(strtoull(line, NULL, 16) == hash_of(seed));
	}
}

static int sleep_an_hour(void *arg)
{
	uint64_t begin = wh_now_ns();

	(void)arg;
	check_int(wh_sleep(3600 * WH_SEC), 0);
	check(wh_now_ns() - begin >= 3600 * WH_SEC);
	return 0;
}

static void hour_passes_in_a_few_events(void **state)
{
	const struct wh_sim_opts opts = { .time_max_ns = 7200 * WH_SEC, .ret_report = &report };

	(void)state;
	assert_int_equal(wh_sim_run(1, sleep_an_hour, NULL, &opts), 0);
	assert_true(report.duration_ns >= 3600 * WH_SEC);
	assert_true(report.duration_ns < 3601 * WH_SEC);
	assert_true(report.events < 20);
}

static int yield_until_later(void *arg)
{
	uint64_t end = wh_now_ns() + WH_MS;

	(void)arg;
	while (wh_now_ns() < end)
		check_int(wh_yield(), 0);
	return 0;
}

static void time_goes_on_for_a_task_that_yields(void **state)
{
	(void)state;
	assert_int_equal(wh_sim_run(1, yield_until_later, NULL, NULL), 0);
}

/* Bad ends */

static int listen_for_ever(void *arg)
{
	struct wh_listener *listener;
	struct wh_sock *sock;
	struct wh_addr addr;

	(void)arg;
	wh_sim_addr(0, PORT, &addr);
	check_int(wh_listen(&addr, NULL, &listener), 0);
	check_int(wh_accept(listener, &sock), -ECANCELED);
	wh_listener_close(listener);
	return 0;
}

static int wait_for_ever(void *arg)
{
	struct wh_scope scope;

	(void)arg;
	wh_scope_open(&scope, NULL);
	check_int(wh_spawn(&scope, listen_for_ever, NULL, .name = "the patient one"), 0);
	return wh_scope_close(&scope);
}

static void nothing_can_happen_is_a_deadlock_with_names(void **state)
{
	const struct wh_sim_opts opts = { .ret_report = &report };

	(void)state;
	assert_int_equal(wh_sim_run(1, wait_for_ever, NULL, &opts), -EDEADLK);
	assert_non_null(strstr(report.text, "'the patient one' on host 0 waits for accept"));
	assert_non_null(strstr(report.text, "'main' on host 0 waits for scope close"));
}

/* Waits where no cancellation reaches it. */
static int wait_stubbornly(void *arg)
{
	struct whi_wait wait = { .what = "godot" };

	(void)arg;
	whi_task_suspend(&wait);
	return 0;
}

static void task_that_cannot_be_ended_is_given_up(void **state)
{
	const struct wh_sim_opts opts = { .ret_report = &report };

	(void)state;
	assert_int_equal(wh_sim_run(1, wait_stubbornly, NULL, &opts), -EDEADLK);
	assert_non_null(strstr(report.text, "godot"));
	assert_int_equal(wh_sim_run(1, sleep_an_hour, NULL, NULL), -ETIME);
}

static int never_end(void *arg)
{
	(void)arg;
	while (wh_sleep(WH_SEC) == 0)
		;
	return 0;
}

static void limits_end_a_world(void **state)
{
	const struct wh_sim_opts by_time = { .time_max_ns = 5 * WH_SEC, .ret_report = &report };
	const struct wh_sim_opts by_events = { .events_max = 100, .ret_report = &report };

	(void)state;
	assert_int_equal(wh_sim_run(1, never_end, NULL, &by_time), -ETIME);
	assert_true(report.duration_ns < 8 * WH_SEC);
	assert_non_null(strstr(report.text, "'main' on host 0 waits for sleep"));
	assert_int_equal(wh_sim_run(1, never_end, NULL, &by_events), -ETIME);
	assert_true(report.events < 110);
}

static int leave_open(void *arg)
{
	struct whi_op op = { .kind = WHI_OP_SOCKET,
			     .socket = { AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0 } };

	(void)arg;
	check(whi_await(&op) >= 0);
	return 0;
}

static int close_twice(void *arg)
{
	(void)arg;
	whi_close(1234);
	return 0;
}

static void what_is_left_is_reported(void **state)
{
	const struct wh_sim_opts opts = { .ret_report = &report };

	(void)state;
	assert_int_equal(wh_sim_run(1, leave_open, NULL, &opts), -EPROTO);
	assert_non_null(strstr(report.text, "leaves descriptor 1000 open: a socket, new"));
	assert_int_equal(wh_sim_run(1, close_twice, NULL, &opts), -EPROTO);
	assert_non_null(strstr(report.text, "closes descriptor 1234"));
}

static int fail_with_words(void *arg)
{
	(void)arg;
	wh_sim_fail("%d bytes are missing", 5);
	return wh_sim_fail("this is not the first");
}

static void failure_said_by_the_program_is_the_report(void **state)
{
	const struct wh_sim_opts opts = { .ret_report = &report };

	(void)state;
	assert_int_equal(wh_sim_run(1, fail_with_words, NULL, &opts), -EBADMSG);
	assert_string_equal(report.text, "5 bytes are missing");
}

/* Use */

static int run_inside(void *arg)
{
	(void)arg;
	check(wh_sim_active());
	check_int(wh_sim_run(1, never_end, NULL, NULL), -EBUSY);
	check_int(wh_run(never_end, NULL, NULL, NULL), -EBUSY);
	check(strcmp(wh_backend_name(), "sim") == 0);
	return 3;
}

static void result_is_the_first_tasks(void **state)
{
	const struct wh_sim_opts bad = { .faults = "storm,rest=0.1", .ret_report = &report };

	(void)state;
	assert_int_equal(wh_sim_run(1, run_inside, NULL, NULL), 3);
	assert_false(wh_sim_active());
	assert_int_equal(wh_sim_run(1, run_inside, NULL, &bad), -EINVAL);
	assert_non_null(strstr(report.text, "'rest=0.1'"));
	assert_int_equal(wh_sim_run(1, run_inside, NULL, &(struct wh_sim_opts){ .hosts = 65 }),
			 -EINVAL);
}

static int use_two_loops(void *arg)
{
	int result = 0;

	(void)arg;
	check_int(wh_loop_count(), 2);
	check_int(wh_loop_call(wh_loop_at(1), job, NULL, &result), 0);
	check_int(result, 7);
	return sleep_an_hour(NULL);
}

static void ordinary_program_runs_in_a_world(void **state)
{
	const struct wh_run_opts opts = { .backend = "sim", .loops = 2 };
	int result = -1;

	(void)state;
	assert_int_equal(wh_run(use_two_loops, NULL, &opts, &result), 0);
	assert_int_equal(result, 0);
	assert_int_equal(wh_run(wait_for_ever, NULL, &opts, &result), -EDEADLK);
	assert_non_null(strstr(wh_run_advice(-EDEADLK), "the patient one"));
}

static int tell_backend(void *arg)
{
	(void)arg;
	return wh_sim_active() && strcmp(wh_backend_name(), "sim") == 0;
}

static void environment_puts_a_program_into_a_world(void **state)
{
	const char *before = getenv("WHORL_BACKEND");
	int result = 0;

	(void)state;
	assert_int_equal(setenv("WHORL_BACKEND", "sim", 1), 0);
	assert_int_equal(wh_run(tell_backend, NULL, NULL, &result), 0);
	assert_int_equal(result, 1);
	if (before)
		setenv("WHORL_BACKEND", before, 1);
	else
		unsetenv("WHORL_BACKEND");
}

/* Faults */

enum { FAULTS_MAX = 40 };

static struct {
	const char *names[FAULTS_MAX];
	unsigned count;
	uint64_t decisions[1000];
	unsigned decision_count;
} seen;

static void note_fault(void *arg, const struct wh_sim_fault *fault)
{
	unsigned i = 0;

	(void)arg;
	if (seen.decision_count < 1000)
		seen.decisions[seen.decision_count++] = fault->decision;
	while (i < seen.count && strcmp(seen.names[i], fault->name) != 0)
		i++;
	if (i < FAULTS_MAX)
		seen.names[i] = fault->name;
	seen.count += i == seen.count;
}

/* Datagrams, a crash, a pool of processes. */
static bool is_special(const char *name)
{
	static const char *const names[] = { "drop", "torn", "death", "fork", "nursery" };

	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return false;
}

/* Of the profile that has them all but those that need something special. */
static void every_fault_strikes_sooner_or_later(void **state)
{
	struct wh_sim_opts opts = stormy;
	const char *help = strstr(wh_sim_faults_help(), "Faults");
	char name[32];
	int used;

	(void)state;
	opts.on_fault = note_fault;
	memset(&seen, 0, sizeof(seen));
	for (uint64_t seed = 1; seed <= 400; seed++)
		assert_int_equal(wh_sim_run(seed, everything, NULL, &opts), 0);
	help = strchr(help, '\n');
	while (help && sscanf(help, " %31s %*s %*[^\n]%n", name, &used) == 1) {
		unsigned i = 0;

		help = strchr(help + 1, '\n');
		while (i < seen.count && strcmp(seen.names[i], name) != 0)
			i++;
		if (i == seen.count && !is_special(name))
			fail_msg("the fault %s was never seen", name);
	}
}

static void only_chosen_decisions_strike(void **state)
{
	struct wh_sim_opts opts = stormy;
	uint64_t first;

	(void)state;
	opts.on_fault = note_fault;
	memset(&seen, 0, sizeof(seen));
	assert_int_equal(wh_sim_run(5, everything, NULL, &opts), 0);
	assert_true(seen.decision_count > 2);
	first = seen.decisions[0];
	opts.only = &first;
	opts.only_count = 1;
	memset(&seen, 0, sizeof(seen));
	assert_int_equal(wh_sim_run(5, everything, NULL, &opts), 0);
	assert_int_equal(seen.decision_count, 1);
	assert_true(seen.decisions[0] == first);
	opts.only_count = 0;
	assert_int_equal(wh_sim_run(5, everything, NULL, &opts), 0);
	assert_int_equal(report.faults_count, 0);
}

static uint64_t last_fault_ns;

static void note_time(void *arg, const struct wh_sim_fault *fault)
{
	(void)arg;
	last_fault_ns = fault->at_ns;
}

static void calm_has_no_faults(void **state)
{
	struct wh_sim_opts opts = stormy;

	(void)state;
	opts.calm_after_ns = 300 * WH_US;
	opts.on_fault = note_time;
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		last_fault_ns = 0;
		assert_int_equal(wh_sim_run(seed, everything, NULL, &opts), 0);
		assert_true(last_fault_ns < opts.calm_after_ns);
		assert_true(report.duration_ns > opts.calm_after_ns);
	}
}

/* Threads */

enum { THREADS = 2 };

static void *run_seeds(void *arg)
{
	uint64_t *hashes = arg;

	for (unsigned i = 0; i < SEEDS; i++) {
		struct wh_sim_report own;
		struct wh_sim_opts opts = stormy;

		opts.ret_report = &own;
		check_int(wh_sim_run(i, everything, NULL, &opts), 0);
		hashes[i] = own.trace_hash;
	}
	return NULL;
}

static void threads_run_worlds_of_their_own(void **state)
{
	uint64_t hashes[THREADS][SEEDS];
	pthread_t threads[THREADS];

	(void)state;
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, run_seeds, hashes[i]), 0);
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_memory_equal(hashes[0], hashes[1], sizeof(hashes[0]));
	for (unsigned i = 0; i < SEEDS; i++)
		assert_true(hashes[0][i] == hash_of(i));
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(same_seed_is_the_same_run),
		cmocka_unit_test(different_seeds_are_different_runs),
		cmocka_unit_test(another_process_has_the_same_runs),
		cmocka_unit_test(hour_passes_in_a_few_events),
		cmocka_unit_test(time_goes_on_for_a_task_that_yields),
		cmocka_unit_test(nothing_can_happen_is_a_deadlock_with_names),
		cmocka_unit_test(task_that_cannot_be_ended_is_given_up),
		cmocka_unit_test(limits_end_a_world),
		cmocka_unit_test(what_is_left_is_reported),
		cmocka_unit_test(failure_said_by_the_program_is_the_report),
		cmocka_unit_test(result_is_the_first_tasks),
		cmocka_unit_test(ordinary_program_runs_in_a_world),
		cmocka_unit_test(environment_puts_a_program_into_a_world),
		cmocka_unit_test(every_fault_strikes_sooner_or_later),
		cmocka_unit_test(only_chosen_decisions_strike),
		cmocka_unit_test(calm_has_no_faults),
		cmocka_unit_test(threads_run_worlds_of_their_own),
	};

	if (argc == 3 && strcmp(argv[1], "hash") == 0)
		return printf("%jx\n", (uintmax_t)hash_of(strtoull(argv[2], NULL, 0))) < 0;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
