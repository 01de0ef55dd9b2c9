/*
 * Question: what does a job's own map cost, beside the word count that needs none? One worker maps
 * --megabytes of text; nanoseconds of CPU time a word.
 *
 * emit_builtin  no map: the kernel counts in the text
 * emit_whole_count, emit_whole_sum
 *               a map_batch of words emits them all at once, to be counted and to be added up
 * emit_cut_sum  a map_batch of words makes a key and a number of each, and emits them all at once
 * emit_batch_count, emit_batch_sum, emit_batch_max
 *               a map_batch of words emits them one by one, to be counted, to be added up, and for
 *               the greatest
 * emit_count, emit_sum, emit_max
 *               the same by a map, which is called once a word
 * emit_batch_nothing, emit_map_nothing
 *               a map_batch, a map of words does nothing
 * emit_words    a map of lines hands each line's words over at once
 * emit_nothing  a map of lines does nothing
 * emit_own_nothing, emit_own_count, emit_own_sum
 *               a map of lines looks for the words itself, byte by byte, and emits none, or them
 * emit_pairs, emit_batch_pairs
 *               a map, a map_batch of words emits them with 8 bytes as value, which are not
 *               combined
 *
 * What emitting takes is what emit_own_count takes beyond emit_own_nothing.
 *
 * With --way 1..19 it does only that one, once: for counting instructions. Text comes out of
 * memory, a copy a block: 5.6 bytes a word, 12,000 different ones, frequent ones short; or the
 * first megabyte of the file at --text. WHORL_ISA chooses the instruction set.
 *
 * Not measured: reading, several workers. Reducing and sorting are, but are little here.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <whorl/mapreduce.h>
#include <whorl/run.h>

#include "micro.h"

enum { VOCABULARY = 12000, WORD_MAX = 15, TEXT_BYTES = 1 << 20, LINE_WORDS = 14 };

static uint64_t megabytes = 64;
static uint64_t way = ~UINT64_C(0);
static uint64_t words; /* of the text */
static char text[TEXT_BYTES];
static char vocabulary[VOCABULARY][WORD_MAX];

/* Ranks such that rank r is about as frequent as 1 / (r + 1). */
static unsigned random_rank(void)
{
	unsigned range = 1u << micro_random() % 14;

	return (unsigned)(micro_random() % range) % VOCABULARY;
}

static void make_text(void)
{
	size_t len = 0;

	for (unsigned i = 0; i < VOCABULARY; i++) {
		size_t letters = 1 + (i > 20) + (i > 200) + micro_random() % (i < 200 ? 4 : 11);

		for (size_t at = 0; at < letters; at++)
			vocabulary[i][at] = "etaoinshrdlucmfw"[micro_random() % 16];
	}
	memset(text, '\n', sizeof(text));
	for (unsigned word = 1; len < sizeof(text) - WORD_MAX - 1; word++) {
		const char *at = vocabulary[random_rank()];
		size_t letters = strlen(at);

		/* NOLINTNEXTLINE(bugprone-not-null-terminated-result): a separator comes behind */
		memcpy(text + len, at, letters);
		len += letters;
		text[len++] = word % LINE_WORDS ? ' ' : '\n';
		words = word;
	}
}

static void read_text(const char *path)
{
	FILE *file = fopen(path, "r");
	size_t len = file ? fread(text, 1, sizeof(text), file) : 0;

	if (len == 0) {
		fprintf(stderr, "bench_emit: cannot read %s: %s\n", path, strerror(errno));
		exit(1);
	}
	fclose(file);
	memset(text + len, ' ', sizeof(text) - len);
	for (size_t i = 0; i < len; i++)
		words += (unsigned char)text[i] > ' ' &&
			 (i == 0 || (unsigned char)text[i - 1] <= ' ');
}

static ssize_t copy_text(void *arg, uint64_t index, void *data, size_t room)
{
	(void)arg;
	(void)index;
	if (room < sizeof(text))
		return -ENOBUFS;
	memcpy(data, text, sizeof(text));
	return sizeof(text);
}

