/* The ngram kernel for processors with AVX-512 (F, BW, VL, VBMI2): 64 bytes a step, offsets by
 * compressing a register of byte numbers.
 *
 * Lines of the version of 2012 are read eight at a time, a lane each: their four borders are what a
 * lane of 64 bits holds. What the lanes cannot tell at once goes through the loop of ngram_lines.h,
 * which also has what of a region is less than eight lines. */
#include <immintrin.h>

#include "mapreduce/ngram_lines.h"
#include "mapreduce/ngram_x86.h"

#define KERNEL __attribute__((target("avx512f,avx512bw,avx512vl,avx512vbmi2,avx2,bmi,bmi2,popcnt")))

enum { STEP = 64, HALF = 32 };

/* 0, 1, .. 63 */
static const uint8_t byte_numbers[STEP] = {
	0,  1,	2,  3,	4,  5,	6,  7,	8,  9,	10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21,
	22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43,
	44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63,
};

KERNEL static inline void put_half(uint16_t *to, __m256i numbers, __m512i base)
{
	_mm512_storeu_si512(to, _mm512_add_epi16(_mm512_cvtepu8_epi16(numbers), base));
}

/* Write `base` plus the number of each bit set in `bits` to `to`. Returns how many. */
KERNEL static inline size_t put_offsets(uint16_t *to, uint64_t bits, __m512i numbers, __m512i base)
{
	__m512i packed = _mm512_maskz_compress_epi8(bits, numbers);
	size_t count = (size_t)_mm_popcnt_u64(bits);

	put_half(to, _mm512_castsi512_si256(packed), base);
	if (whi_unlikely(count > HALF))
		put_half(to + HALF, _mm512_extracti64x4_epi64(packed, 1), base);
	return count;
}

KERNEL static size_t borders(uint16_t *to, const uint8_t *data, size_t len)
{
	const __m512i numbers = _mm512_loadu_si512(byte_numbers);
	const __m512i tab = _mm512_set1_epi8('\t'), newline = _mm512_set1_epi8('\n');
	__m512i base = _mm512_setzero_si512();
	size_t count = 0;

	for (size_t i = 0; i < len; i += STEP) {
		__m512i bytes = _mm512_loadu_si512(data + i);
		uint64_t found = _mm512_cmpeq_epi8_mask(bytes, tab) |
				 _mm512_cmpeq_epi8_mask(bytes, newline);

		if (len - i < STEP)
			found &= (UINT64_C(1) << (len - i)) - 1;
		count += put_offsets(to + count, found, numbers, base);
		base = _mm512_add_epi16(base, _mm512_set1_epi16(STEP));
	}
	return count;
}

/* What is looked at of eight lines at once: each has a lane of 64 bits. */
struct lanes {
	__m512i low; /* the first 16 bytes of their keys, or zeros behind */
	__m512i high;
	__m512i years;
	__m512i matches;
	uint64_t special; /* not zero: some key is not short */
};

enum { LANES = WHI_NGRAM_LANES, LINE_BORDERS = 4, GROUP_BORDERS = LANES * LINE_BORDERS };

KERNEL static inline __m512i each(uint64_t number)
{
	return _mm512_set1_epi64((long long)number);
}

KERNEL static inline __m512i gather(const uint8_t *data, __m512i at)
{
	return _mm512_i64gather_epi64(at, data, 1);
}

/* Four numbers of 16 bits as they are in a lane. */
#define QUARTERS(a, b, c, d)                                                                       \
	((uint64_t)(a) | (uint64_t)(b) << 16 | (uint64_t)(c) << 32 | (uint64_t)(d) << 48)

KERNEL static inline __m512i first_quarters(__m512i quarters)
{
	return _mm512_and_si512(quarters, each(0xffff));
}

KERNEL static inline __m512i third_quarters(__m512i quarters)
{
	return first_quarters(_mm512_srli_epi64(quarters, 32));
}

