/*
 * The start-up self-test: what newer kernel features really do here. The newest ones have had bugs
 * that mix up data, so the engine uses none because of a version or a flag, only after it has seen
 * it work. Those that the engine uses are tried once per process, when the first ring is opened;
 * wh_probe tries all. A feature that is off, by its test or by request, is done without: see
 * uring_plain.c.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct whi_uring;

/* The first ones are those that the engine uses. */
enum whi_uring_feature {
	WHI_URING_BUFRING,
	WHI_URING_MULTIRECV, /* takes its buffers from a buffer ring */
	WHI_URING_MULTIACCEPT,
	WHI_URING_MSGRING,
	WHI_URING_INCREMENTAL,
	WHI_URING_BUNDLE,
	WHI_URING_SENDZC,
	WHI_URING_DIRECT,
	WHI_URING_FEATURES,
};

enum {
	WHI_URING_USED = WHI_URING_MSGRING + 1,
	WHI_URING_TRY_USED = (1u << WHI_URING_USED) - 1,
	WHI_URING_TRY_ALL = (1u << WHI_URING_FEATURES) - 1,
};

/* Room for the sentence that names them all. */
enum { WHI_URING_OFF_TEXT = 256 };

/* NULL: works. Otherwise what went wrong, for a person. */
struct whi_uring_verdicts {
	const char *why_not[WHI_URING_FEATURES];
	/* Something was short, memory or descriptors: another time the result may be another. */
	bool unsure;
};

/* What people call a feature, and what it is good for. */
const char *whi_uring_feature_name(enum whi_uring_feature feature);
const char *whi_uring_feature_use(enum whi_uring_feature feature);

/* Try the features of `mask` on `u`, a small open ring that is used for nothing else, and close its
 * ring. */
void whi_uring_selftest(struct whi_uring *u, uint32_t mask, struct whi_uring_verdicts *ret);

/*
 * The features that must not be used, as a mask: those that failed their test and those named in
 * `list` and in $WHORL_URING_OFF, separated by commas (either may be NULL). Makes the first ring of
 * the process, so it also tells whether there is io_uring at all.
 *
 * -EINVAL   a list names no feature: whi_uring_off_check says more
 * otherwise as the backend's open
 */
int whi_uring_features_off(const char *list, uint32_t *ret_off);

/* Read `list` and the environment only. -EINVAL: `text` says what is wrong. */
int whi_uring_off_check(const char *list, uint32_t *ret_off, char text[WHI_URING_OFF_TEXT]);
