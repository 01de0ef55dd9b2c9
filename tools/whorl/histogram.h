/*
 * Latency histogram: counts of nanoseconds in buckets that are never wider than a thousandth of
 * the value they hold, from 1 ns to more than an hour, in one array of fixed size.
 *
 * The layout is that of Gil Tene's HdrHistogram (https://hdrhistogram.org): linear up to
 * HISTOGRAM_LINEAR, then, for each doubling, HISTOGRAM_LINEAR / 2 buckets of doubled width.
 * Recording costs a few instructions and never allocates. Who records decides what a latency is:
 * at a constant rate it counts from the moment the request was due, not from when it was sent.
 */
#ifndef WHORL_TOOLS_HISTOGRAM_H
#define WHORL_TOOLS_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_LINEAR_BITS 11
#define HISTOGRAM_VALUE_BITS 42
#define HISTOGRAM_LINEAR (1u << HISTOGRAM_LINEAR_BITS)
#define HISTOGRAM_BUCKETS                                                                          \
	((HISTOGRAM_VALUE_BITS - HISTOGRAM_LINEAR_BITS + 2) * (HISTOGRAM_LINEAR / 2))

/* The largest value told apart, 73 minutes: all above are counted here, and in `clamped`. */
#define HISTOGRAM_VALUE_MAX ((UINT64_C(1) << HISTOGRAM_VALUE_BITS) - 1)

/* Percentiles are asked for in parts of a million, so that 99.99 % is exact: 999900. */
#define HISTOGRAM_WHOLE 1000000u

/* About 264 KiB. All fields are read-only to users; use histogram_reset before anything else. */
struct histogram {
	uint64_t count;
	uint64_t clamped;
	uint64_t min;	       /* exact; UINT64_MAX while empty */
	uint64_t max;	       /* exact, also beyond HISTOGRAM_VALUE_MAX; 0 while empty */
	unsigned __int128 sum; /* exact */
	uint64_t buckets[HISTOGRAM_BUCKETS];
};

/* Forget everything. */
void histogram_reset(struct histogram *histogram);

/* Count one value. */
void histogram_record(struct histogram *histogram, uint64_t value);

/* Count the same value `count` times. */
void histogram_record_many(struct histogram *histogram, uint64_t value, uint64_t count);

/* Add all that `from` has counted, as if it had been recorded here. */
void histogram_merge(struct histogram *histogram, const struct histogram *from);

/*
 * The smallest value that at least `parts` millionths of all values do not exceed, rounded up by
 * less than a thousandth, and never above the true maximum. 0 parts is the minimum, and an empty
 * histogram answers 0.
 */
uint64_t histogram_percentile(const struct histogram *histogram, uint32_t parts);

/* The mean of what was recorded, rounded down; 0 if empty. */
uint64_t histogram_mean(const struct histogram *histogram);

#endif
