/* Files: every call's success, its errors, its cancellation, and closing under it. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>
#include <whorl/file.h>

#include "support/task_test.h"

static char folder[64];

static const char *path_of(const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	return path;
}

static struct wh_file *open_new(const char *name)
{
	struct wh_file *file;

	check_int(wh_file_open(path_of(name), O_CREAT | O_TRUNC | O_RDWR, 0600, &file), 0);
	return file;
}

static int make(void **state)
{
	(void)state;
	make_folder(folder);
	return 0;
}

static int clean(void **state)
{
	(void)state;
	remove_folder(folder);
	return 0;
}

static int what_was_written_is_read(void *arg)
{
	struct wh_file *file = open_new("file");
	char buf[16];

	(void)arg;
	check_int(wh_file_write(file, "hello world", 11, 0), 11);
	check_int(wh_file_write(file, "W", 1, 6), 1);
	check_int(wh_file_read(file, buf, sizeof(buf), 0), 11);
	check(memcmp(buf, "hello World", 11) == 0);
	check_int(wh_file_read(file, buf, 3, 6), 3);
	check(memcmp(buf, "Wor", 3) == 0);
	check_int(wh_file_read(file, buf, sizeof(buf), 11), 0);
	check_int(wh_file_read(file, buf, sizeof(buf), 1 << 20), 0);
	check_int(wh_file_write(file, "", 0, 0), 0);
	check(fcntl(wh_file_fd(file), F_GETFD) & FD_CLOEXEC);
	check_int(wh_file_close(file), 0);
	return 0;
}

static int vectors_are_one_operation(void *arg)
{
	struct wh_file *file = open_new("file");
	char ab[] = "ab", cdef[] = "cdef", one[3], two[5];
	struct iovec out[2] = { { ab, 2 }, { cdef, 4 } }, in[2] = { { one, 3 }, { two, 5 } };

	(void)arg;
	check_int(wh_file_writev(file, out, 2, 10), 6);
	check_int(wh_file_readv(file, in, 2, 10), 6);
	check(memcmp(one, "abc", 3) == 0 && memcmp(two, "def", 3) == 0);
	check_int(wh_file_readv(file, in, 1, 8), 3);
	check(memcmp(one, "\0\0a", 3) == 0);
	check_int(wh_file_close(file), 0);
	return 0;
}

static int size_and_space_are_as_asked_for(void *arg)
{
	struct wh_file *file = open_new("file");
	struct statx attributes;

	(void)arg;
	check_int(wh_file_allocate(file, 0, 0, 10000), 0);
	check_int(wh_file_stat(file, &attributes), 0);
	check_int(attributes.stx_size, 10000);
	check_int(wh_file_write(file, "x", 1, 20000), 1);
	check_int(wh_file_sync(file, false), 0);
	check_int(wh_file_sync(file, true), 0);
	check_int(wh_path_stat(path_of("file"), 0, &attributes), 0);
	check_int(attributes.stx_size, 20001);
	check(S_ISREG(attributes.stx_mode));
	check_int(wh_file_close(file), 0);
	return 0;
}

static int paths_can_be_made_renamed_and_removed(void *arg)
{
	struct statx attributes;
	char from[128], to[128];

	(void)arg;
	strcpy(from, path_of("from"));
	strcpy(to, path_of("to"));
	check_int(wh_path_mkdir(from, 0700), 0);
	check_int(wh_path_mkdir(from, 0700), -EEXIST);
	check_int(wh_path_rename(from, to, 0), 0);
	check_int(wh_path_stat(from, 0, &attributes), -ENOENT);
	check_int(wh_path_stat(to, 0, &attributes), 0);
	check(S_ISDIR(attributes.stx_mode));
	check_int(wh_path_unlink(to, false), -EISDIR);
	check_int(wh_path_unlink(to, true), 0);
	check_int(wh_path_unlink(to, true), -ENOENT);
	check_int(symlink("nowhere", from), 0);
	check_int(wh_path_stat(from, 0, &attributes), -ENOENT);
	check_int(wh_path_stat(from, AT_SYMLINK_NOFOLLOW, &attributes), 0);
	check_int(wh_file_close(open_new("to")), 0);
	check_int(wh_path_rename(from, to, RENAME_NOREPLACE), -EEXIST);
	check_int(wh_path_rename(from, to, 0), 0);
	check_int(wh_path_unlink(to, false), 0);
	return 0;
}

static int open_tells_why_it_could_not(void *arg)
{
	struct wh_file *file;

	(void)arg;
	check_int(wh_file_open(path_of("nothing"), O_RDONLY, 0, &file), -ENOENT);
	check_int(wh_file_open(folder, O_WRONLY, 0, &file), -EISDIR);
	check_int(wh_file_open("/dev/null/x", O_RDONLY, 0, &file), -ENOTDIR);
	check_int(wh_file_from_fd(-1, false, &file), -EBADF);
	return 0;
}

static int errors_are_the_kernels(void *arg)
{
	struct wh_file *file;
	char byte = 'x';

	(void)arg;
	check_int(wh_file_open("/dev/full", O_RDWR, 0, &file), 0);
	check_int(wh_file_write(file, &byte, 1, 0), -ENOSPC);
	check_int(wh_file_writev(file, &(struct iovec){ &byte, 1 }, 1, 0), -ENOSPC);
	check_int(wh_file_sync(file, false), -EINVAL);
	check_int(wh_file_allocate(file, 0, 0, 1), -ENODEV);
	check_int(wh_file_close(file), 0);
	check_int(wh_file_open(folder, O_RDONLY, 0, &file), 0);
	check_int(wh_file_read(file, &byte, 1, 0), -EISDIR);
	check_int(wh_file_write(file, &byte, 1, 0), -EBADF);
	check_int(wh_file_close(file), 0);
	file = open_new("file");
	check_int(wh_file_read(file, &byte, 1, UINT64_MAX - 1), -EINVAL);
	check_int(wh_file_readv(file, &(struct iovec){ &byte, 1 }, 5000, 0), -EINVAL);
	check_int(wh_file_close(file), 0);
	return 0;
}

/* A write that reaches the limit is short first; the rest of it then fails. */
static int a_file_at_its_size_limit_is_efbig(void *arg)
{
	struct wh_file *file = open_new("file");
	struct rlimit old, limit;
	struct statx attributes;
	static char buf[10000];

	(void)arg;
	check(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
	check_int(getrlimit(RLIMIT_FSIZE, &old), 0);
	limit = old;
	limit.rlim_cur = 4096;
	check_int(setrlimit(RLIMIT_FSIZE, &limit), 0);
	check_int(wh_file_write(file, buf, sizeof(buf), 0), -EFBIG);
	check_int(setrlimit(RLIMIT_FSIZE, &old), 0);
	check_int(wh_file_stat(file, &attributes), 0);
	check_int(attributes.stx_size, 4096);
	check_int(wh_file_close(file), 0);
	return 0;
}

static int from_fd_closes_only_what_it_took(void *arg)
{
	struct wh_file *file;
	int pipes[2];

	(void)arg;
	check_int(pipe2(pipes, O_CLOEXEC), 0);
	check_int(wh_file_from_fd(pipes[0], false, &file), 0);
	check_int(wh_file_fd(file), pipes[0]);
	check_int(wh_file_close(file), 0);
	check(fcntl(pipes[0], F_GETFD) >= 0);
	check_int(wh_file_from_fd(pipes[0], true, &file), 0);
	check_int(wh_file_close(file), 0);
	check_int(fcntl(pipes[0], F_GETFD), -1);
	close(pipes[1]);
	return 0;
}

/* Pipes and terminals */

struct ends {
	struct wh_file *read, *write;
};

static void make_pipe(struct ends *ret, int flags)
{
	int pipes[2];

	check_int(pipe2(pipes, O_CLOEXEC | flags), 0);
	check_int(wh_file_from_fd(pipes[0], true, &ret->read), 0);
	check_int(wh_file_from_fd(pipes[1], true, &ret->write), 0);
}

enum { BIG = 1 << 20 };

static char big[BIG];

static int write_big(void *arg)
{
	check_int(wh_file_write(arg, big, BIG, 12345), BIG);
	return wh_file_close(arg);
}

static int pass_through(int flags)
{
	struct wh_scope scope;
	struct ends ends;
	static char buf[5000];
	size_t total = 0;
	ssize_t r;

	make_pipe(&ends, flags);
	wh_scope_open(&scope, NULL);
	wh_spawn(&scope, write_big, ends.write);
	while ((r = wh_file_read(ends.read, buf, sizeof(buf), 999)) > 0)
		total += (size_t)r;
	check_int(r, 0);
	check_int(total, BIG);
	check_int(wh_scope_close(&scope), 0);
	check_int(wh_file_close(ends.read), 0);
	return 0;
}

static int pipes_ignore_offsets_and_take_all(void *arg)
{
	(void)arg;
	return pass_through(0);
}

static int nonblocking_pipes_wait_too(void *arg)
{
	(void)arg;
	return pass_through(O_NONBLOCK);
}

/* Opens it, writes and closes, when the reader already waits. */
static int write_late(void *path)
{
	struct wh_file *file;

	settle();
	check_int(wh_file_open(path, O_WRONLY, 0, &file), 0);
	check_int(wh_file_write(file, "late", 4, 0), 4);
	return wh_file_close(file);
}

static int a_named_pipe_is_not_at_its_end_before_it_had_a_writer(void *arg)
{
	struct wh_scope scope;
	struct wh_file *file;
	const char *path = path_of("fifo");
	char buf[8];

	(void)arg;
	check_int(mkfifo(path, 0600), 0);
	check_int(wh_file_open(path, O_RDONLY, 0, &file), 0);
	wh_scope_open(&scope, NULL);
	wh_spawn(&scope, write_late, (void *)(uintptr_t)path);
	check_int(wh_file_read(file, buf, sizeof(buf), 0), 4);
	check_int(wh_file_read(file, buf, sizeof(buf), 0), 0);
	check_int(wh_scope_close(&scope), 0);
	check_int(wh_file_close(file), 0);
	return unlink(path);
}

static int a_named_pipe_that_does_not_wait_is_at_its_end_without_a_writer(void *arg)
{
	const char *path = path_of("fifo");
	struct wh_file *file;
	char buf[8];

	(void)arg;
	check_int(mkfifo(path, 0600), 0);
	check_int(wh_file_open(path, O_RDONLY | O_NONBLOCK, 0, &file), 0);
	check_int(wh_file_read(file, buf, sizeof(buf), 0), 0);
	check_int(wh_file_close(file), 0);
	return unlink(path);
}

static int read_canceled(void *arg)
{
	static char buf[10];

	check_int(wh_file_read(arg, buf, sizeof(buf), 0), -ECANCELED);
	return 0;
}

static int write_canceled(void *arg)
{
	check_int(wh_file_write(arg, big, BIG, 0), -ECANCELED);
	return 0;
}

static int interrupt(int flags)
{
	struct wh_scope scope;
	struct ends ends;

	for (int closing = 0; closing < 2; closing++) {
		make_pipe(&ends, flags);
		wh_scope_open(&scope, NULL);
		wh_spawn(&scope, read_canceled, ends.read);
		settle();
		if (closing)
			check_int(wh_file_close(ends.read), 0);
		else
			wh_scope_cancel(&scope);
		check_int(wh_scope_close(&scope), closing ? 0 : -ECANCELED);
		check_int(wh_file_close(ends.write), 0);
		if (!closing)
			check_int(wh_file_close(ends.read), 0);
	}
	for (int closing = 0; closing < 2; closing++) {
		make_pipe(&ends, flags);
		wh_scope_open(&scope, NULL);
		wh_spawn(&scope, write_canceled, ends.write);
		settle();
		if (closing)
			check_int(wh_file_close(ends.write), 0);
		else
			wh_scope_cancel(&scope);
		check_int(wh_scope_close(&scope), closing ? 0 : -ECANCELED);
		check_int(wh_file_close(ends.read), 0);
		if (!closing)
			check_int(wh_file_close(ends.write), 0);
	}
	return 0;
}

static int waiting_for_a_pipe_is_cancelled_and_closed(void *arg)
{
	(void)arg;
	return interrupt(0);
}

static int waiting_for_a_nonblocking_pipe_is_cancelled_and_closed(void *arg)
{
	(void)arg;
	return interrupt(O_NONBLOCK);
}

static int a_pipe_without_a_reader_is_epipe(void *arg)
{
	struct ends ends;

	(void)arg;
	check(signal(SIGPIPE, SIG_IGN) != SIG_ERR);
	make_pipe(&ends, 0);
	wh_file_close(ends.read);
	check_int(wh_file_write(ends.write, "x", 1, 0), -EPIPE);
	wh_file_close(ends.write);
	return 0;
}

/* The kernel does not wait for a terminal that is non-blocking: the engine does. */
static int a_nonblocking_terminal_is_waited_for_and_closed(void *arg)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	struct wh_scope scope;
	struct wh_file *file;
	char buf[10];
	int slave;

	(void)arg;
	if (master < 0)
		return 0;
	check_int(grantpt(master) | unlockpt(master), 0);
	for (int round = 0; round < 2; round++) {
		slave = open(ptsname(master), O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
		check(slave >= 0);
		check_int(wh_file_from_fd(slave, true, &file), 0);
		wh_scope_open(&scope, NULL);
		wh_spawn(&scope, read_canceled, file);
		settle();
		if (round == 1)
			check_int(wh_file_close(file), 0);
		else
			wh_scope_cancel(&scope);
		check_int(wh_scope_close(&scope), round == 1 ? 0 : -ECANCELED);
		if (round == 1)
			break;
		check_int(write(master, "line\n", 5), 5);
		check_int(wh_file_read(file, buf, sizeof(buf), 0), 5);
		check_int(wh_file_close(file), 0);
	}
	close(master);
	return 0;
}

/* Several tasks at one file */

enum { TASKS = 50, PIECE = 3000 };

struct piece {
	struct wh_file *file;
	int index;
};

static int write_and_read_piece(void *arg)
{
	const struct piece *piece = arg;
	uint64_t offset = (uint64_t)piece->index * PIECE;
	char buf[PIECE], again[PIECE];

	memset(buf, 'a' + piece->index % 26, sizeof(buf));
	check_int(wh_file_write(piece->file, buf, sizeof(buf), offset), PIECE);
	check_int(wh_file_read(piece->file, again, sizeof(again), offset), PIECE);
	check(memcmp(buf, again, sizeof(buf)) == 0);
	return 0;
}

static int tasks_share_a_file(void *arg)
{
	struct wh_file *file = open_new("file");
	struct piece pieces[TASKS];
	struct wh_scope scope;

	(void)arg;
	wh_scope_open(&scope, NULL);
	for (int i = 0; i < TASKS; i++) {
		pieces[i] = (struct piece){ file, i };
		wh_spawn(&scope, write_and_read_piece, &pieces[i]);
	}
	check_int(wh_scope_close(&scope), 0);
	check_int(wh_file_close(file), 0);
	return 0;
}

static int sync_or_canceled(void *arg)
{
	int r = wh_file_sync(arg, false);

	check(r == 0 || r == -ECANCELED);
	return 0;
}

static int closing_waits_for_a_sync(void *arg)
{
	(void)arg;
	for (int i = 0; i < 50; i++) {
		struct wh_file *file = open_new("file");
		struct wh_scope scope;

		check_int(wh_file_write(file, big, BIG, 0), BIG);
		wh_scope_open(&scope, NULL);
		wh_spawn(&scope, sync_or_canceled, file);
		for (int turns = 0; turns <= i % 4; turns++)
			next_turn();
		check_int(wh_file_close(file), 0);
		check_int(wh_scope_close(&scope), 0);
	}
	return 0;
}

static int calls_in_a_cancelled_scope_fail_at_once(void *arg)
{
	struct wh_file *file = open_new("file"), *other;
	struct statx attributes;
	struct wh_scope scope;
	char byte = 0;

	(void)arg;
	wh_scope_open(&scope, NULL);
	wh_scope_cancel(&scope);
	check_int(wh_file_open(path_of("file"), O_RDONLY, 0, &other), -ECANCELED);
	check_int(wh_file_read(file, &byte, 1, 0), -ECANCELED);
	check_int(wh_file_write(file, &byte, 1, 0), -ECANCELED);
	check_int(wh_file_sync(file, false), -ECANCELED);
	check_int(wh_file_stat(file, &attributes), -ECANCELED);
	check_int(wh_path_unlink(path_of("file"), false), -ECANCELED);
	check_int(wh_file_close(file), 0);
	check_int(wh_scope_close(&scope), -ECANCELED);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		task_test(what_was_written_is_read),
		task_test(vectors_are_one_operation),
		task_test(size_and_space_are_as_asked_for),
		task_test(paths_can_be_made_renamed_and_removed),
		task_test(open_tells_why_it_could_not),
		task_test(errors_are_the_kernels),
		task_test(a_file_at_its_size_limit_is_efbig),
		task_test(from_fd_closes_only_what_it_took),
		task_test(pipes_ignore_offsets_and_take_all),
		task_test(nonblocking_pipes_wait_too),
		task_test(a_named_pipe_is_not_at_its_end_before_it_had_a_writer),
		task_test(a_named_pipe_that_does_not_wait_is_at_its_end_without_a_writer),
		task_test(waiting_for_a_pipe_is_cancelled_and_closed),
		task_test(waiting_for_a_nonblocking_pipe_is_cancelled_and_closed),
		task_test(a_pipe_without_a_reader_is_epipe),
		task_test(a_nonblocking_terminal_is_waited_for_and_closed),
		task_test(tasks_share_a_file),
		task_test(closing_waits_for_a_sync),
		task_test(calls_in_a_cancelled_scope_fail_at_once),
	};

	return cmocka_run_group_tests(tests, make, clean);
}
