/*
 * What a crash of the simulated disk leaves, over many seeds. Each test says what must hold for
 * every seed, and, where the outcome is open, that each of the outcomes came up.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "backend/sim_fs.h"
#include "support/task_test.h"

enum { SEEDS = 400, BYTES = 3 * WHI_SIMFS_PAGE + 700, SECTORS = BYTES / WHI_SIMFS_SECTOR + 1 };

static struct whi_simfs fs;
static struct whi_rng rng;

static void begin(uint64_t seed)
{
	whi_simfs_init(&fs);
	rng.state = seed;
}

static bool is_alive(const struct whi_simfs_inode *inode)
{
	return inode->linked || inode->opens > 0;
}

static void end(void)
{
	const struct whi_list *node;
	uint64_t space = 0;

	for (node = fs.inodes.next; node != &fs.inodes; node = node->next)
		if (is_alive(whi_container_of(node, struct whi_simfs_inode, link)))
			space += whi_container_of(node, struct whi_simfs_inode, link)->space;
	check_int(fs.space, space);
	whi_simfs_fini(&fs);
	check(whi_list_empty(&fs.inodes));
}

static struct whi_simfs_file opened(const char *path, int flags)
{
	struct whi_simfs_file file;

	check_int(whi_simfs_open(&fs, path, flags, 0600, &file), 0);
	return file;
}

static void fill(struct whi_simfs_file *file, int byte, size_t len, uint64_t offset)
{
	static unsigned char data[BYTES];
	struct iovec iov = { data, len };

	memset(data, byte, len);
	check_int(whi_simfs_write(file, &iov, 1, offset, SIZE_MAX), (ssize_t)len);
}

static void sync_path(const char *path)
{
	struct whi_simfs_file file = opened(path, O_RDONLY);

	check_int(whi_simfs_sync(&file), 0);
	whi_simfs_close(&file);
}

static void make(const char *path, int byte, size_t len, bool synced)
{
	struct whi_simfs_file file = opened(path, O_RDWR | O_CREAT);

	fill(&file, byte, len, 0);
	if (synced)
		check_int(whi_simfs_sync(&file), 0);
	whi_simfs_close(&file);
}

static bool there(const char *path)
{
	struct whi_simfs_inode *inode;

	return whi_simfs_find(&fs, NULL, path, &inode) == 0;
}

static size_t content(const char *path, unsigned char bytes[BYTES])
{
	struct whi_simfs_file file = opened(path, O_RDONLY);
	ssize_t len = whi_simfs_read(&file, &(struct iovec){ bytes, BYTES }, 1, 0, SIZE_MAX);

	check(len >= 0);
	whi_simfs_close(&file);
	return (size_t)len;
}

/* The file is `len` times `byte`. */
static bool is(const char *path, int byte, size_t len)
{
	unsigned char bytes[BYTES];

	if (content(path, bytes) != len)
		return false;
	for (size_t i = 0; i < len; i++)
		if (bytes[i] != byte)
			return false;
	return true;
}

static void crash(void)
{
	whi_simfs_crash(&fs, &rng, true);
}

/* Bytes */

static void synced_bytes_of_a_synced_name_survive(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		begin(seed);
		make("f", 1, BYTES, true);
		sync_path("/");
		crash();
		check(is("f", 1, BYTES));
		crash();
		check(is("f", 1, BYTES));
		end();
	}
}

static void unsynced_bytes_are_lost_kept_or_torn(void **state)
{
	unsigned old_whole = 0, new_whole = 0, torn = 0;

	(void)state;
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		unsigned char bytes[BYTES];
		bool mixed = false;

		begin(seed);
		make("f", 1, BYTES, true);
		sync_path("/");
		make("f", 2, BYTES, false);
		crash();
		check_int(content("f", bytes), BYTES);
		for (size_t i = 0; i < BYTES; i++) {
			check(bytes[i] == 1 || bytes[i] == 2);
			if (i % WHI_SIMFS_SECTOR)
				check_int(bytes[i], bytes[i - 1]);
			else if (i % WHI_SIMFS_PAGE)
				mixed |= bytes[i] != bytes[i - 1];
		}
		old_whole += is("f", 1, BYTES);
		new_whole += is("f", 2, BYTES);
		torn += mixed;
		end();
	}
	check(old_whole > SEEDS / 20 && new_whole > SEEDS / 40 && torn > SEEDS / 20);
}

