/*
 * Log-linear histogram after Gil Tene's HdrHistogram, see the header.
 *
 * Invariants:
 * 1. Bucket i holds values that agree in their HISTOGRAM_LINEAR_BITS leading bits.
 * 2. `count` is the sum of all buckets; `clamped` of them were above HISTOGRAM_VALUE_MAX.
 */
#include "histogram.h"

#include <string.h>

#define HALF_BITS (HISTOGRAM_LINEAR_BITS - 1)

static uint32_t bucket_of(uint64_t value)
{
	uint32_t top = 63u - (uint32_t)__builtin_clzll(value | (HISTOGRAM_LINEAR - 1));
	uint32_t shift = top - HALF_BITS;

	return (shift << HALF_BITS) + (uint32_t)(value >> shift);
}

/* The largest value that bucket_of sends to this bucket. */
static uint64_t bucket_last(uint32_t bucket)
{
	uint32_t shift = bucket < HISTOGRAM_LINEAR ? 0 : (bucket >> HALF_BITS) - 1;
	uint64_t leading = bucket - (shift << HALF_BITS);

	return ((leading + 1) << shift) - 1;
}

void histogram_reset(struct histogram *histogram)
{
	memset(histogram, 0, sizeof(*histogram));
	histogram->min = UINT64_MAX;
}

void histogram_record_many(struct histogram *histogram, uint64_t value, uint64_t count)
{
	uint64_t held = value > HISTOGRAM_VALUE_MAX ? HISTOGRAM_VALUE_MAX : value;

	if (!count)
		return;
	if (value < histogram->min)
		histogram->min = value;
	if (value > histogram->max)
		histogram->max = value;
	if (held != value)
		histogram->clamped += count;
	histogram->count += count;
	histogram->sum += (unsigned __int128)value * count;
	histogram->buckets[bucket_of(held)] += count;
}

void histogram_record(struct histogram *histogram, uint64_t value)
{
	histogram_record_many(histogram, value, 1);
}

void histogram_merge(struct histogram *histogram, const struct histogram *from)
{
	for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++)
		histogram->buckets[i] += from->buckets[i];
	histogram->count += from->count;
	histogram->clamped += from->clamped;
	histogram->sum += from->sum;
	if (from->min < histogram->min)
		histogram->min = from->min;
	if (from->max > histogram->max)
		histogram->max = from->max;
}

/* How many values, counted from the smallest, `parts` millionths are: 1 at least, rounded up. */
static uint64_t rank_of(const struct histogram *histogram, uint32_t parts)
{
	unsigned __int128 scaled = (unsigned __int128)histogram->count * parts;
	uint64_t rank = (uint64_t)((scaled + HISTOGRAM_WHOLE - 1) / HISTOGRAM_WHOLE);

	return rank ? rank : 1;
}

static uint64_t clamp(uint64_t value, uint64_t low, uint64_t high)
{
	if (value < low)
		return low;
	return value > high ? high : value;
}

uint64_t histogram_percentile(const struct histogram *histogram, uint32_t parts)
{
	uint64_t rank, seen = 0;

	if (!histogram->count)
		return 0;
	if (!parts)
		return histogram->min;
	if (parts >= HISTOGRAM_WHOLE)
		return histogram->max;
	rank = rank_of(histogram, parts);
	for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
		seen += histogram->buckets[i];
		if (seen >= rank)
			return clamp(bucket_last(i), histogram->min, histogram->max);
	}
	return histogram->max;
}

uint64_t histogram_mean(const struct histogram *histogram)
{
	return histogram->count ? (uint64_t)(histogram->sum / histogram->count) : 0;
}