static int emit_words(void *arg, struct wh_mr_bytes line, struct wh_mr_emitter *emitter)
{
	(void)arg;
	return wh_mr_emit_words(emitter, line);
}

static int emit_word(void *arg, struct wh_mr_bytes word, struct wh_mr_emitter *emitter)
{
	(void)arg;
	return wh_mr_emit_number(emitter, word.data, word.len, 1);
}

static int emit_batch(void *arg, const struct wh_mr_bytes *records, size_t count,
		      struct wh_mr_emitter *emitter)
{
	(void)arg;
	for (size_t i = 0; i < count; i++) {
		int r = wh_mr_emit_number(emitter, records[i].data, records[i].len, 1);

		if (r < 0)
			return r;
	}
	return 0;
}

static int emit_batch_whole(void *arg, const struct wh_mr_bytes *records, size_t count,
			    struct wh_mr_emitter *emitter)
{
	(void)arg;
	return wh_mr_emit_numbers(emitter, records, NULL, count);
}

/* Keys that are not the records, and numbers that are not 1. */
static int emit_batch_cut(void *arg, const struct wh_mr_bytes *records, size_t count,
			  struct wh_mr_emitter *emitter)
{
	struct wh_mr_bytes keys[WH_MR_BATCH_MAX];
	uint64_t numbers[WH_MR_BATCH_MAX];

	(void)arg;
	for (size_t i = 0; i < count; i++) {
		keys[i].data = records[i].data;
		keys[i].len = records[i].len - (records[i].len > 8);
		numbers[i] = records[i].len;
	}
	return wh_mr_emit_numbers(emitter, keys, numbers, count);
}

static int emit_batch_nothing(void *arg, const struct wh_mr_bytes *records, size_t count,
			      struct wh_mr_emitter *emitter)
{
	(void)arg;
	(void)records;
	(void)count;
	(void)emitter;
	return 0;
}

static int emit_batch_pairs(void *arg, const struct wh_mr_bytes *records, size_t count,
			    struct wh_mr_emitter *emitter)
{
	int r = 0;

	(void)arg;
	for (size_t i = 0; i < count && r == 0; i++)
		r = wh_mr_emit(emitter, records[i], (struct wh_mr_bytes){ &words, sizeof(words) });
	return r;
}

static int emit_pairs(void *arg, struct wh_mr_bytes word, struct wh_mr_emitter *emitter)
{
	(void)arg;
	return wh_mr_emit(emitter, word, (struct wh_mr_bytes){ &words, sizeof(words) });
}

/* Words of a line, which has nothing but them and single blanks. */
static int emit_own(void *arg, struct wh_mr_bytes line, struct wh_mr_emitter *emitter)
{
	const char *at = line.data, *end = at + line.len, *from = at;
	int r = 0;

	(void)arg;
	for (; at < end && r == 0; at++) {
		if (*at != ' ')
			continue;
		r = wh_mr_emit_number(emitter, from, (size_t)(at - from), 1);
		from = at + 1;
	}
	if (from < at && r == 0)
		r = wh_mr_emit_number(emitter, from, (size_t)(at - from), 1);
	return r;
}

static size_t letters_seen;

static int look_at_own(void *arg, struct wh_mr_bytes line, struct wh_mr_emitter *emitter)
{
	const char *at = line.data, *end = at + line.len, *from = at;
	size_t longest = 0;

	(void)arg;
	(void)emitter;
	for (; at < end; at++) {
		if (*at != ' ')
			continue;
		longest = (size_t)(at - from) > longest ? (size_t)(at - from) : longest;
		from = at + 1;
	}
	letters_seen += longest;
	return 0;
}

static int emit_nothing(void *arg, struct wh_mr_bytes line, struct wh_mr_emitter *emitter)
{
	(void)arg;
	(void)line;
	(void)emitter;
	return 0;
}

