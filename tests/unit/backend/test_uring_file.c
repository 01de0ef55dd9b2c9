/*
 * Every operation on files and paths on the real kernel: what it does, how it fails, how it is
 * cancelled. What is read or written waits in a pipe, since a regular file does not wait.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "support/ring.h"

static char folder[64];
static char path[128], other[128];
static int fd;
static int ends[2]; /* of a pipe */

static int setup(void **state)
{
	make_folder(folder);
	snprintf(path, sizeof(path), "%s/file", folder);
	snprintf(other, sizeof(other), "%s/other", folder);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	check(fd >= 0);
	check_int(write(fd, "0123456789", 10), 10);
	check_int(pipe2(ends, O_CLOEXEC), 0);
	return ring_setup(state);
}

static int teardown(void **state)
{
	close(fd);
	close(ends[0]);
	close(ends[1]);
	remove_folder(folder);
	return ring_teardown(state);
}

static struct ring_op path_op(uint8_t kind, const char *name)
{
	return (struct ring_op){ .op.kind = kind, .op.path.path = name };
}

static struct ring_op rw_op(uint8_t kind, int of, char *buf, size_t len)
{
	return (struct ring_op){ .op.kind = kind,
				 .op.fd = of,
				 .op.rw = { .buf = buf, .len = len } };
}

/* openat */

static void openat_opens(void **state)
{
	struct ring_op op = path_op(WHI_OP_OPENAT, path);
	char byte;

	(void)state;
	op.op.path.flags = O_RDONLY | O_CLOEXEC;
	assert_true(ring_run(&op) >= 0);
	assert_int_equal(read(op.op.result, &byte, 1), 1);
	assert_int_equal(byte, '0');
	close(op.op.result);
}

static void openat_creates_with_the_mode(void **state)
{
	struct ring_op op = path_op(WHI_OP_OPENAT, other);
	struct stat stat;

	(void)state;
	op.op.path.flags = O_WRONLY | O_CREAT | O_EXCL;
	op.op.path.mode = 0640;
	assert_true(ring_run(&op) >= 0);
	assert_int_equal(fstat(op.op.result, &stat), 0);
	assert_int_equal(stat.st_mode & 0777, 0640);
	close(op.op.result);
	assert_int_equal(ring_run(&op), -EEXIST);
}

static void openat_of_nothing_fails(void **state)
{
	struct ring_op op = path_op(WHI_OP_OPENAT, other);

	(void)state;
	assert_int_equal(ring_run(&op), -ENOENT);
}

/* A named pipe without a writer keeps its opener waiting, if the kernel takes a thread for it,
 * which it does when the file might have to be created. */
static void openat_can_be_cancelled(void **state)
{
	struct ring_op op = path_op(WHI_OP_OPENAT, other);
	int r;

	(void)state;
	assert_int_equal(mkfifo(other, 0600), 0);
	op.op.path.flags = O_RDONLY | O_CREAT;
	r = ring_run_cancelled(&op);
	/* epoll's threads open it without waiting, perhaps before they are told not to. */
	if (strcmp(ring_ops()->name, "epoll") == 0 && r >= 0)
		assert_int_equal(close(r), 0);
	else
		assert_in_set(r, ((unsigned long[]){ -ECANCELED, -EINTR }), 2);
}

/* read, write */

static void read_reads_at_the_offset(void **state)
{
	char buf[4] = "";
	struct ring_op op = rw_op(WHI_OP_READ, fd, buf, 3);

	(void)state;
	op.op.rw.offset = 4;
	assert_int_equal(ring_run(&op), 3);
	assert_string_equal(buf, "456");
}

static void read_at_the_end_is_zero(void **state)
{
	char buf[4];
	struct ring_op op = rw_op(WHI_OP_READ, fd, buf, 3);

	(void)state;
	op.op.rw.offset = 10;
	assert_int_equal(ring_run(&op), 0);
}

static void read_fails_on_what_is_open_for_writing(void **state)
{
	char buf[4];
	struct ring_op op = rw_op(WHI_OP_READ, ends[1], buf, 3);

	(void)state;
	assert_int_equal(ring_run(&op), -EBADF);
}

static void read_can_be_cancelled(void **state)
{
	char buf[4];
	struct ring_op op = rw_op(WHI_OP_READ, ends[0], buf, 3);

	(void)state;
	op.op.rw.offset = (uint64_t)-1;
	assert_in_set(ring_run_cancelled(&op), ((unsigned long[]){ -ECANCELED, -EINTR }), 2);
}

static void write_writes_at_the_offset(void **state)
{
	char text[] = "abc", buf[11] = "";
	struct ring_op op = rw_op(WHI_OP_WRITE, fd, text, 3);

	(void)state;
	op.op.rw.offset = 4;
	assert_int_equal(ring_run(&op), 3);
	assert_int_equal(pread(fd, buf, 10, 0), 10);
	assert_string_equal(buf, "0123abc789");
}

