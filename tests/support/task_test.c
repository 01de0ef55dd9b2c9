#include "support/task_test.h"

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { TEST_SECONDS_MAX = 240, TURNS = 20 };

unsigned open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned count = 0;

	check(dir);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

/* TEST_FILTER='close_*' runs these tests only. */
__attribute__((constructor)) static void filter_from_environment(void)
{
	const char *pattern = getenv("TEST_FILTER");

	if (pattern)
		cmocka_set_test_filter(pattern);
}

void run_task_test(void **state)
{
	const struct task_test *test = *state;
	struct wh_run_opts opts = test->opts;
	unsigned before = open_fds();
	int result = -1;
	int r;

	if (opts.loops == 0)
		opts.loops = 1;
	alarm(TEST_SECONDS_MAX);
	r = wh_run(test->fn, NULL, &opts, &result);
	alarm(0);
	if (r == -ENOSYS || r == -EPERM) {
		fprintf(stderr, "skipped: %s\n", wh_run_advice(r));
		skip();
	}
	assert_int_equal(r, 0);
	assert_int_equal(result, 0);
	assert_int_equal(open_fds(), before);
}

uint64_t random_next(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

uint64_t seed_from(int argc, char **argv)
{
	uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : (uint64_t)time(NULL);

	printf("seed: %" PRIu64 " (give it as the first argument to repeat this run)\n", seed);
	return seed;
}

_Noreturn void check_failed(const char *what, const char *file, int line)
{
	fprintf(stderr, "%s:%d: not true: %s\n", file, line, what);
	abort();
}

void check_equal(intmax_t value, intmax_t expected, const char *what, const char *file, int line)
{
	if (value == expected)
		return;
	fprintf(stderr, "%s:%d: %s is %jd, not %jd\n", file, line, what, value, expected);
	abort();
}

void next_turn(void)
{
	struct wh_loop_stats stats;
	struct wh_scope shield;
	uint64_t turn;

	wh_loop_stats(&stats);
	turn = stats.turns;
	wh_scope_open(&shield, &(struct wh_scope_opts){ .shield = true });
	/* A turn has time for many yields. */
	while (stats.turns == turn) {
		check_int(wh_yield(), 0);
		wh_loop_stats(&stats);
	}
	check_int(wh_scope_close(&shield), 0);
}

void settle(void)
{
	for (int i = 0; i < TURNS; i++)
		next_turn();
}

void sock_pair(struct wh_sock *ret[2])
{
	int fds[2];

	check_int(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	for (int i = 0; i < 2; i++)
		check_int(wh_sock_from_fd(fds[i], &ret[i]), 0);
}

struct wh_listener *tcp_listener(struct wh_addr *ret_addr)
{
	struct wh_listener *listener;

	check_int(wh_addr_parse("127.0.0.1:0", ret_addr), 0);
	check_int(wh_listen(ret_addr, NULL, &listener), 0);
	check_int(wh_listener_addr(listener, ret_addr), 0);
	return listener;
}

int connect_raw(const struct wh_addr *addr)
{
	int fd = socket(addr->storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	check_int(connect(fd, (const struct sockaddr *)&addr->storage, addr->len), 0);
	return fd;
}

void tcp_pair(struct wh_sock *ret[2])
{
	struct wh_addr addr;
	struct wh_listener *listener = tcp_listener(&addr);

	check_int(wh_connect(&addr, &ret[0]), 0);
	check_int(wh_accept(listener, &ret[1]), 0);
	wh_listener_close(listener);
}

const char *make_folder(char path[64])
{
	strcpy(path, "/tmp/whorl-test-XXXXXX");
	check(mkdtemp(path));
	return path;
}

static int remove_entry(const char *path, const struct stat *stat, int type, struct FTW *ftw)
{
	(void)stat;
	(void)type;
	(void)ftw;
	return remove(path);
}

void remove_folder(const char *path)
{
	check_int(nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS), 0);
}
