/*
 * A text of different words only, of any size, and the check of its word count: what a count that
 * does not fit in memory is tried on. It measures nothing itself.
 *
 *	distinct_words N > words
 *	whorl wordcount --memory 64M words | distinct_words --check N
 *
 * Word i is 10 hexadecimal digits: i times an odd number, modulo 2^40. So all are different and in
 * an order that is none, and the rows that must come out are known: each word once, in ascending
 * order. The check needs no memory: that the rows ascend and there are N of them leaves one set of
 * rows if their sums are right too, but for a deliberate one.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	DIGITS = 10,
	BITS = 4 * DIGITS,
	LINE_BYTES = 64,
	OUT_BYTES = 1 << 20,
};

#define MULTIPLIER UINT64_C(0x9e3779b97f)
#define WORDS_MAX (UINT64_C(1) << BITS)

struct sums {
	uint64_t count;
	uint64_t squares;
	uint64_t mixed;
};

static uint64_t word(uint64_t i)
{
	return i * MULTIPLIER & (WORDS_MAX - 1);
}

static void add(struct sums *sums, uint64_t number)
{
	sums->count++;
	sums->squares += number * number;
	sums->mixed ^= number * UINT64_C(0x9e3779b97f4a7c15);
}

static int make(uint64_t count)
{
	static char out[OUT_BYTES];
	size_t len = 0;

	for (uint64_t i = 0; i < count; i++) {
		uint64_t number = word(i);

		for (int shift = BITS - 4; shift >= 0; shift -= 4)
			out[len++] = "0123456789abcdef"[number >> shift & 15];
		out[len++] = '\n';
		if (len > sizeof(out) - DIGITS - 1 || i + 1 == count) {
			if (fwrite(out, 1, len, stdout) != len)
				return EXIT_FAILURE;
			len = 0;
		}
	}
	return fflush(stdout) ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* A row: the word, a tab, 1. */
static bool parse(const char *line, uint64_t *ret)
{
	char *end;

	*ret = strtoull(line, &end, 16);
	return end == line + DIGITS && strcmp(end, "\t1\n") == 0;
}

static int check(uint64_t count)
{
	struct sums expected = { 0 }, sums = { 0 };
	char line[LINE_BYTES];
	uint64_t number, last = 0;

	for (uint64_t i = 0; i < count; i++)
		add(&expected, word(i));
	while (fgets(line, sizeof(line), stdin)) {
		if (!parse(line, &number) || (sums.count && number <= last)) {
			fprintf(stderr, "distinct_words: row %" PRIu64 " is wrong: %s\n",
				sums.count + 1, line);
			return EXIT_FAILURE;
		}
		add(&sums, number);
		last = number;
	}
	if (memcmp(&sums, &expected, sizeof(sums)) != 0) {
		fprintf(stderr,
			"distinct_words: %" PRIu64 " rows, not the %" PRIu64 " right ones\n",
			sums.count, count);
		return EXIT_FAILURE;
	}
	printf("%" PRIu64 " rows, exact\n", count);
	return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	bool checks = argc == 3 && strcmp(argv[1], "--check") == 0;
	uint64_t count = argc == 2 + checks ? strtoull(argv[argc - 1], NULL, 10) : 0;

	if (count == 0 || count > WORDS_MAX) {
		fprintf(stderr, "usage: distinct_words N, or distinct_words --check N < ROWS\n");
		return EXIT_FAILURE;
	}
	return checks ? check(count) : make(count);
}
