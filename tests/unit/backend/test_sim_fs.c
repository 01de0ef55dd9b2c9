/*
 * The file system of the simulated kernel, without a world around it. That it does what Linux does
 * is shown by doing the same random calls here and in a folder of a real file system, and comparing
 * every result, and everything that is there in the end. What a crash leaves is shown over many
 * seeds: what was synced always, the rest sometimes.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "backend/sim_fs.h"
#include "support/task_test.h"

enum { SEEDS = 150, CALLS = 400, FILES = 6, LEN_MAX = 10000, OFFSET_MAX = 20000, PATH = 1024 };

static uint64_t first_seed;

/* Of each kind of call, how many did what they were asked for. */
enum kind { OPEN, READ, WRITE, ALLOCATE, SEEK, MKDIR, UNLINK, RMDIR, BIND, RENAME, STAT, KINDS };

static unsigned succeeded[KINDS];

static void compare_results(enum kind kind, intmax_t mine, intmax_t theirs)
{
	check_int(mine, theirs);
	succeeded[kind] += theirs >= 0;
}

/* The same call here and there */

struct both {
	struct whi_simfs fs;
	char folder[64];
	struct {
		struct whi_simfs_file file;
		int fd; /* -1: not open */
	} open[FILES];
	struct whi_rng rng;
};

static int sys(ssize_t r)
{
	return r < 0 ? -errno : (int)r;
}

static uint64_t below(struct both *both, uint64_t bound)
{
	return whi_rng_below(&both->rng, bound);
}

/* Up to three names out of few, so that they often meet. Never above the folder. */
static void random_path(struct both *both, char path[PATH])
{
	static const char *const names[] = { "a", "b", "c", "d" };
	size_t at = 0;
	int level = 0;

	for (uint64_t depth = 1 + below(both, 3); depth > 0; depth--) {
		const char *name = names[below(both, 4)];

		if (below(both, 30) == 0)
			name = ".";
		else if (level > 0 && below(both, 20) == 0)
			name = "..";
		level += name[0] != '.' ? 1 : name[1] == '.' ? -1 : 0;
		at += (size_t)sprintf(path + at, "%s%s", at > 0 ? "/" : "", name);
	}
	if (below(both, 15) == 0)
		strcpy(path + at, "/");
	if (below(both, 300) == 0)
		sprintf(path, "%0*d", 250 + (int)below(both, 12), 0);
}

static const char *there(const struct both *both, const char *path, char real[2 * PATH])
{
	snprintf(real, 2 * PATH, "%s/%s", both->folder, path);
	return real;
}

static int random_flags(struct both *both)
{
	static const int modes[] = { O_RDONLY, O_WRONLY, O_RDWR, O_RDWR };
	int flags = modes[below(both, 4)];

	if (below(both, 2))
		flags |= O_CREAT;
	if (below(both, 4) == 0)
		flags |= O_EXCL;
	if (below(both, 4) == 0)
		flags |= O_TRUNC;
	if (below(both, 4) == 0)
		flags |= O_APPEND;
	if (below(both, 8) == 0)
		flags |= O_DIRECTORY;
	if (below(both, 16) == 0)
		flags |= O_TMPFILE;
	/* Undefined by POSIX: left to the file system. */
	if (!(flags & O_CREAT))
		flags &= ~O_EXCL;
	return flags;
}

static void do_open(struct both *both)
{
	char path[PATH], real[2 * PATH];
	int flags = random_flags(both), r, real_r;
	uint64_t i = below(both, FILES);

	random_path(both, path);
	if (both->open[i].fd >= 0) {
		close(both->open[i].fd);
		whi_simfs_close(&both->open[i].file);
	}
	both->open[i].fd = open(there(both, path, real), flags | O_CLOEXEC, 0640);
	real_r = both->open[i].fd < 0 ? -errno : 0;
	r = whi_simfs_open(&both->fs, path, flags, 0640, &both->open[i].file);
	compare_results(OPEN, r, real_r);
}

