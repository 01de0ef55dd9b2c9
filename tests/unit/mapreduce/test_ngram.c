/* The ngram kernels against the independent count: every kernel that this processor can run, over
 * files chosen so that lines meet every border there is, with numbers of every length, and with
 * everything that can be wrong with a line.
 *
 * The seed of random files is printed and may be given as the argument. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arch/cpu.h"
#include "base/alloc.h"
#include "mapreduce/bypass.h"
#include "support/oracle_ngram.h"
#include "support/task_test.h"
#include "unit/mapreduce/count_blocks.h"

static uint64_t seed;

/* Count as `cuts` says with every kernel; the text, or the first bad line, must be the oracle's. */
static void same_as_oracle(const void *data, size_t len, const struct wh_mr_job *options,
			   const struct cuts *given)
{
	struct oracle_ngram oracle = {
		.by = options->ngram_key,
		.version = options->ngram_version,
		.skip_bad = options->skip_bad,
	};
	struct wh_mr_job job = *options;
	struct ngrams_met met;
	struct cuts cuts = *given;
	size_t expected_len = 0, count_len;
	char *expected = oracle_ngram(&oracle, data, len, &expected_len);

	job.records = WH_MR_NGRAMS;
	cuts.ngrams = &job;
	cuts.met = &met;
	for (size_t i = 0; whi_words_kernels[i]; i++) {
		const struct whi_words_kernel *kernel = whi_words_kernels[i];
		char *count;

		if (kernel->needs & ~whi_cpu_features())
			continue;
		count = count_blocks(kernel, data, len, &cuts, &count_len);
		if (!count != !expected || (count && (count_len != expected_len ||
						      memcmp(count, expected, count_len) != 0)))
			fail_msg("%s: %zu bytes, splits of %zu, buffers of %zu, seed %llu: %s",
				 kernel->name, len, cuts.split_bytes, cuts.buffer_bytes,
				 (unsigned long long)seed, met.reason ? met.reason : "");
		if (count) {
			assert_int_equal(met.records, oracle.records);
			assert_int_equal(met.skipped, oracle.skipped);
		} else {
			assert_int_equal(met.error, -EBADMSG);
			assert_non_null(met.reason);
		}
		free(count);
	}
	free(expected);
}

static void counts_are(const char *file, const struct wh_mr_job *options, const char *expected)
{
	struct wh_mr_job job = *options;
	struct cuts cuts = { .ngrams = &job };

	job.records = WH_MR_NGRAMS;
	for (size_t i = 0; whi_words_kernels[i]; i++) {
		size_t len;
		char *count;

		if (whi_words_kernels[i]->needs & ~whi_cpu_features())
			continue;
		count = count_blocks(whi_words_kernels[i], file, strlen(file), &cuts, &len);
		assert_non_null(count);
		if (len != strlen(expected) || memcmp(count, expected, len) != 0)
			fail_msg("%s: got %.*s", whi_words_kernels[i]->name, (int)len, count);
		free(count);
	}
}

/* Alone and behind a good line, the file is refused with this reason, and where the line is. */
static void is_bad(const char *line, const char *reason)
{
	static const char good[] = "good\t1999\t17\t3\n";
	struct wh_mr_job job = { .records = WH_MR_NGRAMS };
	struct ngrams_met met;
	struct cuts cuts = { .ngrams = &job, .met = &met };
	char file[256];
	size_t len;

	for (size_t i = 0; whi_words_kernels[i]; i++) {
		if (whi_words_kernels[i]->needs & ~whi_cpu_features())
			continue;
		snprintf(file, sizeof(file), "%s%s\n", good, line);
		assert_null(count_blocks(whi_words_kernels[i], file, strlen(file), &cuts, &len));
		assert_int_equal(met.error, -EBADMSG);
		assert_string_equal(met.reason, reason);
		assert_int_equal(met.bad_offset, sizeof(good) - 1);
	}
}

