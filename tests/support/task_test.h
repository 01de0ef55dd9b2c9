/*
 * Tests that are tasks: each runs in a runtime of its own, and leaves no descriptor open.
 *
 * cmocka's own assertions leave a test by longjmp, which a task's stack does not survive; the
 * check macros here print what is wrong and abort. A test that hangs is ended by SIGALRM.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <whorl/run.h>
#include <whorl/scope.h>
#include <whorl/sock.h>
#include <whorl/task.h>

struct task_test {
	wh_task_fn fn;
	struct wh_run_opts opts; /* one loop unless it says otherwise */
};

/* An entry of a CMUnitTest table: task_test(fn), or task_test(fn, .buf_count = 4). */
#define task_test(function, ...)                                                                   \
	{                                                                                          \
#function, run_task_test, NULL, NULL, &(struct task_test)                          \
		{                                                                                  \
			.fn = function, .opts = { __VA_ARGS__ }                                    \
		}                                                                                  \
	}

void run_task_test(void **state);

/* Open descriptors of this process. */
unsigned open_fds(void);

/* The next number of splitmix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number
 * generators"). */
uint64_t random_next(uint64_t *state);

/* The seed that argv[1] names, or a new one; prints it. */
uint64_t seed_from(int argc, char **argv);

#define check(condition) ((condition) ? (void)0 : check_failed(#condition, __FILE__, __LINE__))

#define check_int(value, expected)                                                                 \
	check_equal((intmax_t)(value), (intmax_t)(expected), #value, __FILE__, __LINE__)

_Noreturn void check_failed(const char *what, const char *file, int line);
void check_equal(intmax_t value, intmax_t expected, const char *what, const char *file, int line);

/* Let the loop go through the kernel once, also in a scope that is cancelled. */
void next_turn(void);

/* Let what other tasks can do without waiting for time happen: several turns of the loop. */
void settle(void);

/* Two connected Unix stream sockets. */
void sock_pair(struct wh_sock *ret[2]);

/* Two connected TCP sockets: [0] connected to a listener, [1] accepted. */
void tcp_pair(struct wh_sock *ret[2]);

/* A listener on a free port of 127.0.0.1, with its address. */
struct wh_listener *tcp_listener(struct wh_addr *ret_addr);

/* A descriptor connected to `addr`, which the engine knows nothing of. */
int connect_raw(const struct wh_addr *addr);

/* A new folder for files; the caller removes it with remove_folder. Returns `path`. */
const char *make_folder(char path[64]);
void remove_folder(const char *path);