static void pages_are_whole_if_they_may_not_be_torn(void **state)
{
	unsigned mixed = 0;

	(void)state;
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		unsigned char bytes[BYTES];

		begin(seed);
		make("f", 1, BYTES, true);
		sync_path("/");
		make("f", 2, BYTES, false);
		whi_simfs_crash(&fs, &rng, false);
		check_int(content("f", bytes), BYTES);
		for (size_t i = 1; i < BYTES; i++)
			if (i % WHI_SIMFS_PAGE)
				check_int(bytes[i], bytes[i - 1]);
			else
				mixed += bytes[i] != bytes[i - 1];
		end();
	}
	check(mixed > 0);
}

/* Every sector is as last synced, or as one of the writes since has it. The kernel's own writing
 * back goes on meanwhile. */
static void each_sector_is_of_the_last_sync_or_later(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		bool possible[SECTORS][256] = { { false } };
		unsigned char now[SECTORS], bytes[BYTES];
		struct whi_simfs_file file;

		begin(seed);
		make("f", 0, BYTES, true);
		sync_path("/");
		file = opened("f", O_RDWR);
		memset(now, 0, sizeof(now));
		for (size_t i = 0; i < SECTORS; i++)
			possible[i][0] = true;
		for (int step = 1; step < 40; step++) {
			size_t first = whi_rng_below(&rng, SECTORS - 1);
			size_t count = 1 + whi_rng_below(&rng, SECTORS - 1 - first);

			if (whi_rng_below(&rng, 8) == 0) {
				check_int(whi_simfs_sync(&file), 0);
				memset(possible, 0, sizeof(possible));
				for (size_t i = 0; i < SECTORS; i++)
					possible[i][now[i]] = true;
				continue;
			}
			fill(&file, step, count * WHI_SIMFS_SECTOR, first * WHI_SIMFS_SECTOR);
			for (size_t i = first; i < first + count; i++)
				possible[i][now[i] = (unsigned char)step] = true;
			whi_simfs_write_back(file.inode, &rng);
		}
		whi_simfs_close(&file);
		crash();
		check_int(content("f", bytes), BYTES);
		for (size_t i = 0; i < BYTES; i++)
			check(possible[i / WHI_SIMFS_SECTOR][bytes[i]]);
		end();
	}
}

static void an_unsynced_cut_leaves_all_of_the_old_or_none(void **state)
{
	unsigned old = 0, empty = 0, new = 0;

	(void)state;
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		unsigned char bytes[BYTES];
		struct whi_simfs_file file;
		size_t len;

		begin(seed);
		make("f", 1, BYTES, true);
		sync_path("/");
		file = opened("f", O_RDWR | O_TRUNC);
		fill(&file, 2, 5000, 0);
		whi_simfs_close(&file);
		crash();
		len = content("f", bytes);
		if (len == BYTES) {
			check(is("f", 1, BYTES));
			old++;
		}
		check(len == BYTES || len <= 5000);
		for (size_t i = 0; i < len && len != BYTES; i++)
			check(bytes[i] == 0 || bytes[i] == 2);
		empty += len == 0;
		new += is("f", 2, 5000);
		end();
	}
	check(old > 0 && empty > 0 && new > 0);
}

/* Names */

static void an_unsynced_name_is_there_or_not(void **state)
{
	unsigned found = 0;

	(void)state;
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		begin(seed);
		make("f", 1, 100, true);
		crash();
		found += there("f");
		check(!there("f") || is("f", 1, 100));
		end();
	}
	check(found > SEEDS / 10 && found < SEEDS * 9 / 10);
}