static const struct wh_mr_job by_ngram = { 0 };
static const struct wh_mr_job by_year = { .ngram_key = WH_MR_BY_YEAR };
static const struct wh_mr_job by_both = { .ngram_key = WH_MR_BY_NGRAM_AND_YEAR };
static const struct wh_mr_job skipping = { .skip_bad = true };
static const struct wh_mr_job skipping_2012 = { .skip_bad = true,
						.ngram_version = WH_MR_NGRAM_2012 };
static const struct wh_mr_job *const all_keys[] = { &by_ngram, &by_year, &by_both, NULL };

static const char file_2012[] = "new york\t1987\t12\t3\nnew york\t1988\t5\t3\nNew\t1987\t17\t3\n"
				"a\t1505\t3\t1\na\t1987\t100\t1\n";
static const char file_2009[] = "new york\t1987\t12\t4\t3\nnew york\t1988\t5\t4\t3\n"
				"New\t1987\t17\t4\t3\na\t1505\t3\t1\t1\na\t1987\t100\t2\t1\n";
static const char file_2020[] = "new york\t1987,12,3\t1988,5,3\nNew\t1987,17,3\n"
				"a\t1505,3,1\t1987,100,1\n";

static void each_version_is_told_and_counted(void **state)
{
	const char *const files[] = { file_2009, file_2012, file_2020 };

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		counts_are(files[i], &by_ngram, "a\t103\nNew\t17\nnew york\t17\n");
		counts_are(files[i], &by_year, "1987\t129\n1988\t5\n1505\t3\n");
		counts_are(files[i], &by_both,
			   "a\t1987\t100\nNew\t1987\t17\nnew york\t1987\t12\nnew york\t1988\t5\n"
			   "a\t1505\t3\n");
	}
}

static void an_empty_file_has_no_counts(void **state)
{
	(void)state;
	counts_are("", &by_ngram, "");
}

static void the_last_line_needs_no_newline(void **state)
{
	(void)state;
	counts_are("b\t1987\t12\t3\na\t1987\t13\t3", &by_ngram, "a\t13\nb\t12\n");
	counts_are("a\t1987,13,3\t1988,1,1", &by_ngram, "a\t14\n");
}

static void counts_of_nothing_are_counts(void **state)
{
	(void)state;
	counts_are("a\t1987\t0\t0\nb\t1987\t00\t0\n", &by_ngram, "a\t0\nb\t0\n");
	counts_are("a\t1987\t0\t0\n", &by_year, "1987\t0\n");
}

static void keys_are_bytes(void **state)
{
	static const char file[] = "a\0\t1987\t1\t1\na\t1987\t2\t1\na\0\0\t1987\t4\t1\n"
				   "\0\t1987\t8\t1\na\0\t1987\t16\t1\n\xff\xfe\t1987\t32\t1\n"
				   "0123456789abcde\0\t1987\t64\t1\n"
				   "0123456789abcde\t1987\t128\t1\n";

	(void)state;
	for (unsigned i = 0; all_keys[i]; i++)
		same_as_oracle(file, sizeof(file) - 1, all_keys[i], &(struct cuts){ 0 });
}

/* The classic mistake. Each length once with 9s, which a wrong shift shows, once with digits that
 * all differ, and with leading zeros, in each column, alone and among lines that differ in nothing
 * else. */
static void numbers_of_every_length_are_read(void **state)
{
	static const char *const forms[][2] = {
		{ "w\t1987\t", "\t1\n" },	  { "w\t1987\t1\t", "\n" },
		{ "w\t1987\t", "\t7\t1\n" },	  { "w\t1987\t1\t", "\t1\n" },
		{ "w\t1987\t1\t1\t", "\n" },	  { "w\t1987,", ",1\t1988,1,1\n" },
		{ "w\t1988,1,1\t1987,1,", "\n" },
	};
	static const char *const digits[] = { "99999999999999999999", "12345678901234567890",
					      "00000000000000000001", "90817263544536271809" };
	char file[1024];

	(void)state;
	for (unsigned form = 0; form < sizeof(forms) / sizeof(forms[0]); form++)
		for (unsigned kind = 0; kind < 4; kind++)
			for (int len = 0; len <= 20; len++) {
				int size = snprintf(file, sizeof(file), "%s%.*s%s", forms[form][0],
						    len, digits[kind], forms[form][1]);
				int more = size;

				for (unsigned i = 0; i < 17; i++)
					more += snprintf(file + more, sizeof(file) - (size_t)more,
							 "%s%.*s%s", forms[form][0],
							 i == 10 ? len : 1, digits[kind],
							 forms[form][1]);
				for (unsigned i = 0; all_keys[i]; i++) {
					same_as_oracle(file, (size_t)size, all_keys[i],
						       &(struct cuts){ 0 });
					same_as_oracle(file + size, (size_t)(more - size),
						       all_keys[i], &(struct cuts){ 0 });
				}
			}
}

