/*
 * Catching stack overflows. The handler uses nothing that is not async-signal-safe.
 */
#include "task/overflow.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "task/sched.h"

enum {
	/* Room for the largest register file and the handler's own frames. */
	ALTERNATE_BYTES = 64 * 1024,
	/* A frame may step over the guard by this much and still be recognised. */
	GUARD_REACH = 64 * 1024,
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned users;
static struct sigaction old_segv, old_bus;

static size_t append(char *text, size_t len, const char *more)
{
	while (*more && len < 500)
		text[len++] = *more++;
	return len;
}

static size_t append_number(char *text, size_t len, uint64_t number)
{
	char digits[24];
	size_t i = sizeof(digits);

	digits[--i] = '\0';
	do {
		digits[--i] = (char)('0' + number % 10);
		number /= 10;
	} while (number);
	return append(text, len, digits + i);
}

static void report(const struct wh_task *task)
{
	char text[512];
	size_t len = append(text, 0, "whorl: task '");

	len = append(text, len, wh_task_name(task));
	len = append(text, len, "' overflowed its stack of ");
	len = append_number(text, len, (uint64_t)1 << task->stack.shift);
	len = append(text, len, " bytes (spawned at ");
	len = append(text, len, task->file);
	len = append(text, len, ":");
	len = append_number(text, len, (uint64_t)task->line);
	len = append(text, len, "); give it more with .stack_bytes\n");
	if (write(STDERR_FILENO, text, len) < 0)
		return;
}

static void on_fault(int signal, siginfo_t *info, void *machine)
{
	struct whi_sched *sched = whi_sched_self();
	struct wh_task *task = sched ? sched->current : NULL;
	uintptr_t at = (uintptr_t)info->si_addr;
	uintptr_t low = task ? (uintptr_t)task->stack.low : 0;

	(void)machine;
	if (task && at < low && at + GUARD_REACH >= low)
		report(task);
	/* Back to how it was; returning repeats the fault, unless somebody sent it. */
	sigaction(signal, signal == SIGBUS ? &old_bus : &old_segv, NULL);
	if (info->si_code <= 0)
		raise(signal);
}

int whi_overflow_catch(void)
{
	struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK };
	int r = 0;

	pthread_mutex_lock(&lock);
	if (users++ == 0 && (sigaction(SIGSEGV, &action, &old_segv) < 0 ||
			     sigaction(SIGBUS, &action, &old_bus) < 0))
		r = -errno;
	pthread_mutex_unlock(&lock);
	return r;
}

void whi_overflow_uncatch(void)
{
	pthread_mutex_lock(&lock);
	if (--users == 0) {
		sigaction(SIGSEGV, &old_segv, NULL);
		sigaction(SIGBUS, &old_bus, NULL);
	}
	pthread_mutex_unlock(&lock);
}

struct alternate {
	stack_t old; /* the program may have one of its own */
	char memory[ALTERNATE_BYTES - sizeof(stack_t)];
};

int whi_overflow_thread_init(void **ret)
{
	stack_t stack = { .ss_size = sizeof(((struct alternate *)0)->memory) };
	struct alternate *alternate = mmap(NULL, sizeof(*alternate), PROT_READ | PROT_WRITE,
					   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (alternate == MAP_FAILED)
		return -ENOMEM;
	stack.ss_sp = alternate->memory;
	if (sigaltstack(&stack, &alternate->old) < 0) {
		int r = -errno;

		munmap(alternate, sizeof(*alternate));
		return r;
	}
	*ret = alternate;
	return 0;
}

void whi_overflow_thread_fini(void *ptr)
{
	struct alternate *alternate = ptr;

	if (!alternate)
		return;
	sigaltstack(&alternate->old, NULL);
	munmap(alternate, sizeof(*alternate));
}
