/*
 * Data that processes share: locks whose owner dies, counters, arrays, and what is no array. Other
 * processes are forked; they do one thing and end.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <whorl/shared.h>

#include "base/alloc.h"
#include "support/task_test.h"

enum { CHILDREN = 4, ADDITIONS = TEST_ROUNDS };

struct common {
	struct wh_shared_lock lock;
	struct wh_shared_counter counter;
	uint64_t guarded;
};

static struct wh_shared_array *open_array(size_t count, size_t element_bytes)
{
	struct wh_shared_array *array = NULL;

	assert_int_equal(wh_shared_array_open(count, element_bytes, &array), 0);
	return array;
}

/* Run `fn(arg)` in another process, whose exit status must be 0. */
static pid_t start(void (*fn)(struct common *common), struct common *common)
{
	pid_t pid = fork();

	if (pid == 0) {
		fn(common);
		_exit(0);
	}
	assert_true(pid > 0);
	return pid;
}

static void finish(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static struct common *open_common(struct wh_shared_array **ret)
{
	struct common *common;

	*ret = open_array(1, sizeof(struct common));
	common = wh_shared_array_at(*ret, 0);
	assert_int_equal(wh_shared_lock_init(&common->lock), 0);
	return common;
}

/* Counters and locks */

static void add_much(struct common *common)
{
	for (int i = 0; i < ADDITIONS; i++) {
		wh_shared_counter_add(&common->counter, 1);
		if (wh_shared_lock_acquire(&common->lock) < 0)
			_exit(1);
		common->guarded += 1;
		if (wh_shared_lock_release(&common->lock) < 0)
			_exit(1);
	}
}

static void nothing_is_lost_between_processes(void **state)
{
	struct wh_shared_array *array;
	struct common *common = open_common(&array);
	pid_t pids[CHILDREN];

	(void)state;
	for (int i = 0; i < CHILDREN; i++)
		pids[i] = start(add_much, common);
	for (int i = 0; i < CHILDREN; i++)
		finish(pids[i]);
	assert_int_equal(wh_shared_counter_get(&common->counter), CHILDREN * ADDITIONS);
	assert_int_equal(common->guarded, CHILDREN * ADDITIONS);
	wh_shared_array_close(array);
}

static void die_with_lock(struct common *common)
{
	if (wh_shared_lock_acquire(&common->lock) < 0)
		_exit(1);
	common->guarded = 1;
}

static void lock_of_a_dead_owner_can_be_mended(void **state)
{
	struct wh_shared_array *array;
	struct common *common = open_common(&array);

	(void)state;
	for (int i = 0; i < 3; i++) {
		finish(start(die_with_lock, common));
		assert_int_equal(wh_shared_lock_acquire(&common->lock), -EOWNERDEAD);
		assert_int_equal(common->guarded, 1);
		common->guarded = 0;
		assert_int_equal(wh_shared_lock_mended(&common->lock), 0);
		assert_int_equal(wh_shared_lock_release(&common->lock), 0);
		assert_int_equal(wh_shared_lock_acquire(&common->lock), 0);
		assert_int_equal(wh_shared_lock_mended(&common->lock), -EINVAL);
		assert_int_equal(wh_shared_lock_release(&common->lock), 0);
	}
	wh_shared_array_close(array);
}

static void lock_that_nobody_mended_is_lost_to_all(void **state)
{
	struct wh_shared_array *array;
	struct common *common = open_common(&array);

	(void)state;
	finish(start(die_with_lock, common));
	assert_int_equal(wh_shared_lock_try(&common->lock), -EOWNERDEAD);
	assert_int_equal(wh_shared_lock_release(&common->lock), 0);
	assert_int_equal(wh_shared_lock_acquire(&common->lock), -ENOTRECOVERABLE);
	assert_int_equal(wh_shared_lock_try(&common->lock), -ENOTRECOVERABLE);
	wh_shared_array_close(array);
}

static void try_from_elsewhere(struct common *common)
{
	if (wh_shared_lock_try(&common->lock) != -EBUSY ||
	    wh_shared_lock_release(&common->lock) != -EPERM)
		_exit(1);
}

static void lock_has_one_owner(void **state)
{
	struct wh_shared_array *array;
	struct common *common = open_common(&array);

	(void)state;
	assert_int_equal(wh_shared_lock_acquire(&common->lock), 0);
	assert_int_equal(wh_shared_lock_acquire(&common->lock), -EDEADLK);
	finish(start(try_from_elsewhere, common));
	assert_int_equal(wh_shared_lock_release(&common->lock), 0);
	assert_int_equal(wh_shared_lock_release(&common->lock), -EPERM);
	assert_int_equal(wh_shared_lock_try(&common->lock), 0);
	assert_int_equal(wh_shared_lock_release(&common->lock), 0);
	wh_shared_array_close(array);
}

/* Arrays */

static void array_is_the_same_for_all(void **state)
{
	struct wh_shared_array *mine = open_array(1000, 24), *other = NULL;
	const size_t untold = SIZE_MAX;
	unsigned before = open_fds();

	(void)state;
	assert_int_equal(wh_shared_array_from_fd(wh_shared_array_fd(mine), &other), 0);
	assert_int_equal(wh_shared_array_count(other), 1000);
	assert_int_equal(wh_shared_array_element_bytes(other), 24);
	for (size_t i = 0; i < 1000; i++)
		memset(wh_shared_array_at(mine, i), (int)i, 24);
	for (size_t i = 0; i < 1000; i++)
		assert_memory_equal(wh_shared_array_at(other, i), wh_shared_array_at(mine, i), 24);
	assert_null(wh_shared_array_at(other, 1000));
	assert_null(wh_shared_array_at(other, untold));
	wh_shared_array_close(other);
	assert_int_equal(open_fds(), before);
	wh_shared_array_close(mine);
}

static void sizes_that_cannot_be_are_refused(void **state)
{
	struct wh_shared_array *array = NULL;

	(void)state;
	assert_int_equal(wh_shared_array_open(0, 8, &array), -EINVAL);
	assert_int_equal(wh_shared_array_open(8, 0, &array), -EINVAL);
	assert_int_equal(wh_shared_array_open(SIZE_MAX / 2, 3, &array), -EOVERFLOW);
	assert_int_equal(wh_shared_array_open(SIZE_MAX, 1, &array), -EOVERFLOW);
	assert_null(array);
}

/* As an array's memory looks, with this head and this many bytes. */
static int forged(const uint64_t head[3], off_t bytes, int seals)
{
	int fd = memfd_create("forged", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, bytes), 0);
	assert_int_equal(pwrite(fd, head, 24, 0), 24);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
	return fd;
}

