/* Owns a worker's way through ngram files: region by region through a kernel, lines that are not as
 * published one at a time, and what has been added up but not yet given to the front table.
 *
 * 1. A region begins at a line and ends with a newline, so that a line is never in two.
 * 2. A run with `bytes` ends with its region, where they are; one of a short key may go on.
 * 3. A sum that grows by eight digits a line and ends with the data cannot overflow: numbers from
 *    2^32 on are added one by one.
 * 4. A line counts wholly or not at all.
 * 5. All lines of a job are of one version: the files of two versions have the same books. */
#include "mapreduce/ngram.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "mapreduce/ngram_lines.h"

enum { BORDERS_BEYOND = 8 };

const struct whi_ngram_kernel *whi_ngram_kernel(const char *name)
{
	for (size_t i = 0; whi_ngram_kernels[i]; i++)
		if (strcmp(whi_ngram_kernels[i]->name, name) == 0)
			return whi_ngram_kernels[i];
	return NULL;
}

struct whi_ngrams *whi_ngrams_new(const struct wh_mr_job *job, struct whi_ngram_shared *shared,
				  struct whi_front *front, const char *isa)
{
	struct whi_ngrams *ngrams = whi_aligned_alloc(64, sizeof(*ngrams));

	if (!ngrams)
		return NULL;
	memset(ngrams, 0, sizeof(*ngrams));
	ngrams->job = job;
	ngrams->kernel = whi_ngram_kernel(isa);
	ngrams->shared = shared;
	ngrams->front = front;
	ngrams->version = job->ngram_version;
	whi_ngrams_borders(ngrams)[-1] = UINT16_MAX;
	whi_bypass_init(&ngrams->bypass, job->bypass);
	whi_assert(ngrams->kernel);
	if (job->ngram_key != WH_MR_BY_YEAR)
		return ngrams;
	ngrams->years = whi_calloc(WHI_NGRAM_YEARS, sizeof(*ngrams->years));
	ngrams->years_seen = whi_calloc(WHI_NGRAM_YEARS, sizeof(*ngrams->years_seen));
	if (!ngrams->years || !ngrams->years_seen) {
		whi_ngrams_free(ngrams);
		return NULL;
	}
	return ngrams;
}

void whi_ngrams_free(struct whi_ngrams *ngrams)
{
	if (!ngrams)
		return;
	whi_free(ngrams->years);
	whi_free(ngrams->years_seen);
	whi_free(ngrams);
}

static void fail(struct whi_ngrams *ngrams, int error)
{
	if (!ngrams->error)
		ngrams->error = error;
}

void whi_ngrams_add_wide(struct whi_ngrams *ngrams, uint64_t low, uint64_t high, uint64_t hash,
			 uint64_t sum)
{
	uint8_t bytes[WHI_SHORT_MAX];
	size_t len = 0;
	int r;

	memcpy(bytes, &low, sizeof(low));
	memcpy(bytes + sizeof(low), &high, sizeof(high));
	while (len < WHI_SHORT_MAX && bytes[len])
		len++;
	r = whi_writer_add_long(ngrams->front->writer, (uint32_t)(hash >> 32), bytes, len, sum);
	if (r < 0)
		fail(ngrams, r);
}

static void add_long(struct whi_ngrams *ngrams, const uint8_t *key, size_t len, uint64_t sum)
{
	struct whi_front *front = ngrams->front;
	uint32_t used = front->long_count;
	uint32_t hash;
	int r;

	ngrams->bypass.seen++;
	if (!ngrams->bypass.on) {
		whi_front_add_long(front, key, len, sum);
		ngrams->bypass.inserted += front->long_count != used;
		return;
	}
	ngrams->bypass.passed++;
	hash = (uint32_t)(whi_hash_bytes(key, len) >> 32);
	r = whi_writer_add_long(front->writer, hash, key, len, sum);
	if (r < 0)
		fail(ngrams, r);
}

void whi_ngrams_add(struct whi_ngrams *ngrams, const uint8_t *key, size_t len, uint64_t sum)
{
	struct whi_key short_key = { 0 };

	if (len > WHI_SHORT_MAX || memchr(key, 0, len)) {
		add_long(ngrams, key, len, sum);
		return;
	}
	memcpy(&short_key, key, len);
	whi_front_reserve(ngrams->front, 1);
	whi_ngram_add_short(ngrams, short_key.low, short_key.high, sum);
}

static void add_year(struct whi_ngrams *ngrams, const struct whi_ngram_entry *entry)
{
	uint64_t *sum = &ngrams->years[entry->year];

	ngrams->years_seen[entry->year] = true;
	*sum = whi_combined(WHI_COMBINE_ADD_EXACT, *sum, entry->matches);
}

