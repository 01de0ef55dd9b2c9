/*
 * Ngram files of any bytes, in splits and buffers of any size, through every kernel: the counts are
 * the oracle's, or there is a bad line where the oracle finds one.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "arch/cpu.h"
#include "fuzz/bytes.h"
#include "support/oracle_ngram.h"
#include "support/task_test.h"
#include "unit/mapreduce/count_blocks.h"

static void compare(const struct whi_words_kernel *kernel, const struct bytes *file,
		    const struct cuts *cuts, const struct oracle_ngram *options)
{
	struct oracle_ngram oracle = *options;
	size_t expected_len = 0, len = 0;
	char *expected = oracle_ngram(&oracle, file->at, file->left, &expected_len);
	char *count = count_blocks(kernel, file->at, file->left, cuts, &len);
	/* Which of two versions is the bad one depends on the line that is met first. */
	bool undecided = options->version == WH_MR_NGRAM_DETECT && oracle.mixed;

	if (undecided || !expected || oracle.too_much) {
		check(!count);
		check_int(cuts->met->error,
			  oracle.too_much && expected && !undecided ? -EOVERFLOW : -EBADMSG);
	} else {
		check(count);
		check_int(len, expected_len);
		check(memcmp(count, expected, len) == 0);
		check_int(cuts->met->skipped, oracle.skipped);
	}
	if (count && cuts->met->skipped)
		check_int(cuts->met->bad_offset, oracle.first_bad);
	free(count);
	free(expected);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes bytes = { data, size };
	struct oracle_ngram options = {
		.by = (enum wh_mr_ngram_key)bytes_below(&bytes, 3),
		.version = (enum wh_mr_ngram_version)bytes_below(&bytes, 4),
		.skip_bad = bytes_below(&bytes, 2),
	};
	struct ngrams_met met;
	struct wh_mr_job job = {
		.records = WH_MR_NGRAMS,
		.ngram_key = options.by,
		.ngram_version = options.version,
		.skip_bad = options.skip_bad,
		.bypass = (enum wh_mr_bypass)bytes_below(&bytes, 3),
	};
	struct cuts cuts = {
		.split_bytes = bytes_next(&bytes),
		.buffer_bytes = bytes_next(&bytes),
		.mappers = bytes_below(&bytes, 4),
		.l2_bytes = 1,
		.ngrams = &job,
		.met = &met,
	};

	for (size_t i = 0; whi_words_kernels[i]; i++)
		if ((whi_words_kernels[i]->needs & ~whi_cpu_features()) == 0)
			compare(whi_words_kernels[i], &bytes, &cuts, &options);
	return 0;
}
