/* What the micro benches share: see micro.h. */
#include "micro.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <whorl/run.h>

enum { SKIPPED = 77 };

static uint64_t repeats = 9;

static _Noreturn void usage(const char *program, const struct micro_option *options)
{
	fprintf(stderr, "usage: %s [--repeats %llu]", program, (unsigned long long)repeats);
	for (; options->name && options->value; options++)
		fprintf(stderr, " [--%s %llu]", options->name, (unsigned long long)*options->value);
	fputc('\n', stderr);
	exit(2);
}

static uint64_t *find(const struct micro_option *options, const char *word)
{
	if (strncmp(word, "--", 2) != 0)
		return NULL;
	if (strcmp(word + 2, "repeats") == 0)
		return &repeats;
	for (; options->name; options++)
		if (strcmp(word + 2, options->name) == 0)
			return options->value;
	return NULL;
}

void micro_options(int argc, char **argv, const struct micro_option *options)
{
	for (int i = 1; i < argc; i += 2) {
		uint64_t *value = find(options, argv[i]);
		uint64_t number;
		char *end;

		if (!value || i + 1 == argc)
			usage(argv[0], options);
		number = strtoull(argv[i + 1], &end, 10);
		if (*argv[i + 1] < '0' || *argv[i + 1] > '9' || *end || number == 0)
			usage(argv[0], options);
		*value = number;
	}
	if (repeats > MICRO_REPEATS_MAX)
		repeats = MICRO_REPEATS_MAX;
	/* A line is there as soon as it is known, also in a pipe. */
	setvbuf(stdout, NULL, _IOLBF, 0);
}

unsigned micro_repeats(void)
{
	return (unsigned)repeats;
}

void micro_add(struct micro_figure *figure, double value)
{
	if (figure->count < MICRO_REPEATS_MAX)
		figure->values[figure->count++] = value;
}

static int ascending(const void *a, const void *b)
{
	double left = *(const double *)a, right = *(const double *)b;

	return (left > right) - (left < right);
}

void micro_print(struct micro_figure *figure, const char *name, const char *unit)
{
	unsigned last = figure->count - 1;

	qsort(figure->values, figure->count, sizeof(figure->values[0]), ascending);
	printf("{\"name\":\"%s\",\"value\":%.6g,\"unit\":\"%s\",\"min\":%.6g,\"max\":%.6g,"
	       "\"repeats\":%u}\n",
	       name, figure->values[last / 2], unit, figure->values[0], figure->values[last],
	       figure->count);
}

void micro_measure(const char *name, const char *unit, double (*run)(void *arg), void *arg)
{
	struct micro_figure figure = { 0 };

	run(arg);
	for (unsigned i = 0; i < repeats; i++)
		micro_add(&figure, run(arg));
	micro_print(&figure, name, unit);
}

void micro_print_once(const char *name, const char *unit, double value)
{
	struct micro_figure figure = { 0 };

	micro_add(&figure, value);
	micro_print(&figure, name, unit);
}

uint64_t micro_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Marsaglia's xorshift64 ("Xorshift RNGs", 2003). */
uint64_t micro_random(void)
{
	static uint64_t state = 88172645463325252u;

	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

void micro_check_run(int err)
{
	if (err >= 0)
		return;
	fprintf(stderr, "cannot run: %s: %s\n", strerror(-err), wh_run_advice(err));
	exit(err == -ENOSYS || err == -EPERM ? SKIPPED : 1);
}