static void years_of_every_length_are_read(void **state)
{
	(void)state;
	counts_are("a\t7\t1\t1\na\t07\t2\t1\na\t0007\t4\t1\na\t1987\t8\t1\na\t0\t16\t1\n", &by_year,
		   "0\t16\n1987\t8\n7\t7\n");
	is_bad("a\t12345\t1\t1", "the year is not a number of 1 to 4 digits");
	is_bad("a\t\t1\t1", "the year is not a number of 1 to 4 digits");
	is_bad("a\t-987\t1\t1", "the year is not a number of 1 to 4 digits");
}

/* Sums over the limits of what records hold: 32 bits, 40 bits, 64 bits. */
static void large_sums_are_exact(void **state)
{
	(void)state;
	counts_are("a\t1987\t4294967295\t1\na\t1987\t1\t1\nb\t1\t1\t1\na\t1987\t4294967295\t1\n"
		   "b\t1\t1099511627775\t1\nb\t1987\t5\t1\n",
		   &by_ngram, "b\t1099511627781\na\t8589934591\n");
	counts_are("a\t1987\t1099511627775\t1\nb\t1987\t2\t1\na\t1987\t1099511627775\t1\n"
		   "a\t1987\t18446741874686296000\t1\na\t1987\t7\t1\n",
		   &by_ngram, "a\t18446744073709551557\nb\t2\n");
}

static int error_of(const char *file, const struct wh_mr_job *options, const struct cuts *given)
{
	struct wh_mr_job job = *options;
	struct ngrams_met met;
	struct cuts cuts = *given;
	const struct whi_words_kernel *kernel;
	size_t len;

	job.records = WH_MR_NGRAMS;
	cuts.ngrams = &job;
	cuts.met = &met;
	assert_int_equal(whi_words_choose(NULL, &kernel), 0);
	free(count_blocks(kernel, file, strlen(file), &cuts, &len));
	return met.error;
}

static void a_sum_that_is_too_large_is_an_error(void **state)
{
	static const char *const files[] = {
		"a\t1987\t18446744073709551614\t1\na\t1988\t1\t1\n",
		"a-long-ngram-of-some-words\t1\t18446744073709551614\t1\n"
		"a-long-ngram-of-some-words\t1\t18446744073709551614\t1\n",
	};

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(error_of(files[i], &by_ngram, &(struct cuts){ 0 }), -EOVERFLOW);
		/* The first two are of two years. */
		assert_int_equal(error_of(files[i], &by_year, &(struct cuts){ 0 }),
				 i ? -EOVERFLOW : 0);
		assert_int_equal(error_of(files[i], &by_both, &(struct cuts){ 0 }),
				 i ? -EOVERFLOW : 0);
	}
	counts_are("a\t1987\t18446744073709551613\t1\na\t1988\t1\t1\n", &by_ngram,
		   "a\t18446744073709551614\n");
}

/* What is too much only together: wherever the halves meet, and whether they are wide as they come
 * or by what came before them. */