static void a_synced_name_does_not_bring_its_bytes(void **state)
{
	unsigned whole = 0, empty = 0;

	(void)state;
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		begin(seed);
		make("f", 1, 100, false);
		sync_path("/");
		crash();
		check(there("f"));
		whole += is("f", 1, 100);
		empty += is("f", 0, 0);
		end();
	}
	check(whole > 0 && empty > 0);
}

static void a_directory_does_not_bring_its_own_name(void **state)
{
	unsigned found = 0;

	(void)state;
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		begin(seed);
		check_int(whi_simfs_mkdir(&fs, "d", 0700), 0);
		make("d/f", 1, 100, true);
		sync_path("d");
		crash();
		check_int(there("d"), there("d/f"));
		found += there("d");
		end();
	}
	check(found > 0 && found < SEEDS);
}

static void a_removed_name_is_gone_for_good_once_synced(void **state)
{
	unsigned back = 0;

	(void)state;
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		begin(seed);
		make("f", 1, 100, true);
		make("g", 1, 100, true);
		sync_path("/");
		check_int(whi_simfs_unlink(&fs, "f", 0), 0);
		sync_path("/");
		check_int(whi_simfs_unlink(&fs, "g", 0), 0);
		crash();
		check(!there("f"));
		check(!there("g") || is("g", 1, 100));
		back += there("g");
		end();
	}
	check(back > 0 && back < SEEDS);
}

static void changes_of_a_directory_survive_in_order(void **state)
{
	unsigned some = 0;

	(void)state;
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		unsigned count = 0;
		char name[2] = "a";

		begin(seed);
		for (name[0] = 'a'; name[0] < 'k'; name[0]++)
			check_int(whi_simfs_mkdir(&fs, name, 0700), 0);
		crash();
		for (name[0] = 'a'; name[0] < 'k'; name[0]++) {
			check(!there(name) || count == (unsigned)(name[0] - 'a'));
			count += there(name);
		}
		some += count > 0 && count < 10;
		end();
	}
	check(some > 0);
}

/* Renames */

/* As programs do it who want the file old or new, and nothing else. */
static void replace(bool sync_bytes, bool sync_name)
{
	make("f", 1, BYTES, true);
	sync_path("/");
	make("f.new", 2, BYTES, sync_bytes);
	check_int(whi_simfs_rename(&fs, "f.new", "f", 0), 0);
	if (sync_name)
		sync_path("/");
	crash();
}

static void a_replaced_file_is_old_or_new(void **state)
{
	unsigned old = 0, new = 0;

	(void)state;
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		begin(seed);
		replace(true, false);
		old += is("f", 1, BYTES);
		new += is("f", 2, BYTES);
		end();
	}
	check(old > 0 && new > 0);
	check_int(old + new, SEEDS);
}

static void a_replaced_file_is_new_if_the_directory_was_synced(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		begin(seed);
		replace(true, true);
		check(is("f", 2, BYTES) && !there("f.new"));
		end();
	}
}

static void replacing_without_syncing_the_bytes_is_found_out(void **state)
{
	unsigned broken = 0;

	(void)state;
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		begin(seed);
		replace(false, true);
		broken += !is("f", 1, BYTES) && !is("f", 2, BYTES);
		end();
	}
	check(broken > SEEDS / 4);
}

static void a_file_moved_between_directories_is_in_one_of_them(void **state)
{
	unsigned moved = 0;

	(void)state;
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		begin(seed);
		check_int(whi_simfs_mkdir(&fs, "a", 0700), 0);
		check_int(whi_simfs_mkdir(&fs, "b", 0700), 0);
		sync_path("/");
		make("a/f", 1, BYTES, true);
		sync_path("a");
		check_int(whi_simfs_rename(&fs, "a/f", "b/f", 0), 0);
		if (seed % 3 == 1)
			sync_path("a");
		if (seed % 3 == 2)
			sync_path("b");
		crash();
		check_int(there("a/f") + there("b/f"), 1);
		check(seed % 3 == 0 || there("b/f"));
		moved += seed % 3 == 0 && there("b/f");
		end();
	}
	check(moved > 0 && moved < SEEDS / 3);
}

