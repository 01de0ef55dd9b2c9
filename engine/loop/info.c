/*
 * What a program can ask about the runtime it is in.
 */
#include <errno.h>
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
		.enters = backend->enters,
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

const char *wh_run_advice(int err)
{
	const char *advice = whi_uring_advice(err);

	if (advice)
		return advice;
	switch (err) {
	case 0:
		return "nothing is wrong";
	case -EINVAL:
		return "an option of wh_run is out of range, or WHORL_BACKEND names no backend; "
		       "there is: uring";
	case -EBUSY:
		return "this thread already runs a runtime, or another one has the signals; end "
		       "that first, or set keep_signals";
	case -ENOTSUP:
		return "this thread uses a shadow stack, which is not switched yet; run it with "
		       "GLIBC_TUNABLES=glibc.cpu.hwcaps=-SHSTK";
	case -EAGAIN:
		return "no more threads can be made; raise the limit on processes (ulimit -u)";
	default:
		return strerror(-err);
	}
}

const char *wh_version(void)
{
	return WHI_VERSION;
}
