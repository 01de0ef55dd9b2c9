/*
 * What the micro benches share: sizes from the command line, a warm-up that is discarded, repeats,
 * and one JSON object a line on standard output:
 *     {"name":"spawn_join","value":71.2,"unit":"ns","min":70.1,"max":80.3,"repeats":9}
 * where `value` is the median.
 */
#ifndef BENCH_MICRO_H
#define BENCH_MICRO_H

#include <stdint.h>

enum { MICRO_REPEATS_MAX = 101 };

/* A number that the command line may change: `--name N`. */
struct micro_option {
	const char *name; /* without the dashes */
	uint64_t *value;  /* at least 1 */
};

/* Read the command line against `options`, which ends with an empty one; --repeats is always
 * there. On a mistake it says what would be right and exits with status 2. */
void micro_options(int argc, char **argv, const struct micro_option *options);

/* How often a measurement is repeated, the warm-up not counted. */
unsigned micro_repeats(void);

/* The values of one figure, one a repeat. All zero at first. */
struct micro_figure {
	unsigned count;
	double values[MICRO_REPEATS_MAX];
};

void micro_add(struct micro_figure *figure, double value);

/* Print its line. */
void micro_print(struct micro_figure *figure, const char *name, const char *unit);

/* Call `run(arg)`, which returns a value in `unit`, once for nothing and then once a repeat; print
 * the line. Inside a task, `run` may suspend. */
void micro_measure(const char *name, const char *unit, double (*run)(void *arg), void *arg);

/* The same for a single value that cannot be repeated within a process. */
void micro_print_once(const char *name, const char *unit, double value);

/* Nanoseconds of CLOCK_MONOTONIC. */
uint64_t micro_now_ns(void);

/* A random number; the sequence is the same in every run. */
uint64_t micro_random(void);

/* What wh_run returned is a failure: say so and exit, with 77 where this machine lacks io_uring. */
void micro_check_run(int err);

#endif