static void exchanged_files_are_both_exchanged_or_neither(void **state)
{
	unsigned exchanged = 0;

	(void)state;
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		begin(seed);
		make("f", 1, 10, true);
		make("g", 2, 20, true);
		sync_path("/");
		check_int(whi_simfs_rename(&fs, "f", "g", RENAME_EXCHANGE), 0);
		crash();
		check((is("f", 1, 10) && is("g", 2, 20)) || (is("f", 2, 20) && is("g", 1, 10)));
		exchanged += is("g", 1, 10);
		end();
	}
	check(exchanged > 0 && exchanged < SEEDS);
}

/* A directory that was removed has been emptied before, by changes of other directories. */
static void removing_a_directory_keeps_what_was_moved_out_of_it(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		begin(seed);
		check_int(whi_simfs_mkdir(&fs, "a", 0700), 0);
		check_int(whi_simfs_mkdir(&fs, "a/b", 0700), 0);
		check_int(whi_simfs_mkdir(&fs, "c", 0700), 0);
		make("a/b/f", 1, 10, true);
		sync_path("a/b");
		sync_path("a");
		sync_path("/");
		check_int(whi_simfs_rename(&fs, "a/b/f", "c/f", 0), 0);
		check_int(whi_simfs_unlink(&fs, "a/b", AT_REMOVEDIR), 0);
		if (seed & 1)
			sync_path("a");
		crash();
		check_int(there("a/b/f") + there("c/f"), 1);
		check(!(seed & 1) || !there("a/b"));
		end();
	}
}

/* Random moves of directories into one another: the tree stays one, nothing is lost in a circle,
 * and every directory is in one place. */
static unsigned count_tree(const struct whi_simfs_inode *dir)
{
	unsigned count = 0;

	for (size_t i = 0; i < dir->now_names.count; i++)
		count += 1 + count_tree(dir->now_names.at[i].inode);
	return count;
}

static struct whi_simfs_inode *random_dir(char *path)
{
	struct whi_simfs_inode *dir = fs.root;

	path[0] = '\0';
	while (dir->now_names.count > 0 && (path[0] == '\0' || whi_rng_below(&rng, 3))) {
		const struct whi_simfs_entry *entry =
			&dir->now_names.at[whi_rng_below(&rng, dir->now_names.count)];

		sprintf(path + strlen(path), "/%s", entry->name);
		dir = entry->inode;
	}
	return dir;
}

static void directories_moved_at_random_are_all_there_after_a_crash(void **state)
{
	enum { DIRS = 8 };
	char path[DIRS + 1][8 * DIRS], to[16 * DIRS];

	(void)state;
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		begin(seed);
		for (int i = 0; i < DIRS; i++) {
			sprintf(path[i], "/%d", i);
			check_int(whi_simfs_mkdir(&fs, path[i], 0700), 0);
		}
		sync_path("/");
		for (int step = 0; step < 60; step++) {
			const char *name;

			random_dir(path[0]);
			random_dir(path[1]);
			name = strrchr(path[0], '/');
			snprintf(to, sizeof(to), "%s%s", whi_rng_below(&rng, 4) ? path[1] : "",
				 name);
			whi_simfs_rename(&fs, path[0], to,
					 whi_rng_below(&rng, 2) ? RENAME_NOREPLACE
								: RENAME_EXCHANGE);
			random_dir(path[0]);
			if (whi_rng_below(&rng, 10) == 0)
				sync_path(path[0]);
			check_int(count_tree(fs.root), DIRS);
		}
		crash();
		check_int(count_tree(fs.root), DIRS);
		end();
	}
}

/* Failures */

