/* Owns the input that is in no file: workers take the numbers of blocks, have the job make each
 * block in their own buffer, and map it there.
 *
 * 1. `next_block` is the first number that nobody has taken.
 * 2. `end_block` only goes down; a block that somebody has taken below it is mapped. */
#include <errno.h>
#include <inttypes.h>

#include "mapreduce/job.h"
#include "mapreduce/records.h"

static const size_t ROOM_MAX = (size_t)1 << 30;

/* Returns how many bytes there are, 0 if there is no such block, or -errno. */
static ssize_t make_block(const struct whi_mapper_job *shared, uint64_t index,
			  struct whi_buffer *buf)
{
	const struct wh_mr_job *job = shared->job;

	for (;;) {
		ssize_t n = job->generate(job->arg, index, buf->data, buf->room);

		if (n > 0 && (size_t)n > buf->room)
			return whi_why(shared->why, -EOVERFLOW,
				       "generate says that it wrote more of block %" PRIu64
				       " than there was room for",
				       index);
		if (n != -ENOBUFS)
			return n;
		if (buf->room >= ROOM_MAX)
			return whi_why(shared->why, -EMSGSIZE,
				       "generate has no room for block %" PRIu64
				       ": make its blocks smaller than 1 GiB",
				       index);
		if (whi_buffer_reserve(buf, buf->room * 2) < 0)
			return -ENOMEM;
	}
}

static void end_at(struct whi_mr *mr, uint64_t index)
{
	uint64_t end = atomic_load(&mr->end_block);

	while (index < end && !atomic_compare_exchange_weak(&mr->end_block, &end, index))
		;
}

int whi_mapper_map_block(struct whi_mapper *mapper, uint64_t index, _Atomic uint64_t *bytes)
{
	const struct whi_mapper_job *shared = mapper->shared;
	struct whi_buffer *buf = &mapper->buf;
	struct wh_mr_origin origin = { .block = index };
	ssize_t n = whi_buffer_reserve(buf, WHI_READ_BYTES);
	size_t whole;

	if (n == 0)
		n = make_block(shared, index, buf);
	if (n < 0)
		return whi_why(shared->why, (int)n, "generate failed for block %" PRIu64, index);
	if (n == 0)
		return 1;
	whole = whi_records_whole(shared->job, (size_t)n);
	origin.offset = whole;
	if (whole < (size_t)n)
		return whi_why_at(shared->why, -ENODATA, &origin,
				  "the last record is shorter than record_bytes,");
	origin.offset = 0;
	whi_mapper_from(mapper, &origin);
	atomic_fetch_add_explicit(bytes, (uint64_t)n, memory_order_relaxed);
	return whi_mapper_map(mapper, buf->data, whole);
}

/* On a worker. */
static int map_blocks(void *arg)
{
	struct whi_mr *mr = arg;
	struct whi_mapper *mapper = whi_mr_take_mapper(mr);
	int r = mapper ? 0 : -ENOMEM;

	while (r == 0) {
		uint64_t index = atomic_fetch_add(&mr->next_block, 1);

		if (index >= atomic_load(&mr->end_block))
			break;
		if (atomic_load(&mr->stop))
			r = -ECANCELED;
		else
			r = whi_mapper_map_block(mapper, index, &mr->bytes_done);
		if (r > 0)
			end_at(mr, index);
	}
	if (mapper)
		whi_mr_put_mapper(mr, mapper);
	return r < 0 ? r : 0;
}

int whi_mr_map_generated(struct whi_mr *mr)
{
	const struct wh_mr_job *job = mr->job;

	if (!job->generate)
		return 0;
	atomic_store(&mr->end_block, job->generate_count ? job->generate_count : UINT64_MAX);
	return whi_mr_on_workers(mr, map_blocks);
}