static void a_sum_that_is_too_large_is_one_across_splits_and_workers(void **state)
{
	static const char half[] = "a\t1987\t9223372036854775807\t1\n";
	static const char little[] = "a\t1987\t99999999\t1\nb\t1987\t1\t1\n";
	char file[sizeof(half) * 2 + sizeof(little) * 12];

	(void)state;
	for (unsigned run = 0; run < 2 * 3 * 3 * 2; run++) {
		const bool too_much = run % 2;
		const struct wh_mr_job job = { .bypass = (enum wh_mr_bypass)(run / 2 % 3) };
		const struct cuts cuts = {
			.split_bytes = run / 6 % 3 * 25, /* one; one a line; one a pair of lines */
			.mappers = 1 + 2 * (run / 18 % 2),
			.l2_bytes = 1,
		};

		strcpy(file, half);
		for (unsigned i = 0; i < 12; i++)
			strcat(file, too_much || i > 6 ? little : "b\t1987\t1\t1\n");
		strcat(file, too_much ? half : "a\t1987\t9223372036354775812\t1\n");
		assert_int_equal(error_of(file, &job, &cuts), too_much ? -EOVERFLOW : 0);
	}
}

static void every_bad_line_has_its_reason(void **state)
{
	static const char columns[] = "there are neither 4 columns (version 2012) nor 5 (2009), "
				      "nor groups of year,match,volume (2020)";
	static const char other[] = "a page or volume count is not a number";

	(void)state;
	is_bad("", "the line is empty");
	is_bad("a\t1987\t1\t1\r",
	       "the line ends in a carriage return, which no version of the files has");
	is_bad("a 1987 1 1", "there is no tab");
	is_bad("\t1987\t1\t1", "there is no ngram before the first tab");
	is_bad("a\t1987", columns);
	is_bad("a\t1987\t1", columns);
	is_bad("a\t1987\t1\t1\t1\t1", columns);
	is_bad("a\t1987\t\t1", "the match count is not a number");
	is_bad("a\t1987\t1x\t1", "the match count is not a number");
	is_bad("a\t1987\t-1\t1", "the match count is not a number");
	is_bad("a\t1987\t:\t1", "the match count is not a number");
	is_bad("a\t1987\t/\t1", "the match count is not a number");
	is_bad("a\t1987\t18446744073709551615\t1", "the match count is above 18446744073709551614");
	is_bad("a\t1987\t1\t", other);
	is_bad("a\t1987\t1\t1 ", other);
	is_bad("a\t1987\t1\t18446744073709551616",
	       "a page or volume count is above 18446744073709551614");
	is_bad("a\t1987\t1\t2\t", other);
	is_bad("a\t1987,1", "a group is not year,match,volume");
	is_bad("a\t1987,1,1\t", "a group is not year,match,volume");
	is_bad("a\t1987,1,1\t1987\t1", "a group is not year,match,volume");
	is_bad("a\t1987,,1", "the match count is not a number");
	is_bad("a\t1987\t1\t1\t1",
	       "the line is of the version of 2009, unlike others: of 2012 is that at byte 0 of "
	       "generated block 0");
	is_bad("a\t1987,1,1",
	       "the line is of the version of 2020, unlike others: of 2012 is that at byte 0 of "
	       "generated block 0");
}

/* Any byte in any place of a line, so that a wrong comparison of a kernel shows, and in any line of
 * as many as a kernel may read at once. */
static void every_byte_anywhere_is_treated_by_the_rule(void **state)
{
	enum { LINES = 19, STEP = TEST_ROUNDS < 10000 ? 7 : 1 };
	static const char line[] = "ab\t1987\t123456\t4321\n";
	const size_t len = sizeof(line) - 1;
	char file[LINES * (sizeof(line) - 1)];

	(void)state;
	for (size_t at = 0; at < len; at++)
		for (unsigned byte = (unsigned)at % STEP; byte < 256; byte += STEP) {
			for (unsigned i = 0; i < LINES; i++)
				memcpy(file + i * len, line, len);
			file[(at + byte) % LINES * len + at] = (char)byte;
			same_as_oracle(file, sizeof(file), &skipping_2012,
				       &(struct cuts){ .l2_bytes = 1 });
		}
}

static void lines_with_tabs_of_their_neighbours_are_bad(void **state)
{
	static const char *const files[] = {
		"a\t1987\n5\t7\n",
		"a\n1987\t5\t7\n",
		"a\t1987\t5\n7\n",
		"a\t1987\n5\t7\nb\t1\t1\t1\t1\t1\t1\t1\n",
		"a\t1987\t5\t7\t8\t9\nb\t1\nc\t1987\t5\t6\n",
		"\n\n\n\n",
		"\t\t\t\n",
		"a\t1987\t5\t7\n\t1987\t5\t7\na\t1987\t5\t7\n",
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		same_as_oracle(files[i], strlen(files[i]), &skipping_2012, &(struct cuts){ 0 });
		same_as_oracle(files[i], strlen(files[i]), &by_ngram, &(struct cuts){ 0 });
	}
}

