/* Owns the directory of a run: how its files are called, and the markers that say what is done.
 *
 * 1. A file has its final name only once it is whole: it is written under another one first.
 * 2. A marker is written after all that it speaks of.
 * 3. Files of tasks are not forced to the disk: after a power failure what is lost shows, by the
 *    marker's sizes and the parts' checksums, and is made again. */
#include "mr.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

static const char bad_head[] = "bad|";

enum {
	BAD_BYTES_MAX = 2 * MR_PATH_BYTES,
	MARKER_VERSION = 2,
	HEAD_BYTES = 192, /* of a marker's first line */
	LINE_BYTES = 85,  /* of each of the following ones */
};

uint64_t mr_sum(const void *bytes, size_t len)
{
	const uint8_t *at = bytes;
	uint64_t sum = 0xcbf29ce484222325u;

	for (size_t i = 0; i < len; i++)
		sum = (sum ^ at[i]) * 0x100000001b3u;
	return sum;
}

int mr_write(int fd, const void *bytes, size_t len)
{
	const uint8_t *at = bytes;

	while (len > 0) {
		ssize_t n = write(fd, at, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

__attribute__((format(printf, 2, 3))) static void make_path(char path[MR_PATH_BYTES],
							    const char *format, ...)
{
	va_list args;
	int len;

	va_start(args, format);
	len = vsnprintf(path, MR_PATH_BYTES, format, args);
	va_end(args);
	if (len < 0 || len >= MR_PATH_BYTES) {
		cli_error("mr: the path of the directory is too long");
		exit(EXIT_FAILED);
	}
}

static const char *folder_of(enum mr_phase phase)
{
	return phase == MR_MAP ? "map" : "reduce";
}

void mr_path_plan(char path[MR_PATH_BYTES], const char *dir)
{
	make_path(path, "%s/plan", dir);
}

void mr_path_task(char path[MR_PATH_BYTES], const struct mr_place *place)
{
	make_path(path, "%s/%s/%06" PRIu32, place->dir, folder_of(place->phase), place->task);
}

void mr_path_part(char path[MR_PATH_BYTES], const char *dir, uint32_t task,
		  const struct mr_done *done, uint32_t part)
{
	make_path(path, "%s/map/%06" PRIu32 "/%s-p%04" PRIu32, dir, task, done->attempt, part);
}

void mr_path_result(char path[MR_PATH_BYTES], const char *dir, uint32_t part,
		    const struct mr_done *done)
{
	make_path(path, "%s/reduce/%06" PRIu32 "/%s", dir, part, done->attempt);
}

static int make_dir(const char *path)
{
	return mkdir(path, 0777) < 0 && errno != EEXIST ? -errno : 0;
}

int mr_begin(const struct mr_place *place, uint32_t attempt, struct mr_done *ret)
{
	char path[MR_PATH_BYTES];
	uint64_t token;
	int r;

	if (getrandom(&token, sizeof(token), 0) != (ssize_t)sizeof(token))
		return -EIO;
	*ret = (struct mr_done){ 0 };
	snprintf(ret->attempt, sizeof(ret->attempt), "a%" PRIu32 "-%016" PRIx64, attempt, token);
	make_path(path, "%s/%s", place->dir, folder_of(place->phase));
	r = make_dir(path);
	if (r < 0)
		return r;
	mr_path_task(path, place);
	return make_dir(path);
}

/* The line's sum covers what plan and task it is of. */
static uint64_t line_sum(const char *line, const struct mr_place *place)
{
	return mr_sum(line, strlen(line)) ^ mr_sum(place->plan->id, strlen(place->plan->id)) ^
	       place->task;
}

/* Put the sum behind the line, and blanks, so that it is `len` bytes with its newline. */
static void seal_line(char *line, size_t len, uint64_t sum)
{
	size_t used = strlen(line);

	used += (size_t)snprintf(line + used, len - used, "|%016" PRIx64, sum);
	memset(line + used, ' ', len - used);
	line[len - 1] = '\n';
}

/* Take the sum off. False if it is another one. */
static bool open_line(char *line, size_t len, const struct mr_place *place)
{
	char *bar;
	uint64_t sum;

	line[len - 1] = 0;
	bar = strrchr(line, '|');
	if (!bar || sscanf(bar + 1, "%16" SCNx64, &sum) != 1)
		return false;
	*bar = 0;
	return line_sum(line, place) == sum;
}

/* Of any bytes, and the last that there is. */
static int write_bad(int fd, const struct mr_place *place, const char *bad)
{
	char head[sizeof(bad_head) + 18];
	int r;

	snprintf(head, sizeof(head), "%s%016" PRIx64 "|", bad_head, line_sum(bad, place));
	r = mr_write(fd, head, strlen(head));
	return r < 0 ? r : mr_write(fd, bad, strlen(bad));
}

static int write_marker(int fd, const struct mr_place *place, const struct mr_done *done,
			const struct wh_part_sums *sums, const char *bad)
{
	char line[HEAD_BYTES];
	int r;

	snprintf(line, sizeof(line),
		 "whorl-done|%d|%s|%s|%" PRIu32 "|%" PRIu64 "|%" PRIu64 "|%" PRIu64 "|%" PRIu32,
		 MARKER_VERSION, place->plan->id, done->attempt, done->parts, done->records,
		 done->keys, done->skipped, done->version);
	seal_line(line, HEAD_BYTES, line_sum(line, place));
	r = mr_write(fd, line, HEAD_BYTES);
	for (uint32_t i = 0; i < done->parts && r == 0; i++) {
		snprintf(line, sizeof(line),
			 "%04" PRIu32 "|%020" PRIu64 "|%020" PRIu64 "|%020" PRIu64, i,
			 sums[i].bytes, sums[i].records, sums[i].count);
		seal_line(line, LINE_BYTES, line_sum(line, place));
		r = mr_write(fd, line, LINE_BYTES);
	}
	return r == 0 && bad ? write_bad(fd, place, bad) : r;
}

int mr_mark_done(const struct mr_place *place, const struct mr_done *done,
		 const struct wh_part_sums *sums, const char *bad)
{
	char folder[MR_PATH_BYTES], temporary[MR_PATH_BYTES], marker[MR_PATH_BYTES];
	int fd, r;

	mr_path_task(folder, place);
	make_path(marker, "%s/done", folder);
	make_path(temporary, "%s/%s-done.tmp", folder, done->attempt);
	fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (fd < 0)
		return -errno;
	r = write_marker(fd, place, done, sums, bad);
	if (close(fd) < 0 && r == 0)
		r = -errno;
	if (r == 0 && rename(temporary, marker) < 0)
		r = -errno;
	if (r < 0)
		unlink(temporary);
	return r;
}

static bool parse_head(char *line, const struct mr_plan *plan, struct mr_done *ret)
{
	unsigned version;
	char id[MR_ID_BYTES];

	return sscanf(line,
		      "whorl-done|%u|%16[0-9a-f]|%31[0-9a-f-]|%" SCNu32 "|%" SCNu64 "|%" SCNu64
		      "|%" SCNu64 "|%" SCNu32,
		      &version, id, ret->attempt, &ret->parts, &ret->records, &ret->keys,
		      &ret->skipped, &ret->version) == 8 &&
	       version == MARKER_VERSION && strcmp(id, plan->id) == 0;
}

/* The task's marker, or -1. */
static int open_marker(const struct mr_place *place)
{
	char path[MR_PATH_BYTES], folder[MR_PATH_BYTES];

	mr_path_task(folder, place);
	make_path(path, "%s/done", folder);
	return open(path, O_RDONLY | O_CLOEXEC);
}

char *mr_read_bad(const struct mr_place *place)
{
	off_t at = HEAD_BYTES + (off_t)place->plan->parts * LINE_BYTES;
	const size_t head = strlen(bad_head) + 17;
	int fd = open_marker(place);
	uint64_t sum;
	char *text;
	ssize_t n;

	if (fd < 0)
		return NULL;
	text = calloc(1, BAD_BYTES_MAX + 1);
	n = text ? pread(fd, text, BAD_BYTES_MAX, at) : -1;
	close(fd);
	if (text && n > (ssize_t)head && strncmp(text, bad_head, strlen(bad_head)) == 0 &&
	    sscanf(text + strlen(bad_head), "%16" SCNx64, &sum) == 1 &&
	    line_sum(text + head, place) == sum) {
		memmove(text, text + head, (size_t)n - head + 1);
		return text;
	}
	free(text);
	return NULL;
}

bool mr_read_done(const struct mr_place *place, uint32_t part, struct mr_marker *ret)
{
	char head[HEAD_BYTES], line[LINE_BYTES];
	off_t at = HEAD_BYTES + (off_t)part * LINE_BYTES;
	int fd = open_marker(place);
	uint32_t index = 0;
	bool good = false;

	if (fd < 0)
		return false;
	if (pread(fd, head, sizeof(head), 0) == (ssize_t)sizeof(head) &&
	    pread(fd, line, sizeof(line), at) == (ssize_t)sizeof(line))
		good = open_line(head, HEAD_BYTES, place) && open_line(line, LINE_BYTES, place) &&
		       parse_head(head, place->plan, &ret->done) &&
		       sscanf(line, "%" SCNu32 "|%" SCNu64 "|%" SCNu64 "|%" SCNu64, &index,
			      &ret->sums.bytes, &ret->sums.records, &ret->sums.count) == 4 &&
		       index == part;
	close(fd);
	return good;
}

void mr_remove_all(const char *dir)
{
	char *paths[] = { (char *)dir, NULL };
	FTS *walk = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR | FTS_NOSTAT, NULL);
	FTSENT *entry;

	while (walk && (entry = fts_read(walk)))
		if (entry->fts_info == FTS_DP)
			rmdir(entry->fts_accpath);
		else if (entry->fts_info != FTS_D)
			unlink(entry->fts_accpath);
	if (walk)
		fts_close(walk);
}