static void do_transfer(struct both *both, uint64_t i, bool is_write)
{
	static unsigned char data[LEN_MAX], real_data[LEN_MAX];
	size_t len = below(both, below(both, 4) ? 100 : LEN_MAX);
	uint64_t offset = below(both, 4) ? below(both, OFFSET_MAX) : UINT64_MAX;
	struct iovec iov[2] = { { data, len / 3 }, { data + len / 3, len - len / 3 } };
	struct iovec real_iov[2] = { { real_data, len / 3 },
				     { real_data + len / 3, len - len / 3 } };
	int fd = both->open[i].fd;
	ssize_t r;

	/* pwritev2 looks at the offset first, a ring at the file. */
	if (below(both, 50) == 0 && (both->open[i].file.flags & O_ACCMODE) == O_RDWR)
		offset = UINT64_MAX - 1 - below(both, 100);
	if (is_write) {
		memset(data, (int)below(both, 256), len);
		r = sys(pwritev2(fd, iov, 2, (off_t)offset, 0));
		compare_results(WRITE,
				whi_simfs_write(&both->open[i].file, iov, 2, offset, SIZE_MAX), r);
		return;
	}
	r = sys(preadv2(fd, real_iov, 2, (off_t)offset, 0));
	compare_results(READ, whi_simfs_read(&both->open[i].file, iov, 2, offset, SIZE_MAX), r);
	check(r <= 0 || memcmp(data, real_data, (size_t)r) == 0);
}

static void do_allocate(struct both *both, uint64_t i)
{
	static const int modes[] = { 0, FALLOC_FL_KEEP_SIZE,
				     FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE };
	int mode = modes[below(both, 3)];
	uint64_t offset = below(both, OFFSET_MAX), len = below(both, LEN_MAX);
	int r = sys(fallocate(both->open[i].fd, mode, (off_t)offset, (off_t)len));

	compare_results(ALLOCATE, whi_simfs_allocate(&both->open[i].file, mode, offset, len), r);
}

static void do_seek(struct both *both, uint64_t i)
{
	static const int whences[] = { SEEK_SET, SEEK_CUR, SEEK_END };
	int64_t offset = (int64_t)below(both, OFFSET_MAX) - OFFSET_MAX / 4;
	int whence = whences[below(both, 3)];
	int r = sys(lseek(both->open[i].fd, offset, whence));

	compare_results(SEEK, whi_simfs_seek(&both->open[i].file, offset, whence), r < 0 ? r : 0);
}

/* Offsets and ends of directories are each file system's own. */
static void do_with_file(struct both *both)
{
	uint64_t i = below(both, FILES);

	if (both->open[i].fd < 0)
		return;
	switch (below(both, 8)) {
	case 0:
		if (S_ISREG(both->open[i].file.inode->mode))
			do_seek(both, i);
		break;
	case 1:
		do_allocate(both, i);
		break;
	case 2:
		check_int(whi_simfs_sync(&both->open[i].file), 0);
		break;
	default:
		do_transfer(both, i, below(both, 2));
	}
}

static void do_path(struct both *both)
{
	char path[PATH], real[2 * PATH];
	uint64_t number;
	int r;

	random_path(both, path);
	there(both, path, real);
	switch (below(both, 4)) {
	case 0:
		r = sys(mkdir(real, 0750));
		compare_results(MKDIR, whi_simfs_mkdir(&both->fs, path, 0750), r);
		break;
	case 1:
		r = sys(unlink(real));
		compare_results(UNLINK, whi_simfs_unlink(&both->fs, path, 0), r);
		break;
	case 2:
		r = sys(rmdir(real));
		compare_results(RMDIR, whi_simfs_unlink(&both->fs, path, AT_REMOVEDIR), r);
		break;
	case 3:
		if (below(both, 4))
			break;
		r = sys(mknod(real, S_IFSOCK | 0755, 0));
		compare_results(BIND, whi_simfs_bind(&both->fs, path, &number),
				r == -EEXIST ? -EADDRINUSE : r);
		break;
	}
}

