/*
 * The last pass over a partition: its keys are brought together and reduced. Their rows are dealt
 * to slices (slices.h), at once where memory is short, or become sorted runs where only a few of
 * the first ones are wanted. A partition on disk is taken piece by piece; a piece that does not fit
 * in memory is partitioned again by the next bits of the keys' hash; where these are used up, or
 * tell nothing apart, it is sorted on disk.
 */
#pragma once

#include "mapreduce/emit.h"
#include "mapreduce/merge.h"
#include "mapreduce/sorter.h"

enum {
	/* Of whi_hash_bytes: the top 8 have chosen the partition, the low 24 are for tables. */
	WHI_PASS_BITS = 32,
	WHI_PIECES_MAX = 16,
};

/* One worker's; one partition after another. */
enum {
	WHI_PASS_FEW = 16, /* one of so many rows is */
};

struct whi_pass {
	struct whi_store *store;
	struct whi_spill *spill;
	const struct wh_mr_job *job;
	struct whi_dealer *dealer;    /* of rows; NULL: they become `runs` */
	struct whi_runs *runs;	      /* of the partition, in the job's order */
	bool keeps;		      /* rows stay in memory if they are there */
	uint64_t rows;		      /* of it, before any are left out */
	uint64_t bytes;		      /* of it; 0 if it became runs on disk */
	struct wh_mr_emitter emitter; /* of reduce */
	struct whi_part reduced;      /* of a partition on disk: what is being reduced */
	uint64_t result_bytes;	      /* in memory, emitted by reduce */
	unsigned depth;		      /* of pieces in pieces */
	struct whi_pool pool;	      /* of what is merged in memory */
};

/* A key that stays while rows go by. All zero is valid and empty; `bytes` is to be freed. */
struct whi_key_copy {
	struct wh_mr_bytes key;
	uint8_t *bytes;
	size_t room;
};

/* Returns 0 or -ENOMEM. */
int whi_key_copy(struct whi_key_copy *copy, const struct wh_mr_bytes *key);

/* Bring the keys of a partition together, to which nobody writes any more, and reduce them. What is
 * not to be kept in memory goes as whi_pass_out has it. Returns 0, -ECANCELED, -errno, or the first
 * negative result of the job's reduce. */
int whi_pass_reduce(struct whi_pass *pass, unsigned part, struct whi_runs *runs);

/* What is in memory of a partition is dealt, or becomes one of `runs`, and is freed; of too many
 * runs there will be fewer. Returns as whi_pass_reduce. */
int whi_pass_out(struct whi_pass *pass, unsigned part, struct whi_runs *runs);

/* The same for the rows of a part that is not the store's, which need not be all of a partition. */
int whi_pass_put(struct whi_pass *pass, struct whi_part *part);

/* For rows that do not meet in memory: they go to where the pass's go, `sorter` has room for as
 * many at a time. */
void whi_pass_sorter(struct whi_pass *pass, struct whi_sorter *ret);

/* Pieces that a stream is partitioned into. */
struct whi_pieces {
	unsigned bits_left; /* of the hash, after those that choose the piece */
	unsigned count;
	struct whi_stream streams[WHI_PIECES_MAX];
	struct whi_stream_writer writers[WHI_PIECES_MAX];
};

/* For what does not fit of `stream`, by the next bits of its keys' hashes. NULL when out of
 * memory. */
struct whi_pieces *whi_pieces_new(struct whi_pass *pass, const struct whi_stream *stream,
				  unsigned bits_left);
void whi_pieces_free(struct whi_pieces *pieces);
int whi_pieces_add(struct whi_pieces *pieces, const struct wh_mr_row *row, bool pair);

/* Write all of it, so that the pieces can be read. */
int whi_pieces_end(struct whi_pieces *pieces);

/* Whether it is not worth while to take the piece's keys apart by the rest of their hashes. */
bool whi_pieces_is_stuck(const struct whi_pass *pass, const struct whi_pieces *pieces,
			 unsigned piece);

/* The rows of a stream, which is given back, to the pass's slices or runs: of counted keys, of
 * pairs, and of pairs to be reduced. Return as whi_pass_reduce. */
int whi_pass_counts(struct whi_pass *pass, struct whi_stream *stream);
int whi_pass_pairs(struct whi_pass *pass, struct whi_stream *stream);
int whi_pass_groups(struct whi_pass *pass, struct whi_stream *stream);

/* What reduce has emitted so far goes. */
int whi_pass_results(struct whi_pass *pass, struct whi_part *part);
