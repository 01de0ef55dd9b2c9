/* Owns what becomes of batches whose keys another process has dealt to partitions with other
 * instructions, which hash short keys in another way, or by a secret that could not be taken over,
 * so that equal keys are in different partitions now. All is read once more, and dealt by the hash
 * that is the same everywhere.
 *
 * 1. Before that, all that has been mapped is on disk, whoever has mapped it.
 * 2. The folder stays as it is: a process that dies here is gone on from as any other. */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "mapreduce/hash.h"
#include "mapreduce/job.h"

enum { BLOCK_BYTES_MIN = 1024, BLOCK_BYTES_MAX = 64 * 1024 };

/* What all workers have dealt so far. */
struct whi_dealt {
	_Atomic unsigned next_part;	      /* that nobody has taken */
	struct whi_stream streams[WHI_PARTS]; /* under the job's lock */
};

/* One worker's. */
struct dealer {
	bool pairs;
	struct whi_pass pass;
	struct whi_pool pool;
	struct whi_stream streams[WHI_PARTS];
	struct whi_stream_writer writers[WHI_PARTS];
};

uint64_t whi_resume_hash(const struct whi_mr *mr)
{
	/* Kernels do not all hash short keys alike. */
	return whi_codec_hash(whi_hash_seed(), (const uint8_t *)mr->stats.isa,
			      strlen(mr->stats.isa));
}

static size_t block_bytes(const struct whi_mr *mr)
{
	uint64_t bytes = mr->spill.budget.max / 8 / WHI_PARTS / mr->workers;

	if (bytes < BLOCK_BYTES_MIN)
		return BLOCK_BYTES_MIN;
	return bytes < BLOCK_BYTES_MAX ? bytes : BLOCK_BYTES_MAX;
}

static struct dealer *dealer_new(struct whi_mr *mr)
{
	struct dealer *dealer = whi_calloc(1, sizeof(*dealer));
	size_t bytes = block_bytes(mr);

	if (!dealer)
		return NULL;
	dealer->pairs = mr->job->value == WH_MR_BYTES;
	dealer->pass = (struct whi_pass){ .store = mr->store, .spill = &mr->spill, .job = mr->job };
	dealer->pool = (struct whi_pool){ .room = mr->store->block_room, .most = 1 };
	for (unsigned i = 0; i < WHI_PARTS; i++) {
		dealer->streams[i].id = i;
		whi_stream_writer_init(&dealer->writers[i], &mr->spill.file, &dealer->streams[i],
				       bytes);
		dealer->writers[i].encoder.block_bytes = bytes;
	}
	return dealer;
}

static void dealer_free(struct dealer *dealer)
{
	for (unsigned i = 0; i < WHI_PARTS; i++) {
		whi_stream_writer_fini(&dealer->writers[i]);
		whi_stream_fini(&dealer->streams[i]);
	}
	whi_pool_fini(&dealer->pool);
	whi_free(dealer);
}

static int deal_row(void *arg, const struct wh_mr_row *row)
{
	struct dealer *dealer = arg;
	uint64_t hash = whi_codec_hash(0, row->key.data, row->key.len);

	return whi_stream_add(&dealer->writers[whi_codec_part(hash, WHI_PARTS)], row,
			      dealer->pairs);
}

/* Deal what is in a partition, in memory too. */
static int deal_part(struct dealer *dealer, unsigned index)
{
	struct whi_store *store = dealer->pass.store;
	struct whi_part *part = &store->parts[index];
	int r = whi_part_merge(store, part, &dealer->pool);

	if (r == 0)
		r = atomic_load(&store->error);
	if (r == 0)
		r = whi_spill_part(store, part);
	if (r == 0)
		r = whi_spill_read(dealer->pass.spill, &part->spilled, deal_row, dealer);
	if (r == 0)
		whi_stream_fini(&part->spilled);
	return r;
}

/* What a worker has dealt to what others have. */
static int bring_together(struct whi_mr *mr, struct dealer *dealer)
{
	struct whi_dealt *dealt = mr->resume.dealt;
	int r = 0;

	for (unsigned i = 0; i < WHI_PARTS && r == 0; i++)
		r = whi_stream_flush(&dealer->writers[i]);
	if (r < 0)
		return r;
	pthread_mutex_lock(&mr->lock);
	for (unsigned i = 0; i < WHI_PARTS && r == 0; i++)
		r = whi_stream_join(&dealt->streams[i], &dealer->streams[i]);
	pthread_mutex_unlock(&mr->lock);
	return r;
}

/* On a worker: deal partitions as long as there are some. */
static int deal_parts(void *arg)
{
	struct whi_mr *mr = arg;
	struct dealer *dealer = dealer_new(mr);
	int r = dealer ? 0 : -ENOMEM;

	while (r == 0) {
		unsigned part = atomic_fetch_add(&mr->resume.dealt->next_part, 1);

		if (part >= WHI_PARTS)
			break;
		r = deal_part(dealer, part);
		if (r == 0 && atomic_load(&mr->stop))
			r = -ECANCELED;
	}
	if (r == 0)
		r = bring_together(mr, dealer);
	if (dealer)
		dealer_free(dealer);
	return r;
}

int whi_resume_unite(struct whi_mr *mr)
{
	struct whi_dealt *dealt;
	int r;

	if (!mr->resume.mixed)
		return 0;
	dealt = whi_calloc(1, sizeof(*dealt));
	if (!dealt)
		return -ENOMEM;
	for (unsigned i = 0; i < WHI_PARTS; i++)
		dealt->streams[i].id = i;
	mr->resume.dealt = dealt;
	r = whi_mr_on_workers(mr, deal_parts);
	mr->resume.dealt = NULL;
	for (unsigned i = 0; i < WHI_PARTS; i++) {
		if (r == 0)
			mr->store->parts[i].spilled = dealt->streams[i];
		else
			whi_stream_fini(&dealt->streams[i]);
	}
	whi_free(dealt);
	return r;
}