static void do_rename(struct both *both)
{
	static const unsigned flags_of[] = { 0,
					     0,
					     RENAME_NOREPLACE,
					     RENAME_EXCHANGE,
					     RENAME_EXCHANGE,
					     RENAME_EXCHANGE | RENAME_NOREPLACE };
	char from[PATH], to[PATH], real_from[2 * PATH], real_to[2 * PATH];
	unsigned flags = flags_of[below(both, 6)];
	int r;

	random_path(both, from);
	random_path(both, to);
	r = sys(renameat2(AT_FDCWD, there(both, from, real_from), AT_FDCWD,
			  there(both, to, real_to), flags));
	compare_results(RENAME, whi_simfs_rename(&both->fs, from, to, flags), r);
}

static void do_stat(struct both *both)
{
	char path[PATH], real[2 * PATH];
	struct whi_simfs_inode *inode;
	struct statx mine, linux_stat;
	int r;

	random_path(both, path);
	r = sys(statx(AT_FDCWD, there(both, path, real), 0, STATX_BASIC_STATS, &linux_stat));
	compare_results(STAT, whi_simfs_find(&both->fs, NULL, path, &inode), r);
	/* The folder's own mode is another. */
	if (r < 0 || inode == both->fs.root)
		return;
	whi_simfs_stat(inode, &mine);
	check_int(mine.stx_mode, linux_stat.stx_mode);
	if (S_ISREG(mine.stx_mode)) {
		check_int(mine.stx_size, linux_stat.stx_size);
		check_int(mine.stx_nlink, linux_stat.stx_nlink);
	}
}

/* Every name there is here, with the same bytes; `path` ends in a slash or is empty. */
static unsigned compare(struct both *both, const char *path)
{
	char real[2 * PATH], name[PATH + 2];
	DIR *dir = opendir(there(both, path, real));
	struct whi_simfs_inode *inode = both->fs.root;
	const struct dirent *entry;
	unsigned names = 0;

	check(dir);
	if (*path)
		check_int(whi_simfs_find(&both->fs, NULL, path, &inode), 0);
	while ((entry = readdir(dir))) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		names++;
		check((size_t)snprintf(name, sizeof(name), "%s%s", path, entry->d_name) <
		      sizeof(name) - 1);
		if (entry->d_type == DT_DIR) {
			strcat(name, "/");
			names += compare(both, name);
		} else if (entry->d_type == DT_REG) {
			static char mine[2 * (OFFSET_MAX + LEN_MAX)], theirs[sizeof(mine)];
			struct whi_simfs_file file;
			int fd = open(there(both, name, real), O_RDONLY | O_CLOEXEC);
			ssize_t r = read(fd, theirs, sizeof(theirs));

			check_int(whi_simfs_open(&both->fs, name, O_RDONLY, 0, &file), 0);
			check_int(whi_simfs_read(&file, &(struct iovec){ mine, sizeof(mine) }, 1, 0,
						 SIZE_MAX),
				  r);
			check(memcmp(mine, theirs, (size_t)r) == 0);
			whi_simfs_close(&file);
			close(fd);
		}
	}
	closedir(dir);
	if (!*path)
		return names;
	check_int(whi_simfs_find(&both->fs, NULL, path, &inode), 0);
	return names;
}

static void run_both(uint64_t seed)
{
	struct both both = { .rng.state = seed };
	unsigned names = 0;

	whi_simfs_init(&both.fs);
	make_folder(both.folder);
	for (int i = 0; i < FILES; i++)
		both.open[i].fd = -1;
	for (int i = 0; i < CALLS; i++) {
		switch (below(&both, 8)) {
		case 0:
		case 1:
			do_open(&both);
			break;
		case 2:
			do_path(&both);
			break;
		case 3:
			do_rename(&both);
			break;
		case 4:
			do_stat(&both);
			break;
		default:
			do_with_file(&both);
		}
	}
	names = compare(&both, "");
	for (struct whi_list *node = both.fs.inodes.next; node != &both.fs.inodes;
	     node = node->next) {
		const struct whi_simfs_inode *inode = whi_container_of(node, struct whi_simfs_inode,
								       link);

		names -= inode->linked && inode != both.fs.root;
	}
	check_int(names, 0);
	for (int i = 0; i < FILES; i++)
		if (both.open[i].fd >= 0) {
			close(both.open[i].fd);
			whi_simfs_close(&both.open[i].file);
		}
	whi_simfs_fini(&both.fs);
	check(whi_list_empty(&both.fs.inodes));
	remove_folder(both.folder);
}