/* The key "ngram TAB year" of a version that does not have it in one piece. */
static void add_with_year(struct whi_ngrams *ngrams, const struct whi_ngram_line *line,
			  const struct whi_ngram_entry *entry)
{
	size_t ngram = (size_t)(line->ngram.end - line->ngram.at);
	size_t year = (size_t)(entry->year_text.end - entry->year_text.at);
	uint8_t *key = ngrams->key;

	if (ngram + 1 + year > sizeof(ngrams->key))
		key = whi_alloc(ngram + 1 + year);
	if (!key) {
		fail(ngrams, -ENOMEM);
		return;
	}
	memcpy(key, line->ngram.at, ngram);
	key[ngram] = '\t';
	memcpy(key + ngram + 1, entry->year_text.at, year);
	whi_ngrams_add(ngrams, key, ngram + 1 + year, entry->matches);
	if (key != ngrams->key)
		whi_free(key);
}

static void add_entry(struct whi_ngrams *ngrams, const struct whi_ngram_line *line,
		      const struct whi_ngram_entry *entry)
{
	switch (ngrams->job->ngram_key) {
	case WH_MR_BY_NGRAM:
		whi_ngrams_add(ngrams, line->ngram.at, (size_t)(line->ngram.end - line->ngram.at),
			       entry->matches);
		break;
	case WH_MR_BY_YEAR:
		add_year(ngrams, entry);
		break;
	case WH_MR_BY_NGRAM_AND_YEAR:
		add_with_year(ngrams, line, entry);
		break;
	}
	ngrams->records++;
}

/* Why a line of `version` is bad, by its version. */
static const char *const unlike[] = {
	[WH_MR_NGRAM_2009] = "the line is of the version of 2009, unlike others",
	[WH_MR_NGRAM_2012] = "the line is of the version of 2012, unlike others",
	[WH_MR_NGRAM_2020] = "the line is of the version of 2020, unlike others",
};

static int year_of(enum wh_mr_ngram_version version)
{
	if (version == WH_MR_NGRAM_2009)
		return 2009;
	return version == WH_MR_NGRAM_2012 ? 2012 : 2020;
}

/* The same with what the others are of, and where the first of them is, as far as that is known. A
 * job in which it is known ends here: the text stays as it is. */
static const char *mixed(struct whi_ngrams *ngrams, enum wh_mr_ngram_version version)
{
	const struct whi_ngram_first *first = atomic_load_explicit(&ngrams->shared->first,
								   memory_order_acquire);
	const struct wh_mr_origin *origin;
	char *text = ngrams->mixed;
	const size_t room = sizeof(ngrams->mixed);

	if (!first || ngrams->job->ngram_version != WH_MR_NGRAM_DETECT)
		return unlike[version];
	origin = &first->origin;
	if (origin->path)
		snprintf(text, room, "%s: of %d is that at byte %" PRIu64 " of %s", unlike[version],
			 year_of(first->version), origin->offset,
			 strcmp(origin->path, "-") == 0 ? "standard input" : origin->path);
	else
		snprintf(text, room,
			 "%s: of %d is that at byte %" PRIu64 " of generated block %" PRIu64,
			 unlike[version], year_of(first->version), origin->offset, origin->block);
	return text;
}

/* The first line of a worker that does not know the version yet: it is the job's, if the job has
 * none so far. */
static void tell_version(struct whi_ngrams *ngrams, enum wh_mr_ngram_version version,
			 uint64_t offset)
{
	const struct whi_ngram_first *first = NULL;
	struct whi_ngram_shared *shared = ngrams->shared;
	int known = atomic_load_explicit(&shared->version, memory_order_acquire);

	if (known == WH_MR_NGRAM_DETECT) {
		ngrams->first = (struct whi_ngram_first){ version, ngrams->origin };
		ngrams->first.origin.offset += offset;
		if (atomic_compare_exchange_strong(&shared->first, &first, &ngrams->first))
			first = &ngrams->first;
		known = (int)first->version;
		atomic_store_explicit(&shared->version, known, memory_order_release);
	}
	ngrams->version = (enum wh_mr_ngram_version)known;
}

bool whi_ngram_bad_before(const struct whi_ngram_bad *a, const struct whi_ngram_bad *b)
{
	const char *a_path = a->origin.path ? a->origin.path : "";
	const char *b_path = b->origin.path ? b->origin.path : "";
	int order;

	if (!a->reason || !b->reason)
		return a->reason != NULL;
	order = strcmp(a_path, b_path);
	if (order)
		return order < 0;
	if (a->origin.block != b->origin.block)
		return a->origin.block < b->origin.block;
	return a->origin.offset < b->origin.offset;
}

static void remember(struct whi_ngrams *ngrams, const uint8_t *line, size_t len, const char *reason)
{
	struct whi_ngram_bad bad = {
		.origin = ngrams->origin,
		.reason = reason,
		.excerpt_len = len < WHI_NGRAM_EXCERPT ? len : WHI_NGRAM_EXCERPT,
	};

	bad.origin.offset += (uint64_t)(line - ngrams->data);
	memcpy(bad.excerpt, line, bad.excerpt_len);
	if (whi_ngram_bad_before(&bad, &ngrams->bad))
		ngrams->bad = bad;
}

