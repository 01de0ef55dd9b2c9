/* Owns the batch files of a job that may be gone on with.
 *
 * 1. Batches are of splits in order without a gap: the first one that cannot be used ends them, and
 *    it and what follows are mapped again.
 * 2. What is in a batch file is nowhere else. */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "arch/crc32c.h"
#include "base/alloc.h"
#include "base/list.h"
#include "mapreduce/job.h"

enum {
	VERSION = 2,
	PATH_BYTES = 4096,
	WRITE_BYTES = 256 * 1024,
};

static const char magic[8] = "whorlmrB";

/* The end of a batch file; the partitions come before. Of this machine only. */
struct trailer {
	char magic[8];
	uint64_t hash; /* that deals keys to partitions; see whi_resume_hash */
	uint64_t first_split;
	uint64_t end_split;
	uint64_t records; /* since the job began */
	uint64_t bytes_done;
	struct {
		uint64_t offset;
		uint64_t len;
		uint64_t records;
	} parts[WHI_PARTS];
	struct whi_ngram_told ngrams; /* since the job began */
	uint32_t version;
	uint32_t crc; /* of all before it */
};

/* A batch that is being written. */
struct batch_writer {
	struct whi_mr *mr;
	int fd;
	uint64_t at;
	struct whi_encoder encoder;
	struct trailer trailer;
};

static uint32_t trailer_crc(const struct trailer *trailer)
{
	return whi_crc32c(0, trailer, offsetof(struct trailer, crc));
}

/* Partitions are in the file from now on. Takes `fd`. */
static int adopt(struct whi_mr *mr, int fd, const char *name, const struct trailer *trailer)
{
	struct whi_resume *resume = &mr->resume;
	struct whi_batch *batch = whi_calloc(1, sizeof(*batch));
	char path[PATH_BYTES];
	void *batches;
	int r = 0;

	snprintf(path, sizeof(path), "%s/%s", mr->job->resume_dir, name);
	batches = whi_input_more(resume->batches, resume->count, &resume->room,
				 sizeof(struct whi_batch *));
	if (batches)
		resume->batches = batches;
	if (batch)
		batch->path = whi_strdup(path);
	if (!batches || !batch || !batch->path) {
		close(fd);
		if (batch)
			whi_free(batch->path);
		whi_free(batch);
		return -ENOMEM;
	}
	whi_spill_file_init(&batch->file, batch->path);
	batch->file.kept = true;
	atomic_store(&batch->file.fd, fd);
	resume->batches[resume->count++] = batch;
	for (unsigned i = 0; i < WHI_PARTS && r == 0; i++) {
		struct whi_stream *stream = &mr->store->parts[i].spilled;
		struct whi_extent extent = {
			.file = &batch->file,
			.offset = trailer->parts[i].offset,
			.room = trailer->parts[i].len,
			.used = trailer->parts[i].len,
		};

		stream->id = i;
		if (extent.used)
			r = whi_stream_adopt(stream, &extent, trailer->parts[i].records);
	}
	return r;
}

static bool is_whole(const struct trailer *trailer, uint64_t len, size_t first, size_t splits)
{
	if (memcmp(trailer->magic, magic, sizeof(magic)) != 0 || trailer->version != VERSION ||
	    trailer->crc != trailer_crc(trailer))
		return false;
	for (unsigned i = 0; i < WHI_PARTS; i++)
		if (trailer->parts[i].offset > len ||
		    trailer->parts[i].len > len - trailer->parts[i].offset)
			return false;
	return trailer->first_split == first && trailer->end_split > first &&
	       trailer->end_split <= splits;
}

static void batch_name(char name[WHI_BATCH_NAME_BYTES], size_t number)
{
	snprintf(name, WHI_BATCH_NAME_BYTES, "batch-%06zu", number);
}