/* Pairs, fours, all, of digits as whi_ngram_digits gives them. */
KERNEL static inline __m512i values_of(__m512i digits)
{
	__m512i pairs = _mm512_maddubs_epi16(digits, _mm512_set1_epi16(10 | 1 << 8));
	__m512i fours = _mm512_madd_epi16(pairs, _mm512_set1_epi32(100 | 1 << 16));

	return _mm512_add_epi64(_mm512_mul_epu32(fours, each(10000)), _mm512_srli_epi64(fours, 32));
}

/* Read the columns behind the ngrams. `ends` has four borders a line, and `lens` how long what ends
 * at each of them is, with the border. Returns zero if they can be read here: a year of four
 * digits, a match count of 1 to 8, a volume count of 1 to 6, and nothing else.
 *
 * Each byte is brought to a number of at most 9 if it is right, and to a larger one if it is not:
 * digits without '0'; borders, which are tabs or newlines, to 8 or 11. */
KERNEL static inline uint64_t read_numbers(const uint8_t *data, __m512i ends, __m512i lens,
					   struct lanes *ret)
{
	const uint64_t tab = '0' ^ '\t' ^ 8, newline = '0' ^ '\n' ^ 8;
	const __m512i least = each(QUARTERS(2, 5, 2, 2));
	const __m512i beyond = each(QUARTERS(WHI_REGION_BYTES, 0, 7, 5));
	const __m512i zeros = each(WHI_NGRAM_EACH('0'));
	__m512i first = first_quarters(ends);
	__m512i shifts = _mm512_slli_epi16(_mm512_sub_epi16(each(QUARTERS(0, 0, 9, 7)), lens), 3);
	__m512i years = _mm512_xor_si512(gather(data, first),
					 each(WHI_NGRAM_EACH('0') ^ tab ^ tab << 40));
	__m512i matches = _mm512_xor_si512(gather(data + WHI_NGRAM_YEAR_BYTES + 1, first), zeros);
	__m512i volumes = _mm512_xor_si512(gather(data, third_quarters(ends)),
					   each(WHI_NGRAM_EACH('0') ^ tab));
	__m512i most;

	matches = _mm512_sllv_epi64(matches, third_quarters(shifts));
	volumes = _mm512_sllv_epi64(volumes, _mm512_srli_epi64(shifts, 48));
	volumes = _mm512_xor_si512(volumes, each(newline << 56));
	most = _mm512_max_epu8(_mm512_max_epu8(matches, volumes), _mm512_slli_epi64(years, 16));
	ret->matches = values_of(matches);
	ret->years = values_of(_mm512_slli_epi64(_mm512_srli_epi64(years, 8), 32));
	return _mm512_cmpgt_epu8_mask(most, _mm512_set1_epi8(9)) |
	       _mm512_cmpgt_epu16_mask(_mm512_sub_epi16(lens, least), beyond);
}

/* Read keys of `lens` bytes at `starts`. */
KERNEL static inline void read_keys(const uint8_t *data, __m512i starts, __m512i lens,
				    struct lanes *ret)
{
	__m512i bits = _mm512_slli_epi64(lens, 3);
	__m512i behind_low = _mm512_sllv_epi64(each(UINT64_MAX), bits);
	__m512i behind_high = _mm512_sllv_epi64(each(UINT64_MAX),
						_mm512_subs_epu16(bits, each(64)));
	__m512i low = gather(data, starts), high = gather(data + 8, starts);
	__m512i least = _mm512_min_epu8(_mm512_or_si512(low, behind_low),
					_mm512_or_si512(high, behind_high));

	ret->low = _mm512_andnot_si512(behind_low, low);
	ret->high = _mm512_andnot_si512(behind_high, high);
	ret->special = _mm512_cmpgt_epu64_mask(lens, each(WHI_SHORT_MAX)) |
		       _mm512_testn_epi8_mask(least, least);
}

