/*
 * What the kernels share: from the offsets of tabs and newlines to counts. Compiled into each
 * kernel, for its instruction set.
 *
 * Numbers are read eight digits at a time in a general register: the bytes of a column are moved to
 * the top end of a word, what was behind them falls off, and zeros come in at the bottom, where the
 * leading digits are. A line for which that does not do, as it breaks a rule or has a number of
 * more than eight digits, goes to whi_ngrams_line.
 */
#pragma once

#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "mapreduce/hash.h"
#include "mapreduce/ngram.h"
#include "mapreduce/words.h"

#define WHI_NGRAM_INLINE static inline __attribute__((always_inline))

#define WHI_NGRAM_EACH(byte) (UINT64_C(0x0101010101010101) * (byte))

/* Bytes of a word, lowest first. */
#define WHI_NGRAM_WORD(a, b, c, d, e, f)                                                           \
	((uint64_t)(a) | (uint64_t)(b) << 8 | (uint64_t)(c) << 16 | (uint64_t)(d) << 24 |          \
	 (uint64_t)(e) << 32 | (uint64_t)(f) << 40)

enum {
	WHI_NGRAM_YEAR_BYTES = 5, /* a tab and four digits */
	/* From a record that is written to the cache line behind it, or the one behind that. */
	WHI_NGRAM_FETCH = 64 + sizeof(struct whi_short),
};

/* Nonzero in the top bit of some byte unless every byte of `x` is at most 9. */
WHI_NGRAM_INLINE uint64_t whi_ngram_above_9(uint64_t x)
{
	return ((x + WHI_NGRAM_EACH(0x80 - 10)) | x) & WHI_NGRAM_EACH(0x80);
}

/* The 1 to 8 digits at `at`, as numbers 0 to 9 from the top byte down; other lengths give
 * anything. */
WHI_NGRAM_INLINE uint64_t whi_ngram_digits(const uint8_t *at, uint32_t len)
{
	return (whi_hash_word(at) ^ WHI_NGRAM_EACH('0')) << ((64 - 8 * len) & 63);
}

/* Pairs, fours, all (as in D. Lemire, "Number Parsing at a Gigabyte per Second", 2021). */
WHI_NGRAM_INLINE uint64_t whi_ngram_value(uint64_t digits)
{
	digits = digits * 10 + (digits >> 8);
	return ((digits & 0x000000ff000000ff) * 0x000f424000000064 +
		((digits >> 16) & 0x000000ff000000ff) * 0x0000271000000001) >>
	       32;
}

/* Zero if `at` has a tab, four digits, and `after`. */
WHI_NGRAM_INLINE uint64_t whi_ngram_year_wrong(const uint8_t *at, uint8_t after)
{
	uint64_t x = whi_hash_word(at) ^ WHI_NGRAM_WORD('\t', '0', '0', '0', '0', after);

	return ((x + WHI_NGRAM_WORD(0x7f, 0x76, 0x76, 0x76, 0x76, 0x7f)) | x) &
	       WHI_NGRAM_WORD(0x80, 0x80, 0x80, 0x80, 0x80, 0x80);
}

/* Zero if `at`, where a tab or a newline is, has a tab and `len` digits, 1 to 7 of them. */
WHI_NGRAM_INLINE uint64_t whi_ngram_other_wrong(const uint8_t *at, uint32_t len)
{
	/* As digits are, a tab becomes a number up to 9; a newline does not. */
	uint64_t x = whi_hash_word(at) ^ (WHI_NGRAM_EACH('0') ^ '0' ^ '\t' ^ 8);

	return whi_ngram_above_9(x << ((56 - 8 * len) & 63)) | (len - 1 > 6);
}

WHI_NGRAM_INLINE int whi_ngram_year_number(const uint8_t *at)
{
	return (at[0] - '0') * 1000 + (at[1] - '0') * 100 + (at[2] - '0') * 10 + (at[3] - '0');
}

WHI_NGRAM_INLINE bool whi_ngram_has_zero(const struct whi_ngram_run *run)
{
	uint64_t low = run->low | ~run->low_mask, high = run->high | ~run->high_mask;

	return (((low - WHI_NGRAM_EACH(1)) & ~low) | ((high - WHI_NGRAM_EACH(1)) & ~high)) &
	       WHI_NGRAM_EACH(0x80);
}

/*
 * The halves of a short key are two values on all of their way from text to record. As a structure
 * they would be stored by halves and loaded whole, for which the processor has to wait until both
 * stores are done: that was two thirds of what counting shuffled lines took.
 */

