/* Owns the manifest of a job that may be gone on with: one string a fact, so that the first one
 * that differs says what has changed. */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "mapreduce/job.h"

enum {
	VERSION = 3,
	FACTS = 6, /* strings before the files */
	ROOM_FIRST = 4096,
	SEED_DIGITS = 16,
	PATH_AT = 4, /* numbers before the path of a file */
};

struct text {
	char *bytes;
	size_t len;
	size_t room;
	int error;
};

__attribute__((format(printf, 2, 3))) static void put(struct text *text, const char *format, ...)
{
	va_list args;
	int len;

	va_start(args, format);
	len = vsnprintf(NULL, 0, format, args);
	va_end(args);
	if (len < 0 || text->error)
		return;
	if (text->room - text->len < (size_t)len + 1) {
		size_t room = text->room ? text->room * 2 : ROOM_FIRST;
		char *bytes;

		while (room - text->len < (size_t)len + 1)
			room *= 2;
		bytes = whi_realloc(text->bytes, room);
		if (!bytes) {
			text->error = -ENOMEM;
			return;
		}
		text->bytes = bytes;
		text->room = room;
	}
	va_start(args, format);
	vsnprintf(text->bytes + text->len, (size_t)len + 1, format, args);
	va_end(args);
	text->len += (size_t)len + 1;
}

static void put_words(struct text *text, const struct wh_mr_words *words)
{
	const struct wh_mr_words none = { 0 };

	if (!words)
		words = &none;
	put(text, "%" PRIx64 " %" PRIx64 " %" PRIx64 " %" PRIx64 " %u %u", words->bytes[0],
	    words->bytes[1], words->bytes[2], words->bytes[3], words->keep_case, words->unicode);
}

static void put_file(struct text *text, const struct whi_file *file)
{
	struct stat st = { 0 };
	uint64_t time = 0;

	if (file->path && stat(file->path, &st) == 0)
		time = (uint64_t)st.st_mtim.tv_sec * 1000000000u + (uint64_t)st.st_mtim.tv_nsec;
	put(text, "%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %s", file->size, time,
	    file->begin, file->end, file->path ? file->path : "-");
}

int whi_manifest_make(const struct whi_mr *mr, uint64_t split_bytes, unsigned workers, char **ret,
		      size_t *ret_len)
{
	const struct wh_mr_job *job = mr->job;
	struct text text = { 0 };

	put(&text, "whorl job %u", VERSION);
	put(&text, "%" PRIu64 " %u", split_bytes, workers);
	put(&text, "%0*" PRIx64, SEED_DIGITS, mr->resume.seed);
	put(&text, "%u %u %u %u %u %u %u", job->records, job->value, job->record_bytes,
	    job->no_decompress, job->ngram_key, job->ngram_version, job->skip_bad);
	put_words(&text, job->words);
	put(&text, "%s", job->resume_id ? job->resume_id : "");
	for (size_t i = 0; i < mr->input.file_count; i++)
		put_file(&text, &mr->input.files[i]);
	if (text.error) {
		whi_free(text.bytes);
		return text.error;
	}
	*ret = text.bytes;
	*ret_len = text.len;
	return 0;
}

/* String `number` of a manifest, NULL if it has not so many. */
static const char *fact(const char *manifest, size_t len, unsigned number)
{
	const char *at = manifest, *end = manifest + len;

	for (; at < end; at += strlen(at) + 1)
		if (number-- == 0)
			return at;
	return NULL;
}

/* The path in a string that is of a file. */
static const char *path_in(const char *file)
{
	for (unsigned i = 0; i < PATH_AT && file; i++) {
		file = strchr(file, ' ');
		file = file ? file + 1 : NULL;
	}
	return file ? file : "a file";
}

static int has_changed(struct whi_mr *mr, unsigned number, const char *then, const char *now)
{
	const char *dir = mr->job->resume_dir;

	if (number == 0)
		return whi_why(&mr->why, -ESTALE,
			       "%s was begun by another version of this program: remove it", dir);
	if (number < FACTS)
		return whi_why(&mr->why, -ESTALE,
			       "%s is of a job with other options: name another folder, or remove "
			       "it",
			       dir);
	if (!then || !now || strcmp(path_in(then), path_in(now)) != 0)
		return whi_why(&mr->why, -ESTALE,
			       "%s is of other files, %s and not %s: name another folder, or "
			       "remove it",
			       dir, then ? path_in(then) : "none", now ? path_in(now) : "none");
	return whi_why(&mr->why, -ESTALE,
		       "%s has changed since %s was begun: name another folder, or remove it",
		       path_in(now), dir);
}

static int is_none(struct whi_mr *mr)
{
	return whi_why(&mr->why, -ESTALE, "%s/manifest is not one of this program: remove it",
		       mr->job->resume_dir);
}

static bool is_seed(const char *text, uint64_t *ret)
{
	char *end;

	*ret = strtoull(text, &end, 16);
	return end == text + SEED_DIGITS && *end == 0;
}

int whi_manifest_cut(struct whi_mr *mr, uint64_t *ret_split_bytes, unsigned *ret_workers)
{
	struct whi_resume *resume = &mr->resume;
	const char *head = fact(resume->manifest, resume->manifest_len, 0);
	const char *cut = fact(resume->manifest, resume->manifest_len, 1);
	const char *seed = fact(resume->manifest, resume->manifest_len, 2);
	uint64_t split_bytes;
	unsigned version, workers;

	if (!head || sscanf(head, "whorl job %u", &version) != 1)
		return is_none(mr);
	if (version != VERSION)
		return has_changed(mr, 0, NULL, NULL);
	if (!cut || sscanf(cut, "%" SCNu64 " %u", &split_bytes, &workers) != 2 ||
	    split_bytes == 0 || split_bytes > UINT32_MAX || workers == 0 || !seed ||
	    !is_seed(seed, &resume->seed))
		return is_none(mr);
	*ret_split_bytes = split_bytes;
	*ret_workers = workers;
	return 0;
}

int whi_manifest_check(struct whi_mr *mr, const char *now, size_t len)
{
	const struct whi_resume *resume = &mr->resume;
	const char *a = resume->manifest, *b = now;
	const char *a_end = a + resume->manifest_len, *b_end = b + len;

	for (unsigned number = 0; a < a_end || b < b_end; number++) {
		if (a >= a_end || b >= b_end || strcmp(a, b) != 0)
			return has_changed(mr, number, a < a_end ? a : NULL, b < b_end ? b : NULL);
		a += strlen(a) + 1;
		b += strlen(b) + 1;
	}
	return 0;
}