static void skipped_lines_are_left_out_whole(void **state)
{
	static const struct wh_mr_job both = { .skip_bad = true,
					       .ngram_key = WH_MR_BY_NGRAM_AND_YEAR };

	(void)state;
	counts_are("a\t1987,1,1\t1988,x,1\nb\t1987,2,1\n", &skipping, "b\t2\n");
	counts_are("a\t1987,1,1\t1988,x,1\nb\t1987,2,1\n", &both, "b\t1987\t2\n");
	counts_are("\r\na\t1987\t5\t1\n# end\n", &skipping, "a\t5\n");
}

/* Without being told, there is no saying which lines are the bad ones. */
static void lines_of_two_versions_end_the_job_unless_one_is_chosen(void **state)
{
	static const char file[] = "a\t1987\t1\t1\na\t1987\t2\t1\t1\na\t1987,4,1\n";
	struct wh_mr_job job = { .records = WH_MR_NGRAMS, .skip_bad = true };
	struct cuts cuts = { .ngrams = &job };
	const struct whi_words_kernel *kernel;
	size_t len;

	(void)state;
	assert_int_equal(whi_words_choose(NULL, &kernel), 0);
	assert_null(count_blocks(kernel, file, sizeof(file) - 1, &cuts, &len));
	job.ngram_version = WH_MR_NGRAM_2012;
	counts_are(file, &job, "a\t1\n");
	job.ngram_version = WH_MR_NGRAM_2009;
	counts_are(file, &job, "a\t2\n");
	job.ngram_version = WH_MR_NGRAM_2020;
	counts_are(file, &job, "a\t4\n");
}

/* The one that is met first, by whichever worker, decides; the error names a line of both. */
static void lines_of_two_versions_are_named_across_splits_and_workers(void **state)
{
	static const char file[] = "a\t1987\t1\t1\nb\t1987\t2\t1\nc\t1987\t1\t1\nd\t1987,4,1\n";
	struct wh_mr_job job = { .records = WH_MR_NGRAMS };
	struct ngrams_met met;
	const struct whi_words_kernel *kernel;

	(void)state;
	assert_int_equal(whi_words_choose(NULL, &kernel), 0);
	for (unsigned mappers = 1; mappers <= 4; mappers++)
		for (unsigned skip = 0; skip < 2; skip++) {
			struct cuts cuts = {
				.split_bytes = 11, .mappers = mappers, .ngrams = &job, .met = &met
			};
			size_t len;

			job.skip_bad = skip;
			assert_null(count_blocks(kernel, file, sizeof(file) - 1, &cuts, &len));
			assert_int_equal(met.error, -EBADMSG);
			assert_int_equal(met.bad_offset, 33);
			assert_string_equal(met.reason,
					    "the line is of the version of 2020, unlike others: "
					    "of 2012 is that at byte 0 of generated block 0");
		}
}

static void a_split_border_anywhere_changes_nothing(void **state)
{
	const char *const files[] = { file_2009, file_2012, file_2020 };

	(void)state;
	for (unsigned i = 0; i < 3; i++)
		for (size_t split = 1; split <= strlen(files[i]) + 1; split++)
			for (size_t buffer = 1; buffer <= 40; buffer += 13)
				same_as_oracle(
					files[i], strlen(files[i]), all_keys[split % 3],
					&(struct cuts){ .split_bytes = split,
							.buffer_bytes = buffer,
							.mappers = 1 + (unsigned)split % 3 });
}