void whi_ngrams_line(struct whi_ngrams *ngrams, const uint8_t *line, size_t len)
{
	struct whi_ngram_line checked;
	struct whi_ngram_entry entry;
	const char *wrong = whi_ngram_check(line, len, &checked);
	bool fatal = !ngrams->job->skip_bad;

	if (ngrams->error)
		return;
	if (!wrong && ngrams->version == WH_MR_NGRAM_DETECT)
		tell_version(ngrams, checked.version, (uint64_t)(line - ngrams->data));
	if (!wrong && checked.version != ngrams->version) {
		wrong = mixed(ngrams, checked.version);
		/* What to skip would depend on which line was met first. */
		fatal = fatal || ngrams->job->ngram_version == WH_MR_NGRAM_DETECT;
	}
	if (!wrong) {
		while (whi_ngram_next(&checked, &entry))
			add_entry(ngrams, &checked, &entry);
		return;
	}
	/* This line is to be named, not one that was skipped before. */
	if (fatal && ngrams->job->skip_bad)
		ngrams->bad = (struct whi_ngram_bad){ 0 };
	remember(ngrams, line, len, wrong);
	if (fatal)
		fail(ngrams, -EBADMSG);
	else
		ngrams->skipped++;
}

/* One line. Returns what it took. */
static size_t map_line(struct whi_ngrams *ngrams, const uint8_t *data, size_t len)
{
	const uint8_t *newline = memchr(data, '\n', len);

	whi_ngrams_line(ngrams, data, (size_t)(newline - data));
	return (size_t)(newline - data) + 1;
}

static void map_region(struct whi_ngrams *ngrams, const uint8_t *data, size_t len)
{
	size_t count = ngrams->kernel->borders(whi_ngrams_borders(ngrams), data, len);

	/* Lines with too few tabs are told by what they find here. */
	for (unsigned i = 0; i < BORDERS_BEYOND; i++)
		whi_ngrams_borders(ngrams)[count + i] = whi_ngrams_borders(ngrams)[count - 1];
	whi_front_reserve(ngrams->front, count / 2);
	ngrams->kernel->lines(ngrams, data, count);
	if (ngrams->run.bytes)
		whi_ngram_run_end(ngrams, &ngrams->run);
	if (whi_bypass_decide(&ngrams->bypass))
		whi_front_flush(ngrams->front);
}

/* The kernels' loops read single numbers a line, or sums of them. */
static bool is_for_kernels(const struct whi_ngrams *ngrams)
{
	return ngrams->version != WH_MR_NGRAM_DETECT &&
	       (ngrams->version != WH_MR_NGRAM_2020 || ngrams->job->ngram_key == WH_MR_BY_NGRAM);
}

/* Map some of the lines in `data`, which ends with a newline. Returns what it took. */
static size_t map_some(struct whi_ngrams *ngrams, const uint8_t *data, size_t len)
{
	const uint8_t *newline;

	if (!is_for_kernels(ngrams))
		return map_line(ngrams, data, len);
	if (len > WHI_REGION_BYTES) {
		newline = memrchr(data, '\n', WHI_REGION_BYTES);
		if (!newline)
			return map_line(ngrams, data, len);
		len = (size_t)(newline - data) + 1;
	}
	map_region(ngrams, data, len);
	return len;
}

int whi_ngrams_map(struct whi_ngrams *ngrams, uint8_t *data, size_t len,
		   const struct wh_mr_origin *origin)
{
	ngrams->origin = *origin;
	ngrams->data = data;
	if (len > 0 && data[len - 1] != '\n')
		data[len++] = '\n';
	while (len > 0 && ngrams->error == 0) {
		size_t took = map_some(ngrams, data, len);

		data += took;
		len -= took;
	}
	whi_ngram_run_end(ngrams, &ngrams->run);
	if (ngrams->front->error)
		fail(ngrams, ngrams->front->error);
	return ngrams->error;
}

static void flush_year(struct whi_ngrams *ngrams, unsigned year)
{
	uint8_t text[WHI_NGRAM_YEAR_DIGITS];
	size_t at = sizeof(text);
	unsigned rest = year;

	do {
		text[--at] = (uint8_t)('0' + rest % 10);
		rest /= 10;
	} while (rest > 0);
	whi_front_add_long(ngrams->front, text + at, sizeof(text) - at, ngrams->years[year]);
	ngrams->years[year] = 0;
	ngrams->years_seen[year] = false;
}

int whi_ngrams_flush(struct whi_ngrams *ngrams)
{
	for (unsigned year = 0; ngrams->years && year < WHI_NGRAM_YEARS; year++)
		if (ngrams->years_seen[year])
			flush_year(ngrams, year);
	return ngrams->error;
}
