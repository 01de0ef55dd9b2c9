/*
 * The simulated disk as a program meets it: through files, in time, with faults and crashes.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <whorl/file.h>

#include "support/sim_test.h"

enum { BYTES = 10000 };

static struct wh_file *opened(const char *path, int flags)
{
	struct wh_file *file;

	check_int(wh_file_open(path, flags, 0600, &file), 0);
	return file;
}

static void sync_path(const char *path)
{
	struct wh_file *file = opened(path, O_RDONLY);

	check_int(wh_file_sync(file, false), 0);
	wh_file_close(file);
}

static void make(const char *path, int byte)
{
	struct wh_file *file = opened(path, O_RDWR | O_CREAT | O_TRUNC);
	char bytes[BYTES];

	memset(bytes, byte, BYTES);
	check_int(wh_file_write(file, bytes, BYTES, 0), BYTES);
	check_int(wh_file_sync(file, false), 0);
	wh_file_close(file);
}

/* The byte that fills the file; -1: not all of it. */
static int filling(const char *path)
{
	struct wh_file *file = opened(path, O_RDONLY);
	char bytes[BYTES + 1];
	size_t len = 0;
	ssize_t r;

	while ((r = wh_file_read(file, bytes + len, sizeof(bytes) - len, len)) > 0)
		len += (size_t)r;
	check_int(r, 0);
	wh_file_close(file);
	if (len != BYTES || memcmp(bytes, bytes + 1, BYTES - 1) != 0)
		return -1;
	return bytes[0];
}

/* Use */

static int files_and_paths_work(void *arg)
{
	struct wh_file *file;
	struct statx stat;
	char bytes[8] = "";
	struct iovec iov[2] = { { bytes, 3 }, { bytes + 3, 4 } };

	(void)arg;
	check_int(wh_path_mkdir("d", 0700), 0);
	check_int(wh_path_mkdir("/d", 0700), -EEXIST);
	check_int(wh_file_open("d/f", O_RDWR, 0, &file), -ENOENT);
	check_int(wh_file_open("d", O_RDWR, 0, &file), -EISDIR);
	file = opened("d/f", O_RDWR | O_CREAT | O_EXCL);
	check_int(wh_file_write(file, "0123456789", 10, 0), 10);
	check_int(wh_file_readv(file, iov, 2, 2), 7);
	check(memcmp(bytes, "2345678", 7) == 0);
	check_int(wh_file_writev(file, iov, 2, 9), 7);
	check_int(wh_file_stat(file, &stat), 0);
	check_int(stat.stx_size, 16);
	check_int(wh_file_allocate(file, 0, 0, 5000), 0);
	check_int(wh_path_stat("d/f", 0, &stat), 0);
	check_int(stat.stx_size, 5000);
	check_int(wh_file_close(file), 0);
	check_int(wh_path_rename("d/f", "g", 0), 0);
	check_int(wh_path_stat("d/f", 0, &stat), -ENOENT);
	check_int(wh_path_unlink("g", true), -ENOTDIR);
	check_int(wh_path_unlink("g", false), 0);
	check_int(wh_path_unlink("d", true), 0);
	return 0;
}

static int a_reader_reads_a_file_in_order(void *arg)
{
	struct wh_file *file;
	struct wh_reader *reader;
	static uint32_t words[30000];
	uint32_t expected = 0;
	void *data;
	ssize_t r;

	(void)arg;
	for (uint32_t i = 0; i < 30000; i++)
		words[i] = i;
	file = opened("f", O_RDWR | O_CREAT);
	check_int(wh_file_write(file, words, sizeof(words), 0), sizeof(words));
	check_int(wh_reader_open(file, &(struct wh_reader_opts){ .chunk_bytes = 4096, .depth = 8 },
				 &reader),
		  0);
	while ((r = wh_reader_next(reader, &data)) > 0)
		for (ssize_t i = 0; i < r; i += 4)
			check_int(((uint32_t *)data)[i / 4], expected++);
	check_int(r, 0);
	check_int(expected, 30000);
	wh_reader_close(reader);
	wh_file_close(file);
	return 0;
}

/* Order */

struct writer {
	struct wh_file *file;
	char byte;
};

static int write_one(void *arg)
{
	struct writer *writer = arg;

	check_int(wh_file_write(writer->file, &writer->byte, 1, 0), 1);
	return 0;
}

static unsigned first_was_last, second_was_last;

