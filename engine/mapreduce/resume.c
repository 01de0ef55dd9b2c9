/* Owns the folder of a job that may be gone on with: its lock, its manifest,
 * and when batches are written.
 *
 * 1. A file with its name is complete; what ends in .new is of nobody.
 * 2. Nobody but the user can have written what is in the folder. */
#include "mapreduce/resume.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "mapreduce/hash.h"
#include "mapreduce/job.h"

enum {
	BATCHES = 32, /* a job, so that little is lost */
	BATCH_SPLITS_MIN = 4,
	MANIFEST_BYTES_MAX = 1 << 30,
};

int whi_resume_failed(struct whi_mr *mr, int error, const char *what, const char *name)
{
	return whi_why(&mr->why, error, "cannot %s %s/%s: %s", what, mr->job->resume_dir, name,
		       strerrordesc_np(-error));
}

int whi_write_all(int fd, const void *data, size_t len)
{
	const uint8_t *bytes = data;

	while (len > 0) {
		ssize_t n = write(fd, bytes, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		bytes += n;
		len -= (size_t)n;
	}
	return 0;
}

int whi_resume_commit(int dir_fd, int fd, const char *name)
{
	char new_name[WHI_BATCH_NAME_BYTES];

	snprintf(new_name, sizeof(new_name), "%s.new", name);
	if (fsync(fd) < 0 || renameat(dir_fd, new_name, dir_fd, name) < 0 || fsync(dir_fd) < 0)
		return -errno;
	return 0;
}

int whi_resume_create(int dir_fd, const char *name)
{
	char new_name[WHI_BATCH_NAME_BYTES];
	int fd;

	snprintf(new_name, sizeof(new_name), "%s.new", name);
	fd = openat(dir_fd, new_name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	return fd < 0 ? -errno : fd;
}

void whi_resume_drop(int dir_fd, const char *name)
{
	char new_name[WHI_BATCH_NAME_BYTES];

	snprintf(new_name, sizeof(new_name), "%s.new", name);
	unlinkat(dir_fd, new_name, 0);
}

static int write_manifest(struct whi_mr *mr, const char *manifest, size_t len)
{
	int fd = whi_resume_create(mr->resume.dir_fd, "manifest");
	int r;

	if (fd < 0)
		return whi_resume_failed(mr, fd, "make", "manifest");
	r = whi_write_all(fd, manifest, len);
	if (r == 0)
		r = whi_resume_commit(mr->resume.dir_fd, fd, "manifest");
	close(fd);
	if (r == 0)
		return 0;
	whi_resume_drop(mr->resume.dir_fd, "manifest");
	return whi_resume_failed(mr, r, "write", "manifest");
}

/* Returns 0, also if there is none. */
static int read_manifest(struct whi_mr *mr)
{
	struct whi_resume *resume = &mr->resume;
	int fd = openat(resume->dir_fd, "manifest", O_RDONLY | O_CLOEXEC);
	struct stat st;
	int r = 0;

	if (fd < 0)
		return errno == ENOENT ? 0 : whi_resume_failed(mr, -errno, "read", "manifest");
	if (fstat(fd, &st) < 0)
		r = whi_resume_failed(mr, -errno, "read", "manifest");
	else if (st.st_size <= 0 || st.st_size > MANIFEST_BYTES_MAX)
		r = whi_resume_failed(mr, -EINVAL, "use", "manifest");
	resume->is_secret = r == 0 && !(st.st_mode & (S_IRWXG | S_IRWXO));
	if (r == 0) {
		resume->manifest_len = (size_t)st.st_size;
		/* One more, so that strings end. */
		resume->manifest = whi_calloc(1, resume->manifest_len + 1);
		r = resume->manifest ? 0 : -ENOMEM;
	}
	if (r == 0 &&
	    pread(fd, resume->manifest, resume->manifest_len, 0) != (ssize_t)resume->manifest_len)
		r = whi_resume_failed(mr, -EIO, "read", "manifest");
	close(fd);
	return r;
}

/* What is in it is trusted, the seed above all. */
static int check_owner(struct whi_mr *mr)
{
	const char *dir = mr->job->resume_dir;
	struct stat st;

	if (fstat(mr->resume.dir_fd, &st) < 0)
		return whi_why(&mr->why, -errno, "cannot look at the folder %s: %s", dir,
			       strerrordesc_np(errno));
	if (st.st_uid != geteuid())
		return whi_why(&mr->why, -EPERM,
			       "the folder %s is another user's: name another folder", dir);
	if (st.st_mode & (S_IWGRP | S_IWOTH))
		return whi_why(&mr->why, -EPERM,
			       "other users may write to the folder %s: take that from them (chmod "
			       "go-w), or name another folder",
			       dir);
	return 0;
}

static int open_folder(struct whi_mr *mr)
{
	struct whi_resume *resume = &mr->resume;
	const char *dir = mr->job->resume_dir;
	int r;

	if (mkdir(dir, 0700) < 0 && errno != EEXIST)
		return whi_why(&mr->why, -errno, "cannot make the folder %s: %s", dir,
			       strerrordesc_np(errno));
	resume->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (resume->dir_fd < 0)
		return whi_why(&mr->why, -errno, "cannot open the folder %s: %s", dir,
			       strerrordesc_np(errno));
	r = check_owner(mr);
	if (r < 0)
		return r;
	resume->lock_fd = openat(resume->dir_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (resume->lock_fd < 0)
		return whi_resume_failed(mr, -errno, "make", "lock");
	if (flock(resume->lock_fd, LOCK_EX | LOCK_NB) < 0)
		return whi_why(&mr->why, -EBUSY, "another job is using the folder %s", dir);
	return 0;
}

static int by_path(const void *a, const void *b)
{
	const struct whi_file *left = a, *right = b;

	return strcmp(left->path, right->path);
}

static int check_fits(struct whi_mr *mr)
{
	const struct wh_mr_job *job = mr->job;

	if (job->generate || job->records == WH_MR_FILES)
		return whi_why(&mr->why, -EINVAL,
			       "resume_dir is for jobs over files of records: not for generated "
			       "input, nor for files as records");
	if (mr->input.has_stream)
		return whi_why(&mr->why, -EINVAL,
			       "resume_dir needs files that can be read again, not pipes");
	return 0;
}

int whi_resume_open(struct whi_mr *mr, uint64_t *ret_split_bytes, unsigned *ret_workers)
{
	int r = check_fits(mr);

	/* Directories are walked by several workers, in whatever order. */
	if (r == 0 && mr->input.file_count > 0)
		qsort(mr->input.files, mr->input.file_count, sizeof(*mr->input.files), by_path);
	if (r == 0)
		r = open_folder(mr);
	if (r == 0)
		r = read_manifest(mr);
	mr->resume.seed = whi_hash_seed();
	if (r < 0 || !mr->resume.manifest)
		return r;
	r = whi_manifest_cut(mr, ret_split_bytes, ret_workers);
	/* Without it, what is there is dealt anew. */
	if (r == 0 && mr->resume.is_secret)
		whi_hash_go_on(mr->resume.seed);
	return r;
}

static void batch_free(struct whi_batch *batch)
{
	whi_spill_file_fini(&batch->file);
	whi_free(batch->path);
	whi_free(batch);
}

void whi_resume_fini(struct whi_resume *resume)
{
	for (size_t i = 0; i < resume->count; i++)
		batch_free(resume->batches[i]);
	whi_free(resume->batches);
	whi_free(resume->manifest);
	if (resume->dir_fd >= 0)
		close(resume->dir_fd);
	if (resume->lock_fd >= 0)
		close(resume->lock_fd);
}

/* On a worker. */
static int begin(void *arg)
{
	struct whi_mr *mr = arg;
	struct whi_resume *resume = &mr->resume;
	char *manifest;
	size_t len;
	int r = whi_manifest_make(mr, mr->split_bytes, mr->split_workers, &manifest, &len);

	if (r < 0)
		return r;
	if (resume->manifest)
		r = whi_manifest_check(mr, manifest, len);
	else
		r = write_manifest(mr, manifest, len);
	whi_free(manifest);
	return r < 0 ? r : whi_batches_load(mr);
}

static uint64_t split_size(const struct whi_mr *mr, const struct whi_split *split)
{
	uint64_t bytes = 0;

	if (split->end != UINT64_MAX)
		return split->end - split->begin;
	for (size_t i = 0; i < split->file_count; i++)
		bytes += mr->input.files[split->file + i].size;
	return bytes;
}

/* Enough for a batch. */
static size_t choose_end(const struct whi_mr *mr)
{
	uint64_t bytes = 0, wanted = mr->input.bytes / BATCHES;
	size_t end = mr->next_split;

	if (wanted < mr->split_bytes * BATCH_SPLITS_MIN)
		wanted = mr->split_bytes * BATCH_SPLITS_MIN;
	while (end < mr->input.split_count && bytes < wanted)
		bytes += split_size(mr, &mr->input.splits[end++]);
	return end;
}

int whi_resume_map(struct whi_mr *mr, int (*map)(void *arg), void *arg)
{
	int r = whi_mr_offload(mr, begin, mr);

	atomic_fetch_add(&mr->bytes_done, mr->resume.bytes_done);
	while (r == 0 && mr->next_split < mr->input.split_count) {
		mr->batch_split = mr->next_split;
		mr->end_split = choose_end(mr);
		/* What could not be read is to be tried again by the next job. */
		if (mr->stats.files_failed > 0)
			mr->end_split = mr->input.split_count;
		r = map(arg);
		if (r == 0 && mr->stats.files_failed == 0)
			r = whi_mr_offload(mr, whi_batch_write, mr);
	}
	return r;
}

static bool is_batch(const char *name)
{
	return strncmp(name, "batch-", 6) == 0;
}

int wh_mr_resume_remove(const char *dir)
{
	static const char *const names[] = { "manifest.new", "manifest", "lock" };
	DIR *folder = opendir(dir);
	const struct dirent *entry;
	int r = 0;

	if (!folder)
		return errno == ENOENT ? 0 : -errno;
	while ((entry = readdir(folder)) != NULL)
		if (is_batch(entry->d_name) && unlinkat(dirfd(folder), entry->d_name, 0) < 0)
			r = -errno;
	/* Last: without it, batches would be of nobody. */
	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]) && r == 0; i++)
		if (unlinkat(dirfd(folder), names[i], 0) < 0 && errno != ENOENT)
			r = -errno;
	closedir(folder);
	if (r == 0 && rmdir(dir) < 0 && errno != ENOTEMPTY && errno != EEXIST)
		r = -errno;
	return r;
}