/* Read eight lines whose borders these are. Returns zero if they are as they should be. */
KERNEL static inline uint64_t read_lanes(const uint8_t *data, const uint16_t *borders,
					 enum wh_mr_ngram_key by, struct lanes *ret)
{
	__m512i ends = _mm512_loadu_si512(borders), before = _mm512_loadu_si512(borders - 1);
	__m512i lens = _mm512_sub_epi16(ends, before);
	__m512i starts = _mm512_add_epi16(before, _mm512_set1_epi16(1));
	uint64_t beside = by == WH_MR_BY_NGRAM_AND_YEAR ? WHI_NGRAM_YEAR_BYTES : 0;
	uint64_t wrong = read_numbers(data, ends, lens, ret);

	if (by == WH_MR_BY_YEAR)
		return wrong;
	read_keys(data, first_quarters(starts),
		  _mm512_add_epi64(first_quarters(lens), each(beside - 1)), ret);
	return wrong;
}

/* The lanes whose keys are not those of the lanes before them; that before the first one is the
 * last one of `before`. */
KERNEL static inline unsigned changes_of(const struct lanes *lanes, const struct lanes *before)
{
	__m512i low = _mm512_alignr_epi64(lanes->low, before->low, LANES - 1);
	__m512i high = _mm512_alignr_epi64(lanes->high, before->high, LANES - 1);

	return _mm512_cmpneq_epi64_mask(lanes->low, low) |
	       _mm512_cmpneq_epi64_mask(lanes->high, high);
}

/* Counting lines of the version of 2012, eight at a time where they allow it. */
struct counting {
	struct whi_ngrams *ngrams;
	const uint8_t *data;
	enum wh_mr_ngram_key by;
	size_t at;    /* the number of the border that ends the next line's ngram */
	__m512i sums; /* of the run, besides what is in it */
	struct lanes before;
};

KERNEL static inline void sum_up(struct counting *counting)
{
	counting->ngrams->run.sum += (uint64_t)_mm512_reduce_add_epi64(counting->sums);
	counting->sums = _mm512_setzero_si512();
}

/* No key is like the one before. */
KERNEL static inline void forget(struct counting *counting)
{
	counting->before = (struct lanes){ .low = _mm512_setzero_si512(),
					   .high = _mm512_setzero_si512() };
}

/* Lines one at a time, those that begin before border number `end`. */
KERNEL static inline void count_each(struct counting *counting, size_t end)
{
	sum_up(counting);
	whi_ngram_run_mask(&counting->ngrams->run);
	counting->at = whi_ngram_columns(counting->ngrams, counting->data, counting->at, end,
					 WHI_NGRAM_FORM(LINE_BORDERS, counting->by));
	forget(counting);
}

KERNEL static inline void count_changes(struct counting *counting, const struct lanes *lanes,
					unsigned changes)
{
	struct whi_ngram_lanes stored;
	unsigned first = (unsigned)__builtin_ctz(changes),
		 last = 31u - (unsigned)__builtin_clz(changes);

	counting->sums = _mm512_mask_add_epi64(counting->sums, (__mmask8)((1u << first) - 1),
					       counting->sums, lanes->matches);
	sum_up(counting);
	_mm512_storeu_si512(stored.low, lanes->low);
	_mm512_storeu_si512(stored.high, lanes->high);
	_mm512_storeu_si512(stored.matches, lanes->matches);
	whi_ngram_change(counting->ngrams, &stored, changes);
	counting->sums = _mm512_maskz_mov_epi64((__mmask8)(0xff << last), lanes->matches);
}

KERNEL static inline void count_lanes(struct counting *counting, const struct lanes *lanes)
{
	unsigned changes = changes_of(lanes, &counting->before);

	if (whi_likely(changes == 0))
		counting->sums = _mm512_add_epi64(counting->sums, lanes->matches);
	else
		count_changes(counting, lanes, changes);
	counting->before = *lanes;
}