static int writes_in_flight_may_pass_one_another(void *arg)
{
	struct wh_file *file = opened("f", O_RDWR | O_CREAT);
	struct writer first = { file, '1' }, second = { file, '2' };
	struct wh_scope scope;
	char byte;

	(void)arg;
	wh_scope_open(&scope, NULL);
	check_int(wh_spawn(&scope, write_one, &first), 0);
	check_int(wh_spawn(&scope, write_one, &second), 0);
	check_int(wh_scope_close(&scope), 0);
	check_int(wh_file_read(file, &byte, 1, 0), 1);
	first_was_last += byte == '1';
	second_was_last += byte == '2';
	wh_file_close(file);
	return 0;
}

static void both_orders_were_seen(void **state)
{
	(void)state;
	assert_true(first_was_last > 0 && second_was_last > 0);
}

/* Cancelled, a write has had its whole effect or none. */
static unsigned cancelled, too_late;

static int a_cancelled_write_is_done_or_not(void *arg)
{
	struct wh_file *file = opened("f", O_RDWR | O_CREAT);
	struct wh_scope scope;
	char byte = 0;
	ssize_t r;

	(void)arg;
	wh_scope_open(&scope, &(struct wh_scope_opts){ .timeout_ns = WH_US + 30 * WH_US });
	r = wh_file_write(file, "x", 1, 0);
	wh_scope_close(&scope);
	check(r == 1 || r == -ETIMEDOUT);
	check_int(wh_file_read(file, &byte, 1, 0), r == 1);
	cancelled += r < 0;
	too_late += r == 1;
	wh_file_close(file);
	return 0;
}

static void cancellations_were_in_time_and_too_late(void **state)
{
	(void)state;
	assert_true(cancelled > 0 && too_late > 0);
}

/* Faults */

static unsigned short_reads, short_writes;

static int transfers_are_short_at_times(void *arg)
{
	struct wh_file *file = opened("f", O_RDWR | O_CREAT);
	struct iovec iov = { (char[]){ "0123456789" }, 10 };
	char bytes[10];
	ssize_t r = wh_file_writev(file, &iov, 1, 0);

	(void)arg;
	check(r >= 1 && r <= 10);
	short_writes += r < 10;
	/* All, by the engine's going on. */
	check_int(wh_file_write(file, iov.iov_base, 10, 0), 10);
	r = wh_file_read(file, bytes, 10, 0);
	check(r >= 1 && r <= 10);
	check(memcmp(bytes, iov.iov_base, (size_t)r) == 0);
	short_reads += r < 10;
	wh_file_close(file);
	return 0;
}

static void transfers_were_short(void **state)
{
	(void)state;
	assert_true(short_reads > 0 && short_writes > 0);
}

/* make() needs three pages. */
static int a_full_disk_is_enospc_until_something_is_removed(void *arg)
{
	struct wh_file *file;
	char bytes[4 * 4096] = "";

	(void)arg;
	check_int(wh_sim_set_disk(0, 3 * 4096), 0);
	file = opened("f", O_RDWR | O_CREAT);
	check_int(wh_file_write(file, bytes, sizeof(bytes), 0), -ENOSPC);
	check_int(wh_file_read(file, bytes, sizeof(bytes), 0), 3 * 4096);
	wh_file_close(file);
	check_int(wh_path_unlink("f", false), 0);
	make("g", 1);
	return 0;
}

static int more_space_helps(void *arg)
{
	struct wh_file *file = opened("f", O_RDWR | O_CREAT);
	char bytes[2 * 4096] = "";

	(void)arg;
	check_int(wh_sim_set_disk(0, 4096), 0);
	check_int(wh_file_write(file, bytes, sizeof(bytes), 0), -ENOSPC);
	check_int(wh_sim_set_disk(0, 0), 0);
	check_int(wh_file_write(file, bytes, sizeof(bytes), 0), (ssize_t)sizeof(bytes));
	wh_file_close(file);
	return 0;
}

static int failures_are_those_of_a_disk(void *arg)
{
	struct wh_file *file;
	char byte = 'x';
	ssize_t r = wh_file_open("f", O_RDWR | O_CREAT, 0600, &file);

	(void)arg;
	if (r == -ENOSPC)
		return 0;
	check_int(r, 0);
	for (int i = 0; i < 10; i++) {
		r = wh_file_write(file, &byte, 1, 0);
		check(r == 1 || r == -EIO || r == -ENOSPC);
		r = wh_file_read(file, &byte, 1, 0);
		check(r == 1 || r == 0 || r == -EIO);
		r = wh_file_sync(file, false);
		check(r == 0 || r == -EIO);
	}
	wh_file_close(file);
	return 0;
}

