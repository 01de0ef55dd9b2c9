/* Owns what a job says of itself: how its partitions differ, and where the time went. */
#include <string.h>

#include "mapreduce/job.h"

struct spread {
	uint64_t min;
	uint64_t median;
	uint64_t max;
};

static struct spread spread_of(const uint64_t numbers[WHI_PARTS])
{
	uint64_t sorted[WHI_PARTS] = { 0 };
	unsigned used = 0;

	/* By insertion: there are few of them. */
	for (unsigned part = 0; part < WHI_PARTS; part++) {
		unsigned at = used++;

		for (; at > 0 && sorted[at - 1] > numbers[part]; at--)
			sorted[at] = sorted[at - 1];
		sorted[at] = numbers[part];
	}
	return (struct spread){ sorted[0], sorted[WHI_PARTS / 2], sorted[WHI_PARTS - 1] };
}

static uint64_t run_bytes(const struct whi_runs *runs)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < runs->count; i++)
		bytes += runs->items[i].data ? runs->items[i].len : runs->items[i].stream.bytes;
	return bytes;
}

void whi_mr_explain_skew(struct whi_mr *mr)
{
	struct wh_mr_skew *skew = &mr->stats.skew;
	uint64_t bytes[WHI_PARTS];
	struct spread spread = spread_of(mr->part_rows);

	skew->rows_min = spread.min;
	skew->rows_median = spread.median;
	skew->rows_max = spread.max;
	for (unsigned part = 0; part < WHI_PARTS; part++)
		bytes[part] = mr->part_bytes[part] ? mr->part_bytes[part]
						   : run_bytes(&mr->runs[part]);
	spread = spread_of(bytes);
	skew->bytes_min = spread.min;
	skew->bytes_median = spread.median;
	skew->bytes_max = spread.max;
}

static uint64_t step_ns(const struct whi_mr *mr, enum whi_step step)
{
	return atomic_load(&mr->times.ns[step]);
}

void whi_mr_explain_map(struct whi_mr *mr)
{
	struct wh_mr_times *times = &mr->stats.times;
	const struct whi_front_times *remote = &mr->remote_times;
	uint64_t tokenize = remote->tokenize_ns, count = remote->count_ns;
	uint64_t map = step_ns(mr, WHI_STEP_MAP);

	if (!mr->job->explain)
		return;
	times->counted = remote->counted;
	times->entered = remote->entered;
	for (const struct whi_mapper *mapper = mr->mappers; mapper; mapper = mapper->next) {
		if (!mapper->front)
			continue;
		tokenize += mapper->front->tokenize_ns;
		count += mapper->front->count_ns;
		times->counted += mapper->front->total;
		times->entered += mapper->front->entered;
	}
	times->read_ns = step_ns(mr, WHI_STEP_READ);
	times->decode_ns = step_ns(mr, WHI_STEP_DECODE);
	times->merge_ns = step_ns(mr, WHI_STEP_MERGE);
	/* Regions are timed by the wall, which a busy machine stretches: only shares count. */
	if (tokenize + count > 0)
		times->tokenize_ns =
			(uint64_t)((double)map * (double)tokenize / (double)(tokenize + count));
	map -= times->tokenize_ns;
	times->count_ns = map;
	/* Threads merge while they map, processes when all of a split is mapped. */
	if (!mr->job->processes)
		times->count_ns = map > times->merge_ns ? map - times->merge_ns : 0;
}
