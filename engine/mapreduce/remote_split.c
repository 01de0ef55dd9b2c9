/* Owns the worker's side of a job in processes: it maps one split after another, each into a store
 * that is empty before and after, and hands its records back. What one split needs is kept for the
 * next one of the same job. A process does one at a time. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <whorl/jobs.h>

#include "arch/cpu.h"
#include "mapreduce/job.h"
#include "mapreduce/piece.h"
#include "mapreduce/records.h"
#include "mapreduce/remote.h"
#include "mapreduce/whole.h"

static struct {
	struct whi_remote_job remote;
	struct whi_mapper_job shared;
	struct whi_mapper *mapper;
	struct whi_piece piece;
	struct whi_ngram_shared ngram;
	struct whi_why why;
	struct whi_times times;
	struct whi_front_times front; /* as it was told last */
	_Atomic bool stop;	      /* never: who wants the job to end kills the process */
	_Atomic uint64_t bytes;
} here;

static void forget_job(void)
{
	whi_mapper_free(here.mapper);
	whi_store_free(here.shared.store);
	whi_remote_close(&here.remote);
	here.mapper = NULL;
	here.front = (struct whi_front_times){ 0 };
	here.shared = (struct whi_mapper_job){ 0 };
}

static int learn_job(int fd)
{
	int r = whi_remote_open(&here.remote, fd);

	if (r < 0)
		return r;
	here.shared = (struct whi_mapper_job){
		.job = &here.remote.job,
		.store = whi_store_new(),
		.stop = &here.stop,
		.why = &here.why,
		.ngram = &here.ngram,
		.times = here.remote.job.explain ? &here.times : NULL,
		.l2_bytes = whi_cpu_l2_bytes(),
	};
	whi_words_rule_init(&here.shared.rule, here.remote.job.words);
	r = whi_words_choose(here.remote.isa, &here.shared.kernel);
	if (r == 0 && here.shared.store) {
		here.shared.store->combine = whi_combine_of(&here.remote.job);
		here.shared.store->times = here.shared.times;
		here.piece.packed.times = here.shared.times;
		here.mapper = whi_mapper_new(&here.shared);
	}
	if (here.mapper)
		return 0;
	forget_job();
	return r < 0 ? r : -ENOMEM;
}

static void tell_damage(const struct whi_unpack *unpack, struct whi_remote_wrong *wrong)
{
	wrong->error = -EBADMSG;
	wrong->damage = unpack->damage;
	wrong->at = unpack->pos;
	if (unpack->format)
		snprintf(wrong->format, sizeof(wrong->format), "%s", unpack->format->name);
}

/* Map what the split has of a file. */
static int map_piece(const struct whi_remote_file *remote, const struct whi_split *split, int fd,
		     struct whi_remote_done *done, struct whi_remote_wrong *wrong)
{
	struct whi_piece *piece = &here.piece;
	const struct whi_file file = {
		.path = (const char *)here.remote.bytes + remote->path,
		.size = remote->size,
		.packed = remote->packed,
	};
	int r = whi_piece_begin(piece, &file, split, !here.remote.job.no_decompress);

	if (r == 0)
		r = whi_piece_map(piece, here.mapper, fd, true);
	if (piece->is_packed) {
		done->bytes += whi_packed_progress(&piece->packed);
		done->unpacked += piece->packed.made;
		piece->packed.made = 0;
	} else {
		done->bytes += whi_source_progress(&piece->source);
	}
	/* What could not be read of a compressed file is missing in it. */
	wrong->error = whi_piece_source(piece)->error;
	if (r == WHI_PACKED_DAMAGED && !wrong->error)
		tell_damage(&piece->packed.unpack, wrong);
	return r < 0 ? r : 0;
}

/* Map a file that is a record. */
static int map_whole(const struct whi_remote_file *file, int fd, int *error)
{
	const char *path = (const char *)here.remote.bytes + file->path;
	struct whi_whole whole = {
		.buf = &here.mapper->buf,
		.stop = &here.stop,
		.bytes_done = &here.bytes,
	};
	int r = whi_buffer_reserve(&here.mapper->buf, WHI_READ_BYTES);

	if (r < 0)
		return r;
	*error = whi_whole_begin(&whole, fd, false);
	if (*error)
		return 0;
	r = whi_mapper_map_whole(here.mapper, &whole, path);
	*error = whole.error;
	return whole.error ? 0 : r;
}

static int map_file(const struct whi_remote_file *file, const struct whi_split *split,
		    struct whi_remote_done *done, struct whi_remote_wrong *wrong)
{
	const char *path = (const char *)here.remote.bytes + file->path;
	int fd, r;

	do {
		fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	} while (fd < 0 && errno == EINTR);
	if (fd < 0) {
		wrong->error = -errno;
		return 0;
	}
	(void)posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	if (here.remote.job.records == WH_MR_FILES)
		r = map_whole(file, fd, &wrong->error);
	else
		r = map_piece(file, split, fd, done, wrong);
	close(fd);
	return r;
}

