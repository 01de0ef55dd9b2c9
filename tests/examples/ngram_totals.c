/*
 * ngram_totals ngram|year|both FILE...: how often each ngram was met in all years, or in each year
 * all ngrams, or in each year each ngram. Lines are `ngram<TAB>year<TAB>matches<TAB>volumes`.
 *
 * A line is a record; its key is cut out of it, and the numbers of equal keys are added up where
 * they are emitted.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "examples/program.h"

struct columns {
	const char *ngram, *year, *matches; /* where each begins */
	const char *end;		    /* of `matches` */
};

/* The byte after the next tab, NULL if there is none. */
static const char *after_tab(const char *at, const char *end)
{
	const char *tab = at ? memchr(at, '\t', (size_t)(end - at)) : NULL;

	return tab ? tab + 1 : NULL;
}

static bool split(struct wh_mr_bytes line, struct columns *columns)
{
	const char *end = (const char *)line.data + line.len, *volumes;

	columns->ngram = line.data;
	columns->year = after_tab(columns->ngram, end);
	columns->matches = after_tab(columns->year, end);
	volumes = after_tab(columns->matches, end);
	columns->end = volumes ? volumes - 1 : NULL;
	return volumes != NULL;
}

static bool to_number(const char *at, const char *end, uint64_t *ret)
{
	*ret = 0;
	for (const char *digit = at; digit < end; digit++) {
		if (*digit < '0' || *digit > '9')
			return false;
		if (__builtin_mul_overflow(*ret, 10, ret) ||
		    __builtin_add_overflow(*ret, (uint64_t)(*digit - '0'), ret))
			return false;
	}
	return at < end;
}

/* The key is one of the first columns, or both of them as they stand. */
static int emit(const struct columns *columns, char by, uint64_t matches,
		struct wh_mr_emitter *emitter)
{
	const char *from = by == 'y' ? columns->year : columns->ngram;
	const char *next = by == 'n' ? columns->year : columns->matches;

	return wh_mr_emit_number(emitter, from, (size_t)(next - 1 - from), matches);
}

static int map(void *arg, struct wh_mr_bytes line, struct wh_mr_emitter *emitter)
{
	const char *by = arg;
	struct columns columns;
	uint64_t matches;

	if (!split(line, &columns) || !to_number(columns.matches, columns.end, &matches))
		return -EBADMSG;
	return emit(&columns, *by, matches, emitter);
}

int main(int argc, char **argv)
{
	struct wh_mr_job job = {
		.records = WH_MR_LINES,
		.value = WH_MR_SUM,
		.map = map,
		.order = WH_MR_BY_KEY,
		.output = print_numbers,
		.arg = argv[1],
	};

	if (argc < 3 || (strcmp(argv[1], "ngram") != 0 && strcmp(argv[1], "year") != 0 &&
			 strcmp(argv[1], "both") != 0)) {
		fprintf(stderr, "usage: ngram_totals ngram|year|both FILE...\n");
		return 2;
	}
	return run_program("ngram_totals", &job, argv + 2);
}