static void a_sync_that_failed_may_have_lost_what_the_next_one_does_not_write(void **state)
{
	unsigned lost = 0, kept = 0, dropped = 0;

	(void)state;
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		struct whi_simfs_file file;

		begin(seed);
		make("f", 1, BYTES, true);
		sync_path("/");
		file = opened("f", O_RDWR);
		fill(&file, 2, 100, 0);
		check_int(whi_simfs_sync_fail(&file, &rng), -EIO);
		check_int(whi_simfs_sync(&file), 0);
		whi_simfs_close(&file);
		dropped += is("f", 1, BYTES);
		crash();
		lost += is("f", 1, BYTES);
		kept += !is("f", 1, BYTES);
		end();
	}
	check(lost > SEEDS / 10 && kept > SEEDS / 10 && dropped > SEEDS / 20 && dropped < lost);
}

static void each_open_file_is_told_of_a_failed_sync_once(void **state)
{
	struct whi_simfs_file file, other, later;

	(void)state;
	begin(0);
	file = opened("f", O_RDWR | O_CREAT);
	other = opened("f", O_RDWR);
	fill(&file, 1, 100, 0);
	check_int(whi_simfs_sync_fail(&file, &rng), -EIO);
	later = opened("f", O_RDWR);
	check_int(whi_simfs_sync(&file), 0);
	check_int(whi_simfs_sync(&other), -EIO);
	check_int(whi_simfs_sync(&other), 0);
	check_int(whi_simfs_sync(&later), 0);
	whi_simfs_close(&file);
	whi_simfs_close(&other);
	whi_simfs_close(&later);
	end();
}

/* Much at once */

static void changes_without_a_sync_do_not_pile_up(void **state)
{
	(void)state;
	begin(1);
	for (int i = 0; i < 20 * WHI_SIMFS_CHANGES_MAX; i++) {
		make("f", 1, 1, false);
		check_int(whi_simfs_unlink(&fs, "f", 0), 0);
		check(fs.changes_count <= WHI_SIMFS_CHANGES_MAX);
	}
	end();
}

static void a_file_open_in_a_crash_can_be_closed(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		struct whi_simfs_file file, gone;

		begin(seed);
		file = opened("f", O_RDWR | O_CREAT);
		fill(&file, 1, BYTES, 0);
		gone = opened("g", O_RDWR | O_CREAT);
		fill(&gone, 1, BYTES, 0);
		check_int(whi_simfs_unlink(&fs, "g", 0), 0);
		crash();
		whi_simfs_close(&file);
		whi_simfs_close(&gone);
		end();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(synced_bytes_of_a_synced_name_survive),
		cmocka_unit_test(unsynced_bytes_are_lost_kept_or_torn),
		cmocka_unit_test(pages_are_whole_if_they_may_not_be_torn),
		cmocka_unit_test(each_sector_is_of_the_last_sync_or_later),
		cmocka_unit_test(an_unsynced_cut_leaves_all_of_the_old_or_none),
		cmocka_unit_test(an_unsynced_name_is_there_or_not),
		cmocka_unit_test(a_synced_name_does_not_bring_its_bytes),
		cmocka_unit_test(a_directory_does_not_bring_its_own_name),
		cmocka_unit_test(a_removed_name_is_gone_for_good_once_synced),
		cmocka_unit_test(changes_of_a_directory_survive_in_order),
		cmocka_unit_test(a_replaced_file_is_old_or_new),
		cmocka_unit_test(a_replaced_file_is_new_if_the_directory_was_synced),
		cmocka_unit_test(replacing_without_syncing_the_bytes_is_found_out),
		cmocka_unit_test(a_file_moved_between_directories_is_in_one_of_them),
		cmocka_unit_test(exchanged_files_are_both_exchanged_or_neither),
		cmocka_unit_test(removing_a_directory_keeps_what_was_moved_out_of_it),
		cmocka_unit_test(directories_moved_at_random_are_all_there_after_a_crash),
		cmocka_unit_test(a_sync_that_failed_may_have_lost_what_the_next_one_does_not_write),
		cmocka_unit_test(each_open_file_is_told_of_a_failed_sync_once),
		cmocka_unit_test(changes_without_a_sync_do_not_pile_up),
		cmocka_unit_test(a_file_open_in_a_crash_can_be_closed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