static int map_split(const struct whi_split *split, struct whi_remote_done *done)
{
	uint64_t end = split->file + split->file_count;
	int r = 0;

	for (done->file_end = split->file; done->file_end < end && r == 0; done->file_end++) {
		struct whi_remote_wrong wrong = { .file = done->file_end };

		if (done->wrong_count == WHI_REMOTE_WRONG_MAX)
			break;
		r = map_file(&here.remote.files[done->file_end], split, done, &wrong);
		if (wrong.error)
			done->wrong[done->wrong_count++] = wrong;
	}
	return r;
}

static int map_blocks(const struct whi_remote_split *split, struct whi_remote_done *done)
{
	int r = 0;

	for (uint64_t i = 0; i < split->block_count && r >= 0; i++) {
		r = whi_mapper_map_block(here.mapper, split->block + i, &here.bytes);
		if (r <= 0)
			continue;
		done->block_end = split->block + i;
		break;
	}
	return r < 0 ? r : 0;
}

static enum wh_mr_ngram_version version_of(const struct whi_remote_split *split)
{
	enum wh_mr_ngram_version chosen = here.remote.job.ngram_version;

	return chosen ? chosen : (enum wh_mr_ngram_version)split->ngram_version;
}

/* Everything that was mapped, to a new memfd. Returns it, or -errno. */
static int send_records(void)
{
	int fd = memfd_create("records", MFD_CLOEXEC), r;

	if (fd < 0)
		return -errno;
	r = whi_mapper_flush(here.mapper);
	if (r == 0)
		r = whi_remote_write(here.shared.store, fd);
	if (r == 0)
		return fd;
	close(fd);
	return r;
}

/* What was met in lines; the bad one of a split is in one of its files. */
static void tell_ngrams(const struct whi_split *split, struct whi_remote_done *done)
{
	const struct whi_ngrams *ngrams = here.mapper->ngrams;
	const char *path = ngrams->bad.origin.path;
	uint64_t file = WHI_NGRAM_NO_FILE;

	for (uint64_t i = split->file; path && i < split->file + split->file_count; i++)
		if ((const char *)here.remote.bytes + here.remote.files[i].path == path)
			file = i;
	whi_ngram_tell(ngrams, file, &done->ngrams);
}

static int map_and_send(const struct whi_remote_split *split, struct whi_remote_done *done,
			int *ret_fd)
{
	uint64_t before = whi_mapper_records(here.mapper);
	int r;

	if (here.mapper->ngrams)
		whi_ngram_forget(here.mapper->ngrams, version_of(split));
	if (split->block_count)
		r = map_blocks(split, done);
	else
		r = map_split(&split->split, done);
	if (here.mapper->ngrams)
		tell_ngrams(&split->split, done);
	if (r == 0)
		r = send_records();
	done->records = whi_mapper_records(here.mapper) - before;
	done->bytes += here.bytes;
	if (r < 0)
		return r;
	*ret_fd = r;
	for (unsigned part = 0; part < WHI_PARTS; part++)
		whi_part_fini(&here.shared.store->parts[part]);
	return 0;
}

/* Where the time goes, since it was last told: what a front knows grows, the rest begins anew. */
static void tell_times(struct whi_remote_done *done, uint64_t cpu_began)
{
	struct whi_front *front = here.mapper->front;

	for (unsigned step = 0; step < WHI_STEPS; step++)
		done->step_ns[step] = atomic_exchange(&here.times.ns[step], 0);
	done->cpu_ns = whi_cpu_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu_began;
	if (!front)
		return;
	done->front = (struct whi_front_times){
		.tokenize_ns = front->tokenize_ns - here.front.tokenize_ns,
		.count_ns = front->count_ns - here.front.count_ns,
		.counted = front->total - here.front.counted,
		.entered = front->entered - here.front.entered,
	};
	here.front = (struct whi_front_times){ front->tokenize_ns, front->count_ns, front->total,
					       front->entered };
}

static int map_explained(const struct whi_remote_split *split, struct whi_remote_done *done,
			 int *ret_fd)
{
	uint64_t began = here.shared.times ? whi_cpu_ns(CLOCK_PROCESS_CPUTIME_ID) : 0;
	int r = map_and_send(split, done, ret_fd);

	if (here.shared.times)
		tell_times(done, began);
	return r;
}

/* The job of the registry; `io->result` has room for the answer. */
static int split_main(struct wh_job_io *io)
{
	const struct whi_remote_split *split = io->args;
	struct whi_remote_done *done = io->result;
	int r = 0;

	if (io->args_len != sizeof(*split) || io->result_max < sizeof(*done) || io->args_fd == 0)
		return -EINVAL;
	memset(done, 0, sizeof(*done));
	done->block_end = UINT64_MAX;
	io->result_len = sizeof(*done);
	here.why = (struct whi_why){ 0 };
	here.bytes = 0;
	if (here.mapper && here.remote.id != split->job)
		forget_job();
	if (!here.mapper)
		r = learn_job(io->args_fd);
	if (r == 0)
		r = map_explained(split, done, &io->result_fd);
	memcpy(done->why, here.why.text, sizeof(done->why));
	/* What is left in it belongs to a split that has failed. */
	if (r < 0 && here.mapper)
		forget_job();
	return r;
}

static struct wh_job split_job = { WHI_REMOTE_JOB, split_main, { 0, 0 } };

__attribute__((constructor)) static void add_split_job(void)
{
	wh_job_register(&split_job);
}