/* Append a struct whi_short: its count is in the low bits of the last word, its hash above. */
WHI_NGRAM_INLINE void whi_ngram_send(struct whi_ngrams *ngrams, uint64_t low, uint64_t high,
				     uint64_t hash, uint64_t sum)
{
	uint8_t *record = whi_writer_record(ngrams->front->writer, WHI_SHORT,
					    (unsigned)(hash >> 56), sizeof(struct whi_short));
	uint64_t rest = (sum & WHI_SHORT_COUNT_MAX) | (hash >> 32) << 40;

	if (whi_unlikely(!record)) {
		ngrams->error = -ENOMEM;
		return;
	}
	memcpy(record, &low, sizeof(low));
	memcpy(record + 8, &high, sizeof(high));
	memcpy(record + 16, &rest, sizeof(rest));
	/* Where this partition's records will go on: 256 places are too many for the processor to
	 * see by itself that each of them only moves forward. */
	__builtin_prefetch(record + WHI_NGRAM_FETCH, 1);
}

/* Add to a key of the front table: nothing is flushed meanwhile. */
WHI_NGRAM_INLINE void whi_ngram_combine(struct whi_ngrams *ngrams, uint64_t low, uint64_t high,
					uint64_t hash, uint32_t sum)
{
	struct whi_front *front = ngrams->front;
	uint32_t used = front->used;
	uint32_t id = front->index[whi_front_place(hash)];

	if ((front->keys[id].low ^ low) | (front->keys[id].high ^ high)) {
		id = whi_front_find(front, low, high, hash);
		ngrams->bypass.inserted += front->used - used;
	}
	ngrams->bypass.seen++;
	/* The count is full: what it has become modulo 2^32 stays, the rest goes on its way. */
	if (whi_unlikely(__builtin_add_overflow(front->counts[id], sum, &front->counts[id])))
		whi_ngram_send(ngrams, low, high, hash, UINT64_C(1) << 32);
}

WHI_NGRAM_INLINE void whi_ngram_add_short(struct whi_ngrams *ngrams, uint64_t low, uint64_t high,
					  uint64_t sum)
{
	uint64_t hash = whi_hash_short(low, high);

	if (ngrams->bypass.on) {
		ngrams->bypass.seen++;
		ngrams->bypass.passed++;
	}
	if (whi_unlikely(sum > WHI_SHORT_COUNT_MAX))
		whi_ngrams_add_wide(ngrams, low, high, hash, sum);
	else if (ngrams->bypass.on || sum > UINT32_MAX)
		whi_ngram_send(ngrams, low, high, hash, sum);
	else
		whi_ngram_combine(ngrams, low, high, hash, (uint32_t)sum);
}

WHI_NGRAM_INLINE void whi_ngram_run_end(struct whi_ngrams *ngrams, struct whi_ngram_run *run)
{
	if (run->len == 0)
		return;
	if (run->bytes)
		whi_ngrams_add(ngrams, run->bytes, run->len, run->sum);
	else
		whi_ngram_add_short(ngrams, run->low, run->high, run->sum);
	run->len = 0;
	run->bytes = NULL;
}

/* A run that begins with the key at `at`. */
WHI_NGRAM_INLINE void whi_ngram_run_begin(struct whi_ngram_run *run, const uint8_t *at, size_t len)
{
	run->bytes = at;
	run->len = len;
	run->sum = 0;
	if (len > WHI_SHORT_MAX)
		return;
	run->low_mask = whi_words_masks[len].low;
	run->high_mask = whi_words_masks[len].high;
	run->low = whi_hash_word(at) & run->low_mask;
	run->high = whi_hash_word(at + 8) & run->high_mask;
	if (whi_likely(!whi_ngram_has_zero(run)))
		run->bytes = NULL;
}

/* The masks of a run whose key is in its two words. */
WHI_NGRAM_INLINE void whi_ngram_run_mask(struct whi_ngram_run *run)
{
	if (run->bytes || run->len == 0)
		return;
	run->len = run->high ? 16 - (size_t)__builtin_clzll(run->high) / 8
			     : 8 - (size_t)__builtin_clzll(run->low) / 8;
	run->low_mask = whi_words_masks[run->len].low;
	run->high_mask = whi_words_masks[run->len].high;
}

enum { WHI_NGRAM_LANES = 8 };

