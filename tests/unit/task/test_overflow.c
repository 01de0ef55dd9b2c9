/*
 * Stack overflows: the process dies, and what it says on the way names the task, its stack and
 * where it was spawned. Each happens in a child process.
 */
#include "task/overflow.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "support/bare_sched.h"
#include "support/child.h"

static struct whi_sched sched;
static int spawn_line;

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

static int write_canary(void *arg)
{
	(void)arg;
	wh_task_self()->stack.low[3] ^= 1;
	return wh_yield();
}

static int write_canary_and_sleep(void *arg)
{
	(void)arg;
	wh_task_self()->stack.low[3] ^= 1;
	return wh_sleep_until(bare_after(WH_SEC));
}

static int spawn_victim(void *arg)
{
	wh_task_fn fn = *(wh_task_fn *)arg;
	struct wh_scope scope;

	wh_scope_open(&scope, NULL);
	spawn_line = __LINE__ + 1;
	wh_spawn(&scope, fn, NULL, .name = "victim", .stack_bytes = 32 * 1024);
	return wh_scope_close(&scope);
}

static void run_victim(wh_task_fn fn, enum whi_guard guard)
{
	void *alternate;

	check_int(whi_overflow_catch(), 0);
	check_int(whi_overflow_thread_init(&alternate), 0);
	bare_open(&sched, NULL);
	sched.stacks.guard = guard;
	bare_run(&sched, spawn_victim, &fn);
}

static void overflow_into_marker(void *arg)
{
	(void)arg;
	run_victim(overflow, WHI_GUARD_MARKER);
}

static void overflow_into_protected(void *arg)
{
	(void)arg;
	run_victim(overflow, WHI_GUARD_MPROTECT);
}

static void end_with_broken_canary(void *arg)
{
	(void)arg;
	run_victim(write_canary, WHI_GUARD_CANARY);
}

static void sleep_with_broken_canary(void *arg)
{
	(void)arg;
	run_victim(write_canary_and_sleep, WHI_GUARD_CANARY);
}

/* The line is known once a victim was spawned in this process too. */
static void assert_report(const struct child *child)
{
	char site[512];

	assert_non_null(strstr(child->text, "task 'victim' overflowed its stack of 32768 bytes"));
	snprintf(site, sizeof(site), "spawned at %s:%d", __FILE__, spawn_line);
	assert_non_null(strstr(child->text, site));
	assert_non_null(strstr(child->text, ".stack_bytes"));
}

static int end_at_once(void *arg)
{
	(void)arg;
	return 0;
}

static int learn_line(void **state)
{
	wh_task_fn fn = end_at_once;

	(void)state;
	bare_open(&sched, NULL);
	bare_run(&sched, spawn_victim, &fn);
	whi_sched_fini(&sched);
	return 0;
}

static void overflow_names_task_size_and_site_and_dies_by_the_fault(void **state)
{
	struct child child;

	(void)state;
	run_child(&child, overflow_into_marker, NULL);
	assert_int_equal(child.signal, SIGSEGV);
	assert_report(&child);
}

static void overflow_into_a_protected_guard_does_too(void **state)
{
	struct child child;

	(void)state;
	run_child(&child, overflow_into_protected, NULL);
	assert_int_equal(child.signal, SIGSEGV);
	assert_report(&child);
}

static void broken_canary_is_found_at_the_end(void **state)
{
	struct child child;

	(void)state;
	run_child(&child, end_with_broken_canary, NULL);
	assert_int_equal(child.signal, SIGABRT);
	assert_report(&child);
}

static void broken_canary_is_found_at_suspension(void **state)
{
	struct child child;

	(void)state;
	run_child(&child, sleep_with_broken_canary, NULL);
	assert_int_equal(child.signal, SIGABRT);
	assert_report(&child);
}

static int read_forbidden(void *arg)
{
	const volatile int *page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)arg;
	return *page;
}

static void fault_elsewhere(void *arg)
{
	(void)arg;
	run_victim(read_forbidden, WHI_GUARD_MARKER);
}

static void other_faults_are_not_called_overflows(void **state)
{
	struct child child;

	(void)state;
	run_child(&child, fault_elsewhere, NULL);
	assert_int_equal(child.signal, SIGSEGV);
	assert_null(strstr(child.text, "overflowed"));
}

static void note_and_exit(int signal)
{
	(void)signal;
	_exit(42);
}

static void fault_with_handler(void *arg)
{
	(void)arg;
	signal(SIGSEGV, note_and_exit);
	run_victim(read_forbidden, WHI_GUARD_MARKER);
}

static void handler_of_the_program_still_sees_the_fault(void **state)
{
	struct child child;

	(void)state;
	run_child(&child, fault_with_handler, NULL);
	assert_int_equal(child.status, 42);
}

static int raise_fault(void *arg)
{
	(void)arg;
	return kill(getpid(), SIGSEGV);
}

static void fault_sent_by_a_process(void *arg)
{
	(void)arg;
	run_victim(raise_fault, WHI_GUARD_MARKER);
}

static void fault_sent_by_another_process_kills(void **state)
{
	struct child child;

	(void)state;
	run_child(&child, fault_sent_by_a_process, NULL);
	assert_int_equal(child.signal, SIGSEGV);
}

static void uncatching_restores_the_handler(void **state)
{
	struct sigaction before, after;

	(void)state;
	sigaction(SIGSEGV, NULL, &before);
	assert_int_equal(whi_overflow_catch(), 0);
	assert_int_equal(whi_overflow_catch(), 0);
	whi_overflow_uncatch();
	whi_overflow_uncatch();
	sigaction(SIGSEGV, NULL, &after);
	assert_ptr_equal(before.sa_sigaction, after.sa_sigaction);
}

static void alternate_stack_of_the_program_is_restored(void **state)
{
	static char memory[64 * 1024];
	const stack_t mine = { .ss_sp = memory, .ss_size = sizeof(memory) };
	stack_t before, after;
	void *alternate;

	(void)state;
	assert_int_equal(sigaltstack(&mine, &before), 0);
	assert_int_equal(whi_overflow_thread_init(&alternate), 0);
	whi_overflow_thread_fini(alternate);
	assert_int_equal(sigaltstack(&before, &after), 0);
	assert_ptr_equal(after.ss_sp, memory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(overflow_names_task_size_and_site_and_dies_by_the_fault),
		cmocka_unit_test(overflow_into_a_protected_guard_does_too),
		cmocka_unit_test(broken_canary_is_found_at_the_end),
		cmocka_unit_test(broken_canary_is_found_at_suspension),
		cmocka_unit_test(other_faults_are_not_called_overflows),
		cmocka_unit_test(handler_of_the_program_still_sees_the_fault),
		cmocka_unit_test(fault_sent_by_another_process_kills),
		cmocka_unit_test(uncatching_restores_the_handler),
		cmocka_unit_test(alternate_stack_of_the_program_is_restored),
	};

	return cmocka_run_group_tests(tests, learn_line, NULL);
}