/* With so many lines that kernels read some of them at once, whatever is cut off. */
static void a_split_border_anywhere_in_a_longer_file_changes_nothing(void **state)
{
	struct wh_mr_job options = { 0 };
	char file[2048];
	size_t len = 0;

	(void)state;
	for (unsigned i = 0; i < 26; i++)
		len += (size_t)sprintf(file + len, "%.*s\t19%02u\t%u\t%u\n",
				       1 + (int)(i / 5 * 7 % 20), "abcdefghijklmnopqrst", i,
				       i * i * i * i, i);
	for (size_t split = 1; split <= len + 1; split++) {
		options.bypass = (enum wh_mr_bypass)(split % 3);
		options.ngram_key = (enum wh_mr_ngram_key)(split / 3 % 3);
		same_as_oracle(file, len, &options,
			       &(struct cuts){ .split_bytes = split, .mappers = 2 });
	}
}

static size_t put_line(char *at, enum wh_mr_ngram_version version, size_t ngram, uint64_t *random)
{
	size_t len = 0;
	unsigned groups = 1;

	memset(at, 'a' + (int)(ngram % 26), ngram);
	len = ngram;
	at[len - 1] = (char)('a' + random_next(random) % 2);
	if (version == WH_MR_NGRAM_2020)
		groups += (unsigned)(random_next(random) % 5);
	for (; groups > 0; groups--) {
		unsigned long long number = random_next(random) >> random_next(random) % 64;
		unsigned year = 1500 + (unsigned)(random_next(random) % 500);

		number /= 1 << 20;
		if (version == WH_MR_NGRAM_2020)
			len += (size_t)sprintf(at + len, "\t%u,%llu,%llu", year, number,
					       number / 7);
		else if (version == WH_MR_NGRAM_2009)
			len += (size_t)sprintf(at + len, "\t%u\t%llu\t%llu\t%llu", year, number,
					       number / 3, number / 7);
		else
			len += (size_t)sprintf(at + len, "\t%u\t%llu\t%llu", year, number,
					       number / 7);
	}
	at[len++] = '\n';
	return len;
}

/* Lengths around registers, short keys, the limits of the front table and regions. */
static void every_ngram_length_is_counted(void **state)
{
	enum { LONGEST = WHI_REGION_BYTES + 100, ROOM = 1 << 20 };
	char *data = malloc(ROOM + 2 * LONGEST);
	uint64_t random = seed;

	(void)state;
	for (enum wh_mr_ngram_version version = WH_MR_NGRAM_2009; version <= WH_MR_NGRAM_2020;
	     version++) {
		size_t len = 0;

		for (size_t ngram = 1; ngram <= LONGEST && len < ROOM;
		     ngram += ngram < 150 ? 1 : ngram)
			for (unsigned i = 0; i < 4; i++)
				len += put_line(data + len, version, ngram, &random);
		for (unsigned i = 0; all_keys[i]; i++) {
			same_as_oracle(data, len, all_keys[i], &(struct cuts){ 0 });
			same_as_oracle(data, len, all_keys[i],
				       &(struct cuts){ .split_bytes = 1000, .buffer_bytes = 64 });
		}
	}
	free(data);
}

/* As published: years of four digits and small counts, so that a kernel reads many lines at once;
 * with keys that often come again at once, and some that are not short. */
static size_t put_published(char *at, enum wh_mr_ngram_version version, uint64_t *random)
{
	static const char *const keys[] = {
		"a",
		"b",
		"ab",
		"abcdefg",
		"abcdefgh",
		"abcdefgi",
		"abcdefghi",
		"abcdefghijklmno",
		"abcdefghijklmnop",
		"abcdefghijklmnopq",
		"abcdefghijklmnopr",
		"\xc3\xa9t\xc3\xa9",
		"a long ngram of words that has as many bytes as 64, and then some more",
		"a long ngram of words that has as many bytes as 64, and then some other",
	};
	enum { KEYS = sizeof(keys) / sizeof(keys[0]) };
	const unsigned lines = 1 + (unsigned)(random_next(random) % (random_next(random) % 20 + 1));
	const unsigned key = (unsigned)(random_next(random) % (KEYS + 1));
	size_t len = 0;

	for (unsigned i = 0; i < lines; i++) {
		/* Not as published, but bytes all the same. */
		if (key == KEYS)
			len += (size_t)sprintf(at + len, "a%cb", '\0');
		else
			len += (size_t)sprintf(at + len, "%s", keys[key]);
		for (unsigned groups = version == WH_MR_NGRAM_2020 ? 3 : 1; groups > 0; groups--) {
			unsigned matches = (unsigned)random_next(random) % 100000000 >>
					   random_next(random) % 24;
			unsigned year = 1500 + (unsigned)(random_next(random) % 520);
			char mark = version == WH_MR_NGRAM_2020 ? ',' : '\t';

			len += (size_t)sprintf(at + len, "\t%u%c%u%c", year, mark, matches, mark);
			if (version == WH_MR_NGRAM_2009)
				len += (size_t)sprintf(at + len, "7\t");
			len += (size_t)sprintf(at + len, "%u", matches / 100);
		}
		at[len++] = '\n';
	}
	return len;
}

