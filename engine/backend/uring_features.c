/*
 * Which kernel features the io_uring backend uses: what the self-test found, once per process, and
 * what people turned off.
 *
 * A trial costs system calls, so only what the engine would use is tried at start, and a process
 * that starts a second runtime pays nothing more. What could not be tried for want of memory or
 * descriptors is tried again with the next ring.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/uring.h"
#include "backend/uring_selftest.h"

enum { SQ_ENTRIES = 8, CQ_ENTRIES = 16 };

static const struct {
	const char *name, *use;
} features[WHI_URING_FEATURES] = {
	[WHI_URING_BUFRING] = { "bufring", "receives take a buffer when the data comes" },
	[WHI_URING_MULTIRECV] = { "multirecv", "one submission receives many messages" },
	[WHI_URING_MULTIACCEPT] = { "multiaccept", "one submission accepts many connections" },
	[WHI_URING_MSGRING] = { "msgring", "loops wake each other without an eventfd" },
	[WHI_URING_INCREMENTAL] = { "incremental", "several messages share a buffer" },
	[WHI_URING_BUNDLE] = { "bundle", "one completion fills several buffers" },
	[WHI_URING_SENDZC] = { "sendzc", "large sends are not copied" },
	[WHI_URING_DIRECT] = { "direct", "descriptors of the ring's own, outside the table" },
};

const char *whi_uring_feature_name(enum whi_uring_feature feature)
{
	return features[feature].name;
}

const char *whi_uring_feature_use(enum whi_uring_feature feature)
{
	return features[feature].use;
}

static int find(const char *word, size_t len)
{
	for (int i = 0; i < WHI_URING_FEATURES; i++)
		if (strlen(features[i].name) == len && memcmp(features[i].name, word, len) == 0)
			return i;
	return -1;
}

static void explain(const char *word, size_t len, char text[WHI_URING_OFF_TEXT])
{
	int used = snprintf(text, WHI_URING_OFF_TEXT,
			    "io_uring has no feature '%.*s' to turn off; there are", (int)len,
			    word);

	for (int i = 0; i < WHI_URING_FEATURES && used < WHI_URING_OFF_TEXT; i++)
		used += snprintf(text + used, (size_t)(WHI_URING_OFF_TEXT - used), "%s %s",
				 i ? "," : "", features[i].name);
}

static int add_list(const char *list, uint32_t *off, char text[WHI_URING_OFF_TEXT])
{
	while (list && *list) {
		size_t len = strcspn(list, ",");
		int feature = find(list, len);

		if (feature < 0) {
			/* Longer than any name: enough of it to recognise. */
			explain(list, len < 32 ? len : 32, text);
			return -EINVAL;
		}
		*off |= 1u << feature;
		list += len + (list[len] == ',');
	}
	return 0;
}

int whi_uring_off_check(const char *list, uint32_t *ret_off, char text[WHI_URING_OFF_TEXT])
{
	uint32_t off = 0;
	int r = add_list(list, &off, text);

	if (r == 0)
		r = add_list(getenv("WHORL_URING_OFF"), &off, text);
	if (r < 0)
		return r;
	/* A multishot receive cannot do without. */
	if (off & 1u << WHI_URING_BUFRING)
		off |= 1u << WHI_URING_MULTIRECV;
	*ret_off = off;
	return 0;
}

static int try_used(uint32_t *ret_failed, bool *ret_unsure)
{
	struct whi_uring u = {
		.opts = { .sq_entries = SQ_ENTRIES, .cq_entries = CQ_ENTRIES },
	};
	struct whi_uring_verdicts verdicts;
	uint32_t failed = 0;
	int r = whi_uring_ring_open(&u);

	if (r < 0)
		return r;
	whi_uring_selftest(&u, WHI_URING_TRY_USED, &verdicts);
	for (unsigned i = 0; i < WHI_URING_USED; i++)
		if (verdicts.why_not[i])
			failed |= 1u << i;
	if (failed & 1u << WHI_URING_BUFRING)
		failed |= 1u << WHI_URING_MULTIRECV;
	*ret_failed = failed;
	*ret_unsure = verdicts.unsure;
	return 0;
}

int whi_uring_features_off(const char *list, uint32_t *ret_off)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static uint32_t failed;
	static bool known;
	char text[WHI_URING_OFF_TEXT];
	uint32_t off;
	bool unsure = false;
	int r = whi_uring_off_check(list, &off, text);

	if (r < 0)
		return r;
	/* Not pthread_once: a failure to find out is not remembered. */
	pthread_mutex_lock(&lock);
	if (!known) {
		r = try_used(&failed, &unsure);
		known = r == 0 && !unsure;
	}
	*ret_off = off | failed;
	pthread_mutex_unlock(&lock);
	return r;
}
