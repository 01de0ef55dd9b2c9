/*
 * Where records begin and end, of any bytes, in pieces of any size read any number of bytes at a
 * time: the records of all pieces together are those that a look at all bytes finds. A job's own
 * functions that answer nonsense get no byte that is not there, and the end comes.
 */
#include <stdlib.h>
#include <string.h>

#include "fuzz/bytes.h"
#include "mapreduce/source.h"
#include "mapreduce/store.h"
#include "support/task_test.h"

enum { FILE_MAX = 4096, PIECES_MAX = 8, ROOM = 16 };

struct record {
	uint64_t offset;
	size_t len;
};

struct list {
	size_t count;
	struct record records[FILE_MAX + 1];
};

static struct list found;
static struct bytes nonsense; /* what functions answer that are not to be trusted */
static const uint8_t *file;
static size_t file_len;

static int map(void *arg, struct wh_mr_bytes record, struct wh_mr_emitter *emitter)
{
	struct wh_mr_origin origin;

	(void)arg;
	wh_mr_origin(emitter, &origin);
	check(origin.offset + record.len <= file_len);
	check(found.count <= FILE_MAX);
	found.records[found.count++] = (struct record){ origin.offset, record.len };
	return 0;
}

/* A record begins with >> anywhere, but where another > is before it. */
static bool begins(const uint8_t *data, size_t at)
{
	return data[at] == '>' && data[at + 1] == '>' && data[at - 1] != '>';
}

static size_t find(void *arg, struct wh_mr_bytes data, size_t from)
{
	(void)arg;
	check(from >= 1 && from <= data.len);
	if (nonsense.left)
		return bytes_next(&nonsense);
	for (size_t at = from; at + 1 < data.len; at++)
		if (begins(data.data, at))
			return at;
	return 0;
}

static size_t record(void *arg, struct wh_mr_bytes data, bool last)
{
	(void)last;
	check(data.len > 0);
	if (nonsense.left)
		return bytes_next(&nonsense);
	return find(arg, data, 1);
}

static void put(struct list *list, size_t offset, size_t len)
{
	list->records[list->count++] = (struct record){ offset, len };
}

static void expect_words(struct list *list)
{
	for (size_t at = 0, start; at < file_len; at++) {
		for (start = at; at < file_len && file[at] > ' ';)
			at++;
		if (at > start)
			put(list, start, at - start);
	}
}

static void expect_lines(struct list *list)
{
	for (size_t at = 0, start; at < file_len; at++) {
		for (start = at; at < file_len && file[at] != '\n';)
			at++;
		put(list, start, at - start);
	}
}

static void expect_fixed(struct list *list, size_t len)
{
	for (size_t at = 0; at < file_len; at += len)
		put(list, at, file_len - at < len ? file_len - at : len);
}

static void expect_custom(struct list *list)
{
	size_t start = 0;

	for (size_t at = 1; at + 1 < file_len; at++) {
		if (!begins(file, at))
			continue;
		put(list, start, at - start);
		start = at;
	}
	if (file_len > start)
		put(list, start, file_len - start);
}

/* Map the records that begin in a piece, as a worker would that reads `step` bytes at a time. */
static void map_piece(struct whi_mapper *mapper, uint64_t begin, uint64_t end, size_t step)
{
	struct whi_buffer buf = { 0 };
	struct whi_source source;

	whi_source_init(&source, NULL, begin, end);
	check_int(whi_buffer_reserve(&buf, ROOM), 0);
	while (!source.done) {
		size_t want = whi_source_want(&source, &buf);
		size_t at = (size_t)source.pos + buf.len, left = file_len > at ? file_len - at : 0;

		want = want < step ? want : step;
		want = want < left ? want : left;
		if (want)
			memcpy(buf.data + buf.len, file + at, want);
		buf.len += want;
		check_int(whi_source_map(&source, mapper, &buf, want == 0), 0);
	}
	whi_buffer_fini(&buf);
}

static void check_found(const struct wh_mr_job *job)
{
	static struct list expected;

	expected.count = 0;
	if (job->records == WH_MR_WORDS)
		expect_words(&expected);
	else if (job->records == WH_MR_LINES)
		expect_lines(&expected);
	else if (job->records == WH_MR_FIXED)
		expect_fixed(&expected, job->record_bytes);
	else
		expect_custom(&expected);
	check_int(found.count, expected.count);
	for (size_t i = 0; i < found.count; i++) {
		check_int(found.records[i].offset, expected.records[i].offset);
		check_int(found.records[i].len, expected.records[i].len);
	}
}

static void map_pieces(struct whi_mapper *mapper, const struct wh_mr_job *job, struct bytes *input)
{
	size_t ends[PIECES_MAX], step = 1 + bytes_next(input), begin = 0;
	unsigned pieces = 1 + bytes_below(input, PIECES_MAX);
	size_t unit = job->records == WH_MR_FIXED ? job->record_bytes : 1;

	for (unsigned i = 0; i < pieces; i++)
		ends[i] = (size_t)bytes_next(input) * unit;
	file = input->at;
	file_len = input->left < FILE_MAX ? input->left : FILE_MAX;
	for (unsigned i = 0; i < pieces; i++) {
		if (ends[i] <= begin || ends[i] >= file_len)
			continue;
		map_piece(mapper, begin, ends[i], step);
		begin = ends[i];
	}
	if (begin < file_len)
		map_piece(mapper, begin, file_len, step);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const enum wh_mr_records kinds[] = { WH_MR_WORDS, WH_MR_LINES, WH_MR_FIXED,
						    WH_MR_CUSTOM };
	static _Atomic bool stop;
	struct bytes input = { data, size };
	struct wh_mr_job job = { .map = map, .value = WH_MR_COUNT };
	struct whi_mapper_job shared = { .job = &job, .stop = &stop, .l2_bytes = 1 };
	struct whi_mapper *mapper;
	bool trusted;

	job.records = kinds[bytes_below(&input, 4)];
	job.record_bytes = job.records == WH_MR_FIXED ? 1 + bytes_next(&input) : 0;
	job.short_records = true;
	job.record = record;
	job.find = job.records == WH_MR_CUSTOM ? find : NULL;
	trusted = bytes_below(&input, 4) > 0;
	nonsense = trusted ? (struct bytes){ 0 } : input;
	check_int(whi_words_choose(NULL, &shared.kernel), 0);
	whi_words_rule_init(&shared.rule, NULL);
	shared.store = whi_store_new();
	mapper = whi_mapper_new(&shared);
	check(mapper);
	found.count = 0;
	map_pieces(mapper, &job, &input);
	if (trusted)
		check_found(&job);
	whi_mapper_free(mapper);
	whi_store_free(shared.store);
	return 0;
}