static void lines_as_published_are_counted_as_by_the_oracle(void **state)
{
	enum { ROUNDS = 150, LONGEST = 20000, ROOM = LONGEST + 20 * 200 };
	char *data = malloc(ROOM);
	uint64_t random = seed;

	(void)state;
	for (unsigned round = 0; round < ROUNDS; round++) {
		size_t len = 0, most = random_next(&random) % LONGEST;
		struct wh_mr_job options = {
			.ngram_key = (enum wh_mr_ngram_key)(round / 3 % 3),
			.bypass = (enum wh_mr_bypass)(round / 9 % 3),
			.ngram_version = round % 3 == 2 ? WH_MR_NGRAM_2020 - round / 27 % 2 * 2
							: WH_MR_NGRAM_2012,
			.skip_bad = true,
		};
		struct cuts cuts = {
			.split_bytes = 1 + random_next(&random) % LONGEST,
			.mappers = 1 + (unsigned)(random_next(&random) % 3),
			.l2_bytes = 1,
		};

		while (len < most)
			len += put_published(data + len, options.ngram_version, &random);
		/* A few wrong bytes, here and there one. */
		for (size_t at = random_next(&random) % 4000; round % 2 && at < len;
		     at += random_next(&random) % 4000)
			data[at] = "\t\n,x9\r\0"[random_next(&random) % 7];
		same_as_oracle(data, len, &options, &cuts);
	}
	free(data);
}

static size_t damage(char *data, size_t len, uint64_t *random)
{
	static const char bytes[] = "\t\n,x9\r";

	for (unsigned i = 0; i < 3; i++)
		if (len > 0)
			data[random_next(random) % len] = bytes[random_next(random) % 6];
	return len;
}

static void random_files_are_counted_as_by_the_oracle(void **state)
{
	enum { ROUNDS = 120, LONGEST = 40000 };
	char *data = malloc(2 * LONGEST);
	uint64_t random = seed;

	(void)state;
	for (unsigned round = 0; round < ROUNDS; round++) {
		size_t len = 0, most = random_next(&random) % LONGEST;
		enum wh_mr_ngram_version version = WH_MR_NGRAM_2009 + round % 3;
		struct wh_mr_job options = {
			.ngram_key = (enum wh_mr_ngram_key)(random_next(&random) % 3),
			.bypass = (enum wh_mr_bypass)(random_next(&random) % 3),
			.ngram_version = version,
			.skip_bad = true,
		};
		struct cuts cuts = {
			.split_bytes = 1 + random_next(&random) % (LONGEST / 4),
			.buffer_bytes = 1 + random_next(&random) % LONGEST,
			.mappers = 1 + (unsigned)(random_next(&random) % 4),
			.l2_bytes = 1,
		};

		while (len < most)
			len += put_line(data + len, version, 1 + random_next(&random) % 40,
					&random);
		if (round % 2)
			len = damage(data, len, &random);
		same_as_oracle(data, len, &options, &cuts);
	}
	free(data);
}

