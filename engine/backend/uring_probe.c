/*
 * What io_uring offers here, found out by doing: a scratch ring, and a trial of each feature.
 */
#include "backend/uring.h"
#include "backend/uring_selftest.h"

#ifndef IORING_FEAT_NO_IOWAIT
#define IORING_FEAT_NO_IOWAIT (1U << 17)
#endif

struct report {
	struct wh_feature *features;
	int count;
};

static void add(struct report *report, const char *name, bool available, const char *why)
{
	if (report->count == WH_FEATURES_MAX)
		return;
	report->features[report->count++] = (struct wh_feature){
		.name = name, .available = available, .used = available, .why = why
	};
}

/* Why a feature is not used though it is there; NULL: it is used. */
static const char *why_unused(enum whi_uring_feature feature, uint32_t off)
{
	if (off & 1u << feature)
		return "turned off by WHORL_URING_OFF";
	return (unsigned)feature < WHI_URING_USED ? NULL : "the engine has no use for it yet";
}

static void report_trials(struct report *report, const struct whi_uring_verdicts *verdicts,
			  uint32_t off)
{
	for (int i = 0; i < WHI_URING_FEATURES; i++) {
		const char *why_not = verdicts->why_not[i];
		const char *unused = why_not ? why_not : why_unused((enum whi_uring_feature)i, off);

		add(report, whi_uring_feature_name((enum whi_uring_feature)i), !why_not,
		    unused ? unused : whi_uring_feature_use((enum whi_uring_feature)i));
		report->features[report->count - 1].used = !unused;
	}
}

static void probe_setup(struct report *report, const struct whi_uring *u)
{
	unsigned flags = u->ring.flags;
	bool defer = flags & IORING_SETUP_DEFER_TASKRUN;

	add(report, "io_uring", true, "it is there and allowed");
	add(report, "deferred task work", defer,
	    defer ? "completions are made when the loop asks for them" : "Linux 6.1 has it");
	add(report, "no submission array", flags & IORING_SETUP_NO_SQARRAY,
	    "saves an indirection per submission; Linux 6.6 has it");
	add(report, "registered ring", u->enter_flags & IORING_ENTER_REGISTERED_RING,
	    "saves a descriptor look-up per system call");
	add(report, "no iowait", u->ring.features & IORING_FEAT_NO_IOWAIT,
	    "an idle loop does not show as iowait; Linux 6.15 has it");
}

static void probe_ops(struct report *report, const struct whi_uring *u)
{
	for (unsigned kind = 0; kind < WHI_OP_MAX; kind++) {
		const struct whi_opdef *def = &whi_opdefs[kind];

		if (def->prep && !u->supported[def->opcode])
			add(report, def->name, false,
			    def->instant ? "done with an ordinary system call instead"
					 : "fails with EOPNOTSUPP; a newer kernel has it");
	}
}

int whi_uring_probe(struct wh_feature ret[WH_FEATURES_MAX])
{
	struct whi_uring u = { .opts = { .sq_entries = 8, .cq_entries = 32 } };
	struct report report = { .features = ret };
	struct whi_uring_verdicts verdicts;
	char text[WHI_URING_OFF_TEXT];
	uint32_t off;
	int r = whi_uring_off_check(NULL, &off, text);

	if (r == 0)
		r = whi_uring_ring_open(&u);
	if (r < 0)
		return r;
	probe_setup(&report, &u);
	whi_uring_selftest(&u, WHI_URING_TRY_ALL, &verdicts);
	report_trials(&report, &verdicts, off);
	probe_ops(&report, &u);
	return report.count;
}