/* Short keys and match counts of lines one after another. */
struct whi_ngram_lanes {
	uint64_t low[WHI_NGRAM_LANES];
	uint64_t high[WHI_NGRAM_LANES];
	uint64_t matches[WHI_NGRAM_LANES];
};

/* End the run at the first of the lanes in `changes`, and begin one at the last of them, from which
 * on the caller adds the match counts. Between them are whole runs. */
WHI_NGRAM_INLINE void whi_ngram_change(struct whi_ngrams *ngrams,
				       const struct whi_ngram_lanes *lanes, unsigned changes)
{
	struct whi_ngram_run *run = &ngrams->run;
	unsigned lane = (unsigned)__builtin_ctz(changes);

	whi_ngram_run_end(ngrams, run);
	for (changes &= changes - 1; changes; changes &= changes - 1) {
		uint64_t low = lanes->low[lane], high = lanes->high[lane], sum = 0;
		unsigned next = (unsigned)__builtin_ctz(changes);

		for (; lane < next; lane++)
			sum += lanes->matches[lane];
		whi_ngram_add_short(ngrams, low, high, sum);
	}
	run->low = lanes->low[lane];
	run->high = lanes->high[lane];
	run->len = WHI_SHORT_MAX; /* or less: see whi_ngram_run_mask */
	run->sum = 0;
}

WHI_NGRAM_INLINE bool whi_ngram_run_is(const struct whi_ngram_run *run, const uint8_t *at,
				       size_t len)
{
	if (len != run->len)
		return false;
	if (whi_unlikely(run->bytes))
		return whi_bytes_equal(at, run->bytes, len);
	return (((whi_hash_word(at) & run->low_mask) ^ run->low) |
		((whi_hash_word(at + 8) & run->high_mask) ^ run->high)) == 0;
}

WHI_NGRAM_INLINE void whi_ngram_run_add(struct whi_ngrams *ngrams, struct whi_ngram_run *run,
					const uint8_t *at, size_t len, uint64_t number)
{
	if (!whi_ngram_run_is(run, at, len)) {
		whi_ngram_run_end(ngrams, run);
		whi_ngram_run_begin(run, at, len);
	}
	run->sum += number;
}

/* A line that the loop below does not understand. Returns the number of the border it ends at. */
WHI_NGRAM_INLINE size_t whi_ngram_skip(struct whi_ngrams *ngrams, const uint8_t *data, size_t start,
				       size_t border)
{
	while (data[whi_ngrams_borders(ngrams)[border]] != '\n')
		border++;
	whi_ngrams_line(ngrams, data + start, whi_ngrams_borders(ngrams)[border] - start);
	return border;
}

/* What lines have, known when the code is made. */
struct whi_ngram_form {
	unsigned columns; /* 4 in the version of 2012, 5 in that of 2009 */
	enum wh_mr_ngram_key by;
};

/* Lines that begin behind border number `i` - 1 and before border number `end`. Returns the number
 * of the border behind which the next line begins, plus 1. */
WHI_NGRAM_INLINE size_t whi_ngram_columns(struct whi_ngrams *ngrams, const uint8_t *data, size_t i,
					  size_t end, const struct whi_ngram_form form)
{
	const unsigned columns = form.columns;
	const enum wh_mr_ngram_key by = form.by;
	struct whi_ngram_run run = ngrams->run;
	const uint16_t *const borders = whi_ngrams_borders(ngrams);
	uint64_t records = 0;
	size_t start = (uint16_t)(borders[(ptrdiff_t)i - 1] + 1);

	for (; i < end; i++) {
		const uint16_t *border = borders + i;
		size_t first = border[0], third = border[2], newline = border[columns - 1];
		uint32_t matches_len = (uint32_t)(third - first) - WHI_NGRAM_YEAR_BYTES - 1;
		const uint8_t *matches = data + first + WHI_NGRAM_YEAR_BYTES + 1;
		uint64_t digits = whi_ngram_digits(matches, matches_len);
		uint64_t wrong = whi_ngram_year_wrong(data + first, '\t') |
				 whi_ngram_above_9(digits) | (matches_len - 1 > 7) |
				 (data[newline] ^ '\n') | (first == start);

		for (unsigned column = 3; column < columns; column++)
			wrong |= whi_ngram_other_wrong(data + border[column - 1],
						       (uint32_t)border[column] -
							       border[column - 1] - 1);
		if (whi_unlikely(wrong)) {
			i = whi_ngram_skip(ngrams, data, start, i);
			start = borders[i] + 1u;
			continue;
		}
		if (by == WH_MR_BY_YEAR) {
			int year = whi_ngram_year_number(data + first + 1);

			ngrams->years[year] += whi_ngram_value(digits);
			ngrams->years_seen[year] = true;
		} else {
			size_t key_end = first;

			if (by == WH_MR_BY_NGRAM_AND_YEAR)
				key_end += WHI_NGRAM_YEAR_BYTES;
			whi_ngram_run_add(ngrams, &run, data + start, key_end - start,
					  whi_ngram_value(digits));
		}
		records++;
		i += columns - 1;
		start = newline + 1;
	}
	ngrams->run = run;
	ngrams->records += records;
	return i;
}