/* More keys than a trial takes: the bypass begins, and ends once the same keys come again. */
static void a_bypass_begins_and_ends_with_what_is_met(void **state)
{
	enum { LINES = 3 * (WHI_BYPASS_TRIAL + WHI_BYPASS_STRETCH), LINE = 32 };
	struct wh_mr_job job = { .records = WH_MR_NGRAMS };
	struct ngrams_met met;
	struct cuts cuts = { .ngrams = &job, .met = &met };
	const struct whi_words_kernel *kernel;
	char *data = malloc((size_t)LINES * LINE), *first, *count;
	size_t len = 0, first_len, count_len;

	(void)state;
	assert_int_equal(whi_words_choose(NULL, &kernel), 0);
	for (unsigned i = 0; i < LINES; i++)
		len += (size_t)sprintf(data + len, "w%07u\t1987\t1\t1\n",
				       i < LINES / 2 ? i : i % 100);
	first = count_blocks(kernel, data, len, &cuts, &first_len);
	assert_non_null(first);
	assert_true(met.bypassed > WHI_BYPASS_STRETCH);
	assert_true(met.bypassed < LINES - LINES / 4);
	for (job.bypass = WH_MR_BYPASS_ALWAYS; job.bypass <= WH_MR_BYPASS_NEVER; job.bypass++) {
		count = count_blocks(kernel, data, len, &cuts, &count_len);
		assert_non_null(count);
		assert_int_equal(met.bypassed, job.bypass == WH_MR_BYPASS_ALWAYS ? LINES : 0);
		assert_int_equal(count_len, first_len);
		assert_memory_equal(count, first, first_len);
		free(count);
	}
	free(first);
	free(data);
}

static void a_failed_allocation_is_an_error_and_leaks_nothing(void **state)
{
	struct wh_mr_job job = { .records = WH_MR_NGRAMS };
	struct cuts cuts = { .ngrams = &job, .split_bytes = 20, .mappers = 2 };
	const struct whi_words_kernel *kernel;
	char *count;
	size_t len;

	(void)state;
	assert_int_equal(whi_words_choose(NULL, &kernel), 0);
	for (job.ngram_key = WH_MR_BY_NGRAM; job.ngram_key <= WH_MR_BY_NGRAM_AND_YEAR;
	     job.ngram_key++) {
		uint64_t nth = 1;

		for (count = NULL; !count; nth += 1 + nth / 16) {
			whi_alloc_fail_at(nth);
			count = count_blocks(kernel, file_2020, sizeof(file_2020) - 1, &cuts, &len);
		}
		whi_alloc_fail_at(0);
		assert_true(nth > 20);
		free(count);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_version_is_told_and_counted),
		cmocka_unit_test(an_empty_file_has_no_counts),
		cmocka_unit_test(the_last_line_needs_no_newline),
		cmocka_unit_test(counts_of_nothing_are_counts),
		cmocka_unit_test(keys_are_bytes),
		cmocka_unit_test(numbers_of_every_length_are_read),
		cmocka_unit_test(years_of_every_length_are_read),
		cmocka_unit_test(large_sums_are_exact),
		cmocka_unit_test(a_sum_that_is_too_large_is_an_error),
		cmocka_unit_test(a_sum_that_is_too_large_is_one_across_splits_and_workers),
		cmocka_unit_test(every_bad_line_has_its_reason),
		cmocka_unit_test(every_byte_anywhere_is_treated_by_the_rule),
		cmocka_unit_test(lines_with_tabs_of_their_neighbours_are_bad),
		cmocka_unit_test(skipped_lines_are_left_out_whole),
		cmocka_unit_test(lines_of_two_versions_end_the_job_unless_one_is_chosen),
		cmocka_unit_test(lines_of_two_versions_are_named_across_splits_and_workers),
		cmocka_unit_test(a_split_border_anywhere_changes_nothing),
		cmocka_unit_test(a_split_border_anywhere_in_a_longer_file_changes_nothing),
		cmocka_unit_test(every_ngram_length_is_counted),
		cmocka_unit_test(lines_as_published_are_counted_as_by_the_oracle),
		cmocka_unit_test(random_files_are_counted_as_by_the_oracle),
		cmocka_unit_test(a_bypass_begins_and_ends_with_what_is_met),
		cmocka_unit_test(a_failed_allocation_is_an_error_and_leaks_nothing),
	};

	seed = seed_from(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