static struct way {
	const char *name;
	struct wh_mr_job job;
} ways[] = {
	{ "emit_builtin", { .value = WH_MR_COUNT } },
	{ "emit_whole_count", { .value = WH_MR_COUNT, .map_batch = emit_batch_whole } },
	{ "emit_whole_sum", { .value = WH_MR_SUM, .map_batch = emit_batch_whole } },
	{ "emit_cut_sum", { .value = WH_MR_SUM, .map_batch = emit_batch_cut } },
	{ "emit_batch_count", { .value = WH_MR_COUNT, .map_batch = emit_batch } },
	{ "emit_batch_sum", { .value = WH_MR_SUM, .map_batch = emit_batch } },
	{ "emit_batch_max", { .value = WH_MR_MAX, .map_batch = emit_batch } },
	{ "emit_count", { .value = WH_MR_COUNT, .map = emit_word } },
	{ "emit_sum", { .value = WH_MR_SUM, .map = emit_word } },
	{ "emit_max", { .value = WH_MR_MAX, .map = emit_word } },
	{ "emit_batch_nothing", { .value = WH_MR_COUNT, .map_batch = emit_batch_nothing } },
	{ "emit_map_nothing", { .value = WH_MR_COUNT, .map = emit_nothing } },
	{ "emit_words", { .value = WH_MR_COUNT, .records = WH_MR_LINES, .map = emit_words } },
	{ "emit_nothing", { .value = WH_MR_COUNT, .records = WH_MR_LINES, .map = emit_nothing } },
	{ "emit_own_nothing",
	  { .value = WH_MR_COUNT, .records = WH_MR_LINES, .map = look_at_own } },
	{ "emit_own_count", { .value = WH_MR_COUNT, .records = WH_MR_LINES, .map = emit_own } },
	{ "emit_own_sum", { .value = WH_MR_SUM, .records = WH_MR_LINES, .map = emit_own } },
	{ "emit_pairs", { .value = WH_MR_BYTES, .map = emit_pairs } },
	{ "emit_batch_pairs", { .value = WH_MR_BYTES, .map_batch = emit_batch_pairs } },
};

enum { WAYS = sizeof(ways) / sizeof(*ways) };

static uint64_t cpu_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static double map_text(struct way *now)
{
	struct wh_mr_stats stats;
	uint64_t began = cpu_ns();
	int r;

	now->job.generate = copy_text;
	now->job.generate_count = megabytes;
	now->job.workers = 1;
	r = wh_mapreduce(&now->job, &stats);
	if (r < 0) {
		fprintf(stderr, "bench_emit: %s: %s %s\n", now->name, strerror(-r), stats.why);
		exit(1);
	}
	return (double)(cpu_ns() - began) / (double)(words * megabytes);
}

/* In turns, so that what else the machine does falls on all of them. */
static void measure_all(void)
{
	static struct micro_figure figures[WAYS];

	for (unsigned round = 0; round <= micro_repeats(); round++)
		for (size_t i = 0; i < WAYS; i++) {
			double value = map_text(&ways[i]);

			if (round)
				micro_add(&figures[i], value);
		}
	for (size_t i = 0; i < WAYS; i++)
		micro_print(&figures[i], ways[i].name, "ns/word");
}

static int run_all(void *arg)
{
	(void)arg;
	if (way <= WAYS)
		micro_print_once(ways[way - 1].name, "ns/word", map_text(&ways[way - 1]));
	else
		measure_all();
	return 0;
}

int main(int argc, char **argv)
{
	const struct micro_option options[] = {
		{ "megabytes", &megabytes },
		{ "way", &way },
		{ 0 },
	};
	const char *path = argc > 2 && strcmp(argv[1], "--text") == 0 ? argv[2] : NULL;

	if (path)
		argv[2] = argv[0];
	micro_options(path ? argc - 2 : argc, path ? argv + 2 : argv, options);
	if (path)
		read_text(path);
	else
		make_text();
	micro_check_run(wh_run(run_all, NULL, &(struct wh_run_opts){ .loops = 1 }, NULL));
	return 0;
}