int whi_batches_load(struct whi_mr *mr)
{
	struct whi_resume *resume = &mr->resume;

	for (;;) {
		struct trailer trailer;
		char name[WHI_BATCH_NAME_BYTES];
		struct stat st;
		ssize_t n = -1;
		int fd, r;

		batch_name(name, resume->count);
		fd = openat(resume->dir_fd, name, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			return errno == ENOENT ? 0 : whi_resume_failed(mr, -errno, "read", name);
		if (fstat(fd, &st) == 0 && st.st_size >= (off_t)sizeof(trailer))
			n = pread(fd, &trailer, sizeof(trailer),
				  st.st_size - (off_t)sizeof(trailer));
		if (n != sizeof(trailer) ||
		    !is_whole(&trailer, (uint64_t)st.st_size - sizeof(trailer), mr->next_split,
			      mr->input.split_count)) {
			close(fd);
			return 0;
		}
		r = adopt(mr, fd, name, &trailer);
		if (r < 0)
			return r;
		mr->next_split = trailer.end_split;
		resume->records = trailer.records;
		resume->bytes_done = trailer.bytes_done;
		resume->mixed = resume->mixed || trailer.hash != whi_resume_hash(mr);
		mr->ngrams_told = trailer.ngrams;
		atomic_store(&mr->ngram.version, (int)trailer.ngrams.version);
	}
}

static int flush_encoder(struct batch_writer *writer, size_t at_least)
{
	struct whi_encoder *encoder = &writer->encoder;
	int r;

	if (encoder->len < at_least)
		return 0;
	whi_encoder_close(encoder);
	r = whi_write_all(writer->fd, encoder->data, encoder->len);
	writer->at += encoder->len;
	encoder->len = 0;
	if (r == 0 && atomic_load_explicit(&writer->mr->stop, memory_order_relaxed))
		return -ECANCELED;
	return r;
}

static int write_blocks(struct batch_writer *writer, const struct whi_part *part)
{
	const struct whi_table *tables[] = { &part->shorts, &part->longs };
	int r = 0;

	for (unsigned i = 0; i < 2; i++)
		for (uint32_t j = 0; j < tables[i]->chunk_count && r == 0; j++) {
			r = whi_encoder_block(&writer->encoder, tables[i]->chunks[j], 0);
			if (r == 0)
				r = flush_encoder(writer, WRITE_BYTES);
		}
	for (struct whi_qnode *node = part->pairs; node && r == 0; node = node->next) {
		r = whi_encoder_block(&writer->encoder,
				      whi_container_of(node, struct whi_block, node), 0);
		if (r == 0)
			r = flush_encoder(writer, WRITE_BYTES);
	}
	return r < 0 ? r : flush_encoder(writer, 1);
}

/* What has been spilled since the last batch is encoded already. */
static int copy_spilled(struct batch_writer *writer, const struct whi_stream *stream)
{
	uint8_t *data = whi_alloc(WRITE_BYTES);
	int r = data ? 0 : -ENOMEM;

	for (uint32_t i = 0; i < stream->count && r == 0; i++) {
		const struct whi_extent *extent = &stream->extents[i];

		for (uint64_t at = 0; !extent->file->kept && at < extent->used && r == 0;) {
			uint64_t left = extent->used - at;
			size_t len = left < WRITE_BYTES ? (size_t)left : WRITE_BYTES;

			r = whi_extent_read(extent, at, data, len);
			if (r == 0)
				r = whi_write_all(writer->fd, data, len);
			at += len;
			writer->at += len;
		}
	}
	whi_free(data);
	return r;
}

static int write_part(struct batch_writer *writer, unsigned index)
{
	struct whi_store *store = writer->mr->store;
	struct whi_part *part = &store->parts[index];
	uint64_t begin_at = writer->at, before = writer->encoder.sums.records;
	struct whi_pool pool = { .room = store->block_room, .most = store->pool_most };
	int r = whi_part_merge(store, part, &pool);

	whi_pool_fini(&pool);
	writer->encoder.codec = (struct whi_codec){ .part = index };
	if (r == 0)
		r = copy_spilled(writer, &part->spilled);
	if (r == 0)
		r = write_blocks(writer, part);
	if (r < 0)
		return r;
	writer->trailer.parts[index].offset = begin_at;
	writer->trailer.parts[index].len = writer->at - begin_at;
	writer->trailer.parts[index].records = writer->encoder.sums.records - before +
					       part->spilled.records - part->spilled.kept_records;
	return 0;
}

static int write_parts(struct batch_writer *writer)
{
	struct trailer *trailer = &writer->trailer;
	int r = 0;

	for (unsigned i = 0; i < WHI_PARTS && r == 0; i++)
		r = write_part(writer, i);
	if (r < 0)
		return r;
	memcpy(trailer->magic, magic, sizeof(magic));
	trailer->version = VERSION;
	trailer->crc = trailer_crc(trailer);
	return whi_write_all(writer->fd, trailer, sizeof(*trailer));
}

static void fill_trailer(struct batch_writer *writer)
{
	struct whi_mr *mr = writer->mr;

	writer->trailer.first_split = mr->batch_split;
	writer->trailer.end_split = mr->next_split;
	writer->trailer.hash = whi_resume_hash(mr);
	writer->trailer.ngrams = whi_mr_ngrams_told(mr);
	writer->trailer.records = mr->resume.records + mr->stats.records;
	writer->trailer.bytes_done = atomic_load(&mr->bytes_done);
	for (const struct whi_mapper *mapper = mr->mappers; mapper; mapper = mapper->next)
		writer->trailer.records += whi_mapper_records(mapper);
}

/* Partitions are in the batch: not in memory, nor in the temporary file, any more. */
static void forget_parts(struct whi_mr *mr)
{
	for (unsigned i = 0; i < WHI_PARTS; i++) {
		whi_stream_drop(&mr->store->parts[i].spilled);
		whi_part_empty(mr->store, &mr->store->parts[i]);
	}
}

int whi_batch_write(void *arg)
{
	struct whi_mr *mr = arg;
	struct batch_writer writer = { .mr = mr };
	char name[WHI_BATCH_NAME_BYTES];
	int r = 0;

	for (struct whi_mapper *mapper = mr->mappers; mapper && r == 0; mapper = mapper->next)
		r = whi_mapper_flush(mapper);
	if (r == 0)
		r = atomic_load(&mr->store->error);
	if (r < 0)
		return r;
	batch_name(name, mr->resume.count);
	writer.fd = whi_resume_create(mr->resume.dir_fd, name);
	if (writer.fd < 0)
		return whi_resume_failed(mr, writer.fd, "make", name);
	fill_trailer(&writer);
	r = write_parts(&writer);
	whi_encoder_fini(&writer.encoder);
	if (r == 0)
		r = whi_resume_commit(mr->resume.dir_fd, writer.fd, name);
	if (r < 0) {
		close(writer.fd);
		whi_resume_drop(mr->resume.dir_fd, name);
		return r == -ECANCELED ? r : whi_resume_failed(mr, r, "write", name);
	}
	forget_parts(mr);
	return adopt(mr, writer.fd, name, &writer.trailer);
}