static void write_fails_on_what_is_open_for_reading(void **state)
{
	char text[] = "abc";
	struct ring_op op = rw_op(WHI_OP_WRITE, ends[0], text, 3);

	(void)state;
	assert_int_equal(ring_run(&op), -EBADF);
}

static void write_into_a_full_pipe_can_be_cancelled(void **state)
{
	static char block[65536];
	struct ring_op op = rw_op(WHI_OP_WRITE, ends[1], block, sizeof(block));

	(void)state;
	assert_int_equal(write(ends[1], block, sizeof(block)), sizeof(block));
	op.op.rw.offset = (uint64_t)-1;
	assert_in_set(ring_run_cancelled(&op), ((unsigned long[]){ -ECANCELED, -EINTR }), 2);
}

static struct ring_op vec_op(uint8_t kind, int of, const struct iovec *iov, uint64_t offset)
{
	return (struct ring_op){ .op.kind = kind,
				 .op.fd = of,
				 .op.vec = { .iov = iov, .iov_count = 2, .offset = offset } };
}

static void readv_scatters(void **state)
{
	char one[3] = "", two[5] = "";
	const struct iovec iov[2] = { { one, 2 }, { two, 4 } };
	struct ring_op op = vec_op(WHI_OP_READV, fd, iov, 3);

	(void)state;
	assert_int_equal(ring_run(&op), 6);
	assert_string_equal(one, "34");
	assert_string_equal(two, "5678");
}

static void readv_of_a_bad_descriptor_fails(void **state)
{
	char one[3], two[5];
	const struct iovec iov[2] = { { one, 2 }, { two, 4 } };
	struct ring_op op = vec_op(WHI_OP_READV, -1, iov, 0);

	(void)state;
	assert_int_equal(ring_run(&op), -EBADF);
}

static void readv_can_be_cancelled(void **state)
{
	char one[3], two[5];
	const struct iovec iov[2] = { { one, 2 }, { two, 4 } };
	struct ring_op op = vec_op(WHI_OP_READV, ends[0], iov, (uint64_t)-1);

	(void)state;
	assert_in_set(ring_run_cancelled(&op), ((unsigned long[]){ -ECANCELED, -EINTR }), 2);
}

static void writev_gathers(void **state)
{
	char one[] = "ab", two[] = "cd", buf[11] = "";
	const struct iovec iov[2] = { { one, 2 }, { two, 2 } };
	struct ring_op op = vec_op(WHI_OP_WRITEV, fd, iov, 8);

	(void)state;
	assert_int_equal(ring_run(&op), 4);
	assert_int_equal(pread(fd, buf, 10, 2), 10);
	assert_string_equal(buf, "234567abcd");
}

static void writev_without_room_fails(void **state)
{
	char one[] = "ab", two[] = "cd";
	const struct iovec iov[2] = { { one, 2 }, { two, 2 } };
	int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
	struct ring_op op = vec_op(WHI_OP_WRITEV, full, iov, 0);

	(void)state;
	assert_int_equal(ring_run(&op), -ENOSPC);
	close(full);
}

/* fsync, statx, fallocate */

static void fsync_syncs_a_file_and_no_pipe(void **state)
{
	struct ring_op op = { .op.kind = WHI_OP_FSYNC, .op.fd = fd };

	(void)state;
	assert_int_equal(ring_run(&op), 0);
	op.op.arg.value = 1;
	assert_int_equal(ring_run(&op), 0);
	op.op.fd = ends[0];
	assert_int_equal(ring_run(&op), -EINVAL);
}

/* It runs or not; either way it completes once. */
static void fsync_that_is_cancelled_completes_once(void **state)
{
	struct ring_op op = { .op.kind = WHI_OP_FSYNC, .op.fd = fd };

	(void)state;
	assert_in_set(ring_run_cancelled(&op), ((unsigned long[]){ 0, -ECANCELED, -EINTR }), 3);
}

static void statx_tells_the_size(void **state)
{
	struct ring_op op = path_op(WHI_OP_STATX, path);
	struct statx statx = { 0 };

	(void)state;
	op.op.fd = AT_FDCWD;
	op.op.path.mode = STATX_BASIC_STATS;
	op.op.path.statx = &statx;
	assert_int_equal(ring_run(&op), 0);
	assert_int_equal(statx.stx_size, 10);
	op.op.path.path = other;
	assert_int_equal(ring_run(&op), -ENOENT);
}

static void statx_of_a_descriptor_needs_no_path(void **state)
{
	struct ring_op op = path_op(WHI_OP_STATX, "");
	struct statx statx = { 0 };

	(void)state;
	op.op.fd = fd;
	op.op.path.flags = AT_EMPTY_PATH;
	op.op.path.mode = STATX_BASIC_STATS;
	op.op.path.statx = &statx;
	assert_int_equal(ring_run(&op), 0);
	assert_int_equal(statx.stx_size, 10);
}