/* Some keys are not short: those are compared as they lie in the text. */
KERNEL static inline void count_special(struct counting *counting, const struct lanes *lanes)
{
	const uint16_t *borders = whi_ngrams_borders(counting->ngrams) + counting->at;
	struct whi_ngram_run *run = &counting->ngrams->run;
	uint64_t matches[LANES];

	sum_up(counting);
	whi_ngram_run_mask(run);
	_mm512_storeu_si512(matches, lanes->matches);
	for (unsigned lane = 0; lane < LANES; lane++, borders += LINE_BORDERS) {
		size_t start = (uint16_t)(borders[-1] + 1), end = borders[0];

		if (counting->by == WH_MR_BY_NGRAM_AND_YEAR)
			end += WHI_NGRAM_YEAR_BYTES;
		whi_ngram_run_add(counting->ngrams, run, counting->data + start, end - start,
				  matches[lane]);
	}
	forget(counting);
}

KERNEL static inline void count_keys(struct whi_ngrams *ngrams, const uint8_t *data, size_t count,
				     enum wh_mr_ngram_key by)
{
	struct counting counting = { .ngrams = ngrams, .data = data, .by = by };

	counting.sums = _mm512_setzero_si512();
	forget(&counting);
	while (counting.at + GROUP_BORDERS <= count) {
		const uint16_t *borders = whi_ngrams_borders(ngrams) + counting.at;
		struct lanes lanes;
		uint64_t wrong = read_lanes(data, borders, by, &lanes);

		if (whi_unlikely(wrong)) {
			count_each(&counting, counting.at + GROUP_BORDERS);
			continue;
		}
		if (lanes.special)
			count_special(&counting, &lanes);
		else
			count_lanes(&counting, &lanes);
		ngrams->records += LANES;
		counting.at += GROUP_BORDERS;
	}
	count_each(&counting, count);
}

KERNEL static inline void count_years(struct whi_ngrams *ngrams, const uint8_t *data, size_t count)
{
	size_t at = 0;

	while (at + GROUP_BORDERS <= count) {
		uint64_t years[LANES], matches[LANES];
		struct lanes lanes;

		if (whi_unlikely(read_lanes(data, whi_ngrams_borders(ngrams) + at, WH_MR_BY_YEAR,
					    &lanes))) {
			at = whi_ngram_columns(ngrams, data, at, at + GROUP_BORDERS,
					       WHI_NGRAM_FORM(LINE_BORDERS, WH_MR_BY_YEAR));
			continue;
		}
		_mm512_storeu_si512(years, lanes.years);
		_mm512_storeu_si512(matches, lanes.matches);
		for (unsigned lane = 0; lane < LANES; lane++) {
			ngrams->years[years[lane]] += matches[lane];
			ngrams->years_seen[years[lane]] = true;
		}
		ngrams->records += LANES;
		at += GROUP_BORDERS;
	}
	whi_ngram_columns(ngrams, data, at, count, WHI_NGRAM_FORM(LINE_BORDERS, WH_MR_BY_YEAR));
}

KERNEL static void lines(struct whi_ngrams *ngrams, const uint8_t *data, size_t count)
{
	enum wh_mr_ngram_key by = ngrams->job->ngram_key;

	if (ngrams->version != WH_MR_NGRAM_2012)
		whi_ngram_lines(ngrams, data, count);
	else if (by == WH_MR_BY_YEAR)
		count_years(ngrams, data, count);
	else if (by == WH_MR_BY_NGRAM)
		count_keys(ngrams, data, count, WH_MR_BY_NGRAM);
	else
		count_keys(ngrams, data, count, WH_MR_BY_NGRAM_AND_YEAR);
}

const struct whi_ngram_kernel whi_ngram_avx512 = {
	.name = "avx512",
	.borders = borders,
	.lines = lines,
};
