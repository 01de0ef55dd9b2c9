/*
 * What a program can ask about the runtime it is in.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "loop/runtime.h"

unsigned wh_loop_count(void)
{
	struct wh_loop *loop = whi_loop_self();

	return loop ? loop->runtime->loop_count : 0;
}

struct wh_loop *wh_loop_at(unsigned index)
{
	struct wh_loop *loop = whi_loop_self();

	return loop && index < loop->runtime->loop_count ? loop->runtime->loops[index] : NULL;
}

struct wh_loop *wh_loop_self(void)
{
	return whi_loop_self();
}

unsigned wh_loop_index(const struct wh_loop *loop)
{
	return loop->index;
}

void wh_loop_stats(struct wh_loop_stats *ret)
{
	struct wh_loop *loop = whi_loop_self();
	const struct whi_backend_stats *backend = &loop->backend->stats;

	*ret = (struct wh_loop_stats){
		.turns = loop->turns,
		.enters = backend->enters + backend->tries,
		.ops_submitted = backend->submitted,
		.completions = backend->completions,
		.cq_overflows = backend->cq_overflows,
		.bufs_exhausted = loop->bufs.exhausted,
		.accept_backoffs = loop->accept_backoffs,
		.wakes_sent = atomic_load_explicit(&loop->wakes_sent, memory_order_relaxed),
		.resumes = loop->sched.resumed,
		.tasks_spawned = loop->sched.spawned,
		.tasks_live = loop->sched.tasks_live,
		.ops_inflight = backend->inflight,
	};
}

int wh_probe(struct wh_feature ret[WH_FEATURES_MAX])
{
	return whi_uring_probe(ret);
}

const char *wh_backend_name(void)
{
	struct wh_loop *loop = whi_loop_self();

	return loop ? loop->backend->ops->name : "none";
}

int wh_backend_why(struct wh_backend_choice *ret)
{
	const struct wh_loop *loop = whi_loop_self();
	const struct wh_run_opts defaults = { 0 };

	if (!loop)
		return whi_backend_choose(&defaults, ret);
	*ret = loop->runtime->choice;
	return 0;
}

/* What the calling thread's last wh_run that failed had to say. */
static _Thread_local struct {
	int err;
	char text[WHI_ADVICE_MAX];
} advice;

void whi_advice_keep(int err, const struct wh_backend_choice *choice)
{
	advice.err = err;
	snprintf(advice.text, sizeof(advice.text), "%s%s%s", choice->why,
		 choice->cure[0] ? "; " : "", choice->cure);
}

static const char *explain_refusal(int err)
{
	struct wh_backend_choice choice = { 0 };

	whi_uring_explain(err, &choice);
	if (!choice.why[0])
		return strerror(-err);
	whi_advice_keep(err, &choice);
	return advice.text;
}

const char *wh_run_advice(int err)
{
	if (err < 0 && advice.err == err && advice.text[0])
		return advice.text;
	switch (err) {
	case 0:
		return "nothing is wrong";
	case -EINVAL:
		return "an option of wh_run is out of range";
	case -ENOMEM:
		return "no memory for the ring; raise the limit on locked memory (ulimit -l) or "
		       "end other programs of this user that use io_uring";
	case -EMFILE:
	case -ENFILE:
		return "no file descriptor left for the ring; raise the limit on open files "
		       "(ulimit -n)";
	case -EBUSY:
		return "this thread already runs a runtime, or another one has the signals; end "
		       "that first, or set keep_signals";
	case -ENOTSUP:
		return "this thread uses a shadow stack, which is not switched yet; run it with "
		       "GLIBC_TUNABLES=glibc.cpu.hwcaps=-SHSTK";
	case -EAGAIN:
		return "no more threads can be made; raise the limit on processes (ulimit -u)";
	default:
		return explain_refusal(err);
	}
}

const char *wh_version(void)
{
	return WHI_VERSION;
}