static void random_calls_do_what_linux_does(void **state)
{
	mode_t mask = umask(0);

	(void)state;
	for (uint64_t seed = first_seed; seed < first_seed + SEEDS; seed++) {
		run_both(seed);
	}
	umask(mask);
	for (int kind = 0; kind < KINDS; kind++)
		assert_true(succeeded[kind] > SEEDS / 10);
}

/* Space */

static void a_full_disk_takes_what_fits_and_then_nothing(void **state)
{
	static char data[3 * WHI_SIMFS_PAGE];
	struct iovec iov = { data, sizeof(data) };
	struct whi_simfs_file file;
	struct whi_simfs fs;

	(void)state;
	whi_simfs_init(&fs);
	fs.space_max = 2;
	check_int(whi_simfs_open(&fs, "f", O_RDWR | O_CREAT, 0600, &file), 0);
	check_int(whi_simfs_write(&file, &iov, 1, 0, SIZE_MAX), 2 * WHI_SIMFS_PAGE);
	check_int(whi_simfs_write(&file, &iov, 1, 2 * WHI_SIMFS_PAGE, SIZE_MAX), -ENOSPC);
	check_int(whi_simfs_allocate(&file, 0, 0, 3 * WHI_SIMFS_PAGE), -ENOSPC);
	/* What has space can be written again. */
	check_int(whi_simfs_write(&file, &iov, 1, 100, WHI_SIMFS_PAGE), WHI_SIMFS_PAGE);
	check_int(whi_simfs_allocate(&file, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, 0,
				     WHI_SIMFS_PAGE),
		  0);
	check_int(whi_simfs_write(&file, &iov, 1, 2 * WHI_SIMFS_PAGE, 10), 10);
	whi_simfs_close(&file);
	whi_simfs_fini(&fs);
}

static void a_removed_file_gives_its_space_back_when_it_is_closed(void **state)
{
	char byte = 0;
	struct iovec iov = { &byte, 1 };
	struct whi_simfs_file file, other;
	struct whi_simfs fs;

	(void)state;
	whi_simfs_init(&fs);
	fs.space_max = 1;
	check_int(whi_simfs_open(&fs, "f", O_RDWR | O_CREAT, 0600, &file), 0);
	check_int(whi_simfs_open(&fs, "g", O_RDWR | O_CREAT, 0600, &other), 0);
	check_int(whi_simfs_write(&file, &iov, 1, 0, 1), 1);
	check_int(whi_simfs_unlink(&fs, "f", 0), 0);
	check_int(whi_simfs_write(&other, &iov, 1, 0, 1), -ENOSPC);
	whi_simfs_close(&file);
	check_int(whi_simfs_write(&other, &iov, 1, 0, 1), 1);
	whi_simfs_close(&other);
	whi_simfs_fini(&fs);
}

static void a_file_is_at_most_as_long_as_ext4_has_it(void **state)
{
	char bytes[2] = "";
	struct iovec iov = { bytes, 2 };
	struct whi_simfs_file file;
	struct whi_simfs fs;

	(void)state;
	whi_simfs_init(&fs);
	check_int(whi_simfs_open(&fs, "f", O_RDWR | O_CREAT, 0600, &file), 0);
	check_int(whi_simfs_write(&file, &iov, 1, (16ull << 40) - 1, 2), 1);
	check_int(whi_simfs_write(&file, &iov, 1, 16ull << 40, 2), -EFBIG);
	check_int(whi_simfs_allocate(&file, 0, 16ull << 40, 1), -EFBIG);
	whi_simfs_close(&file);
	whi_simfs_fini(&fs);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_calls_do_what_linux_does),
		cmocka_unit_test(a_full_disk_takes_what_fits_and_then_nothing),
		cmocka_unit_test(a_removed_file_gives_its_space_back_when_it_is_closed),
		cmocka_unit_test(a_file_is_at_most_as_long_as_ext4_has_it),
	};

	first_seed = seed_from(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