static int descriptors_of_files_count(void *arg)
{
	struct wh_file *file, *other;

	(void)arg;
	check_int(wh_sim_set_fds_max(0, 1), 0);
	file = opened("f", O_RDWR | O_CREAT);
	check_int(wh_file_open("g", O_RDWR | O_CREAT, 0600, &other), -EMFILE);
	wh_file_close(file);
	check_int(wh_file_open("g", O_RDWR, 0, &other), -ENOENT);
	return 0;
}

/* Crashes: host 1 replaces a file again and again, each time with the next byte. */

struct replacer {
	bool careful; /* syncs the bytes before the rename */
	int said;     /* the last that it knows to be on the disk */
	int tried;
};

static int replace(struct replacer *replacer)
{
	char bytes[BYTES];
	struct wh_file *file;
	int r = wh_file_open("f.new", O_RDWR | O_CREAT | O_TRUNC, 0600, &file);

	if (r < 0)
		return r;
	memset(bytes, ++replacer->tried, BYTES);
	r = (int)wh_file_write(file, bytes, BYTES, 0);
	if (r >= 0 && replacer->careful)
		r = wh_file_sync(file, false);
	wh_file_close(file);
	if (r >= 0)
		r = wh_path_rename("f.new", "f", 0);
	if (r >= 0)
		r = wh_file_open("/", O_RDONLY | O_DIRECTORY, 0, &file);
	if (r < 0)
		return r;
	r = wh_file_sync(file, false);
	wh_file_close(file);
	if (r == 0)
		replacer->said = replacer->tried;
	return r;
}

static int replace_for_ever(void *arg)
{
	while (replace(arg) >= 0)
		;
	return 0;
}

static int read_filling(void *arg)
{
	(void)arg;
	return filling("f");
}

static int make_first(void *arg)
{
	(void)arg;
	make("f", 0);
	sync_path("/");
	return 0;
}

/* What the file is filled with after the crash. */
static int crash_a_replacer(struct replacer *replacer)
{
	struct wh_loop *loop = wh_loop_at(1);
	int result;

	check_int(wh_loop_call(loop, make_first, NULL, NULL), 0);
	check_int(wh_loop_spawn(loop, replace_for_ever, replacer, NULL), 0);
	sim_pause(50 * WH_MS);
	check_int(wh_sim_crash(1), 0);
	check_int(wh_sim_reboot(1), 0);
	check_int(wh_loop_call(loop, read_filling, NULL, &result), 0);
	return result;
}

static int a_careful_replacement_survives_crashes(void *arg)
{
	struct replacer replacer = { .careful = true };
	int found = crash_a_replacer(&replacer);

	(void)arg;
	check(found >= replacer.said && found <= replacer.tried);
	return 0;
}

static unsigned broken;

static int a_careless_replacement_is_found_out(void *arg)
{
	struct replacer replacer = { .careful = false };

	(void)arg;
	broken += crash_a_replacer(&replacer) < 0;
	return 0;
}

static void careless_replacements_were_found_out(void **state)
{
	(void)state;
	assert_true(broken > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		sim_test(files_and_paths_work),
		sim_test(a_reader_reads_a_file_in_order, .opts.faults = "disk_slow=0.05"),
		sim_test(writes_in_flight_may_pass_one_another),
		cmocka_unit_test(both_orders_were_seen),
		sim_test(a_cancelled_write_is_done_or_not),
		cmocka_unit_test(cancellations_were_in_time_and_too_late),
		sim_test(transfers_are_short_at_times, .opts.faults = "disk_short=0.3"),
		cmocka_unit_test(transfers_were_short),
		sim_test(a_full_disk_is_enospc_until_something_is_removed, .seeds = 10),
		sim_test(more_space_helps, .seeds = 10),
		sim_test(failures_are_those_of_a_disk, .seeds = 300,
			 .opts.faults = "eio=0.1,enospc=0.1,disk_short=0.1,disk_slow=0.1"),
		sim_test(descriptors_of_files_count, .seeds = 10),
		sim_test(a_careful_replacement_survives_crashes, .seeds = 500, .opts.hosts = 2,
			 .opts.faults = "torn=0.5,disk_short=0.05"),
		sim_test(a_careless_replacement_is_found_out, .opts.hosts = 2),
		cmocka_unit_test(careless_replacements_were_found_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