/* A group of the version of 2020, from its tab to the border after it. Adds its match count to
 * `sum`. Returns zero if it is one that can be read here. */
WHI_NGRAM_INLINE uint64_t whi_ngram_group(const uint8_t *data, size_t tab, size_t end,
					  uint64_t *sum)
{
	const uint8_t *matches = data + tab + WHI_NGRAM_YEAR_BYTES + 1;
	uint64_t commas = whi_hash_word(matches) ^ WHI_NGRAM_EACH(',');
	uint64_t digits;
	uint32_t len, volumes;

	/* The lowest byte that is zero; there is always one to be found, if a false one. */
	commas = ((commas - WHI_NGRAM_EACH(1)) & ~commas & WHI_NGRAM_EACH(0x80)) | UINT64_C(1)
											   << 63;
	len = (uint32_t)__builtin_ctzll(commas) / 8;
	volumes = (uint32_t)(end - tab) - WHI_NGRAM_YEAR_BYTES - 1 - len - 1;
	digits = whi_ngram_digits(matches, len);
	*sum += whi_ngram_value(digits);
	return whi_ngram_year_wrong(data + tab, ',') | whi_ngram_above_9(digits) | (len == 0) |
	       (matches[len] ^ ',') | (volumes - 1 > 7) |
	       whi_ngram_above_9(whi_ngram_digits(matches + len + 1, volumes));
}

/* Lines of the version of 2020: an ngram's match counts are on one. */
WHI_NGRAM_INLINE void whi_ngram_groups(struct whi_ngrams *ngrams, const uint8_t *data, size_t count)
{
	const uint16_t *borders = whi_ngrams_borders(ngrams);
	struct whi_ngram_run run = ngrams->run;
	size_t start = 0;

	for (size_t i = 0; i < count; i++) {
		size_t first = borders[i], begin = i;
		uint64_t sum = 0, wrong = first == start || data[first] != '\t';

		for (; data[borders[i]] == '\t'; i++)
			wrong |= whi_ngram_group(data, borders[i], borders[i + 1], &sum);
		if (whi_unlikely(wrong)) {
			whi_ngrams_line(ngrams, data + start, borders[i] - start);
		} else {
			whi_ngram_run_add(ngrams, &run, data + start, first - start, sum);
			ngrams->records += i - begin;
		}
		start = borders[i] + 1u;
	}
	ngrams->run = run;
}

#define WHI_NGRAM_FORM(columns, by) ((struct whi_ngram_form){ columns, by })

/* The `lines` of a kernel. */
WHI_NGRAM_INLINE void whi_ngram_lines(struct whi_ngrams *ngrams, const uint8_t *data, size_t count)
{
	enum wh_mr_ngram_key by = ngrams->job->ngram_key;
	bool old = ngrams->version == WH_MR_NGRAM_2009;

	if (ngrams->version == WH_MR_NGRAM_2020)
		whi_ngram_groups(ngrams, data, count);
	else if (by == WH_MR_BY_YEAR)
		whi_ngram_columns(ngrams, data, 0, count,
				  WHI_NGRAM_FORM(old ? 5 : 4, WH_MR_BY_YEAR));
	else if (by == WH_MR_BY_NGRAM_AND_YEAR)
		whi_ngram_columns(ngrams, data, 0, count,
				  WHI_NGRAM_FORM(old ? 5 : 4, WH_MR_BY_NGRAM_AND_YEAR));
	else if (old)
		whi_ngram_columns(ngrams, data, 0, count, WHI_NGRAM_FORM(5, WH_MR_BY_NGRAM));
	else
		whi_ngram_columns(ngrams, data, 0, count, WHI_NGRAM_FORM(4, WH_MR_BY_NGRAM));
}