static void what_lies_about_itself_is_no_array(void **state)
{
	struct wh_shared_array *array = open_array(10, 8);
	uint64_t head[3], good[3];
	int pipe_fds[2];

	(void)state;
	memcpy(good, (char *)wh_shared_array_at(array, 0) - 64, sizeof(good));
	wh_shared_array_close(array);
	for (int lie = 0; lie < 8; lie++) {
		off_t bytes = 4096;
		int seals = F_SEAL_SHRINK, fd;

		memcpy(head, good, sizeof(head));
		if (lie == 1)
			head[0]++;
		else if (lie == 2)
			head[1] = 4096;
		else if (lie == 3)
			head[2] = UINT64_MAX / 4;
		else if (lie == 4)
			head[1] = UINT64_MAX / 8 + 2; /* overflows to little */
		else if (lie == 5)
			head[2] = 0;
		else if (lie == 6)
			bytes = 24;
		else if (lie == 7)
			seals = 0;
		fd = forged(head, bytes, seals);
		array = NULL;
		assert_int_equal(wh_shared_array_from_fd(fd, &array), lie ? -EINVAL : 0);
		if (array)
			wh_shared_array_close(array);
		close(fd);
	}
	assert_int_equal(pipe(pipe_fds), 0);
	assert_int_equal(wh_shared_array_from_fd(pipe_fds[0], &array), -EINVAL);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	assert_int_equal(wh_shared_array_from_fd(pipe_fds[0], &array), -EBADF);
}

/* The head belongs to whoever writes the memory; the size does not. */
static void head_that_changes_later_changes_nothing(void **state)
{
	struct wh_shared_array *mine = open_array(10, 8), *other = NULL;

	(void)state;
	assert_int_equal(wh_shared_array_from_fd(wh_shared_array_fd(mine), &other), 0);
	memset((char *)wh_shared_array_at(mine, 0) - 64, 0xff, 64);
	assert_int_equal(wh_shared_array_count(other), 10);
	assert_null(wh_shared_array_at(other, 10));
	wh_shared_array_close(other);
	wh_shared_array_close(mine);
}

static void without_memory_nothing_is_left(void **state)
{
	struct wh_shared_array *array = NULL, *mine = open_array(1, 1);
	unsigned before = open_fds();

	(void)state;
	whi_alloc_fail_at(1);
	assert_int_equal(wh_shared_array_open(1, 1, &array), -ENOMEM);
	whi_alloc_fail_at(1);
	assert_int_equal(wh_shared_array_from_fd(wh_shared_array_fd(mine), &array), -ENOMEM);
	whi_alloc_fail_at(0);
	assert_null(array);
	assert_int_equal(open_fds(), before);
	wh_shared_array_close(mine);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_lost_between_processes),
		cmocka_unit_test(lock_of_a_dead_owner_can_be_mended),
		cmocka_unit_test(lock_that_nobody_mended_is_lost_to_all),
		cmocka_unit_test(lock_has_one_owner),
		cmocka_unit_test(array_is_the_same_for_all),
		cmocka_unit_test(sizes_that_cannot_be_are_refused),
		cmocka_unit_test(what_lies_about_itself_is_no_array),
		cmocka_unit_test(head_that_changes_later_changes_nothing),
		cmocka_unit_test(without_memory_nothing_is_left),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
