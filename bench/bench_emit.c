/*
 * Question: what does a job's own map cost, beside the word count that needs none? One worker maps
 * --megabytes of text; nanoseconds a word, of the map phase alone.
 *
 * emit_builtin  no map: the kernel counts in the text
 * emit_words    a map of lines hands each line's words over at once
 * emit_count    a map of words emits them one by one, to be counted
 * emit_sum      the same, to be added up
 * emit_nothing  a map of lines does nothing
 * emit_max      the same, for the greatest
 * emit_own_nothing, emit_own_count, emit_own_sum
 *               a map of lines looks for the words itself, byte by byte, and emits none, or them
 * emit_pairs    a map of words emits them with 8 bytes as value, which are not combined
 *
 * What emitting takes is what emit_own_count takes beyond emit_own_nothing.
 *
 * With --way 1..10 it does only that one, once: for counting instructions. Text comes out of
 * memory, a copy a block: 5.6 bytes a word, 12,000 different ones, frequent ones short.
 *
 * Not measured: reading, reducing, sorting, several workers.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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
	{ "emit_words", { .value = WH_MR_COUNT, .records = WH_MR_LINES, .map = emit_words } },
	{ "emit_count", { .value = WH_MR_COUNT, .map = emit_word } },
	{ "emit_sum", { .value = WH_MR_SUM, .map = emit_word } },
	{ "emit_nothing", { .value = WH_MR_COUNT, .records = WH_MR_LINES, .map = emit_nothing } },
	{ "emit_max", { .value = WH_MR_MAX, .map = emit_word } },
	{ "emit_own_nothing",
	  { .value = WH_MR_COUNT, .records = WH_MR_LINES, .map = look_at_own } },
	{ "emit_own_count", { .value = WH_MR_COUNT, .records = WH_MR_LINES, .map = emit_own } },
	{ "emit_own_sum", { .value = WH_MR_SUM, .records = WH_MR_LINES, .map = emit_own } },
	{ "emit_pairs", { .value = WH_MR_BYTES, .map = emit_pairs } },
};

static double map_text(void *arg)
{
	struct way *now = arg;
	struct wh_mr_stats stats;
	int r;

	now->job.generate = copy_text;
	now->job.generate_count = megabytes;
	now->job.workers = 1;
	r = wh_mapreduce(&now->job, &stats);
	if (r < 0) {
		fprintf(stderr, "bench_emit: %s: %s %s\n", now->name, strerror(-r), stats.why);
		exit(1);
	}
	return (double)stats.map_ns / (double)(words * megabytes);
}

static int run_all(void *arg)
{
	(void)arg;
	if (way <= sizeof(ways) / sizeof(*ways)) {
		struct way *one = &ways[way - 1];

		micro_print_once(one->name, "ns/word", map_text(one));
		return 0;
	}
	for (size_t i = 0; i < sizeof(ways) / sizeof(*ways); i++)
		micro_measure(ways[i].name, "ns/word", map_text, &ways[i]);
	return 0;
}

int main(int argc, char **argv)
{
	const struct micro_option options[] = {
		{ "megabytes", &megabytes },
		{ "way", &way },
		{ 0 },
	};

	micro_options(argc, argv, options);
	make_text();
	micro_check_run(wh_run(run_all, NULL, &(struct wh_run_opts){ .loops = 1 }, NULL));
	return 0;
}