static void fallocate_makes_room(void **state)
{
	struct ring_op op = { .op.kind = WHI_OP_FALLOCATE,
			      .op.fd = fd,
			      .op.allocate = { .offset = 0, .len = 100000 } };
	struct stat stat;

	(void)state;
	assert_int_equal(ring_run(&op), 0);
	assert_int_equal(fstat(fd, &stat), 0);
	assert_int_equal(stat.st_size, 100000);
	op.op.allocate.len = 0;
	assert_int_equal(ring_run(&op), -EINVAL);
}

/* unlink, rename, mkdir */

static void unlink_removes_a_file(void **state)
{
	struct ring_op op = path_op(WHI_OP_UNLINKAT, path);

	(void)state;
	assert_int_equal(ring_run(&op), 0);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(ring_run(&op), -ENOENT);
}

static void unlink_removes_a_folder_only_when_told(void **state)
{
	struct ring_op op = path_op(WHI_OP_UNLINKAT, other);

	(void)state;
	assert_int_equal(mkdir(other, 0700), 0);
	assert_int_equal(ring_run(&op), -EISDIR);
	op.op.path.flags = AT_REMOVEDIR;
	assert_int_equal(ring_run(&op), 0);
}

static void rename_moves_and_can_spare_what_is_there(void **state)
{
	struct ring_op op = path_op(WHI_OP_RENAMEAT, path);

	(void)state;
	op.op.path.to = other;
	assert_int_equal(ring_run(&op), 0);
	assert_int_equal(access(other, F_OK), 0);
	assert_int_equal(ring_run(&op), -ENOENT);
	close(open(path, O_CREAT | O_WRONLY, 0600));
	op.op.path.flags = RENAME_NOREPLACE;
	assert_int_equal(ring_run(&op), -EEXIST);
}

static void mkdir_makes_a_folder(void **state)
{
	struct ring_op op = path_op(WHI_OP_MKDIRAT, other);

	(void)state;
	op.op.path.mode = 0700;
	assert_int_equal(ring_run(&op), 0);
	assert_int_equal(access(other, X_OK), 0);
	assert_int_equal(ring_run(&op), -EEXIST);
}

/* Path operations do not wait long enough to be caught; that they complete once is what counts. */
static void path_operations_that_are_cancelled_complete_once(void **state)
{
	const uint8_t kinds[] = { WHI_OP_MKDIRAT, WHI_OP_RENAMEAT, WHI_OP_UNLINKAT, WHI_OP_STATX,
				  WHI_OP_OPENAT };
	struct statx statx;

	(void)state;
	for (int round = 0; round < 200; round++) {
		for (size_t i = 0; i < sizeof(kinds); i++) {
			struct ring_op op = path_op(kinds[i], other);

			op.op.path.to = kinds[i] == WHI_OP_RENAMEAT ? path : NULL;
			op.op.path.statx = kinds[i] == WHI_OP_STATX ? &statx : NULL;
			op.op.fd = AT_FDCWD;
			ring_submit(&op);
			if (round % 2)
				ring_poke();
			ring_cancel(&op);
			ring_wait(&op);
			assert_int_equal(op.completions, 1);
			if (kinds[i] == WHI_OP_OPENAT && op.op.result >= 0)
				close(op.op.result);
		}
	}
}

#define FILE_TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		FILE_TEST(openat_opens),
		FILE_TEST(openat_creates_with_the_mode),
		FILE_TEST(openat_of_nothing_fails),
		FILE_TEST(openat_can_be_cancelled),
		FILE_TEST(read_reads_at_the_offset),
		FILE_TEST(read_at_the_end_is_zero),
		FILE_TEST(read_fails_on_what_is_open_for_writing),
		FILE_TEST(read_can_be_cancelled),
		FILE_TEST(write_writes_at_the_offset),
		FILE_TEST(write_fails_on_what_is_open_for_reading),
		FILE_TEST(write_into_a_full_pipe_can_be_cancelled),
		FILE_TEST(readv_scatters),
		FILE_TEST(readv_of_a_bad_descriptor_fails),
		FILE_TEST(readv_can_be_cancelled),
		FILE_TEST(writev_gathers),
		FILE_TEST(writev_without_room_fails),
		FILE_TEST(fsync_syncs_a_file_and_no_pipe),
		FILE_TEST(fsync_that_is_cancelled_completes_once),
		FILE_TEST(statx_tells_the_size),
		FILE_TEST(statx_of_a_descriptor_needs_no_path),
		FILE_TEST(fallocate_makes_room),
		FILE_TEST(unlink_removes_a_file),
		FILE_TEST(unlink_removes_a_folder_only_when_told),
		FILE_TEST(rename_moves_and_can_spare_what_is_there),
		FILE_TEST(mkdir_makes_a_folder),
		FILE_TEST(path_operations_that_are_cancelled_complete_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
