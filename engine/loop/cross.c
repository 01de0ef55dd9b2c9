/*
 * What crosses from one loop to another, or from a thread that has none: posts, spawning, calls.
 */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "loop/runtime.h"

int wh_loop_post(struct wh_loop *loop, struct wh_post *post)
{
	if (atomic_load(&loop->runtime->roots) == 0)
		return -ESHUTDOWN;
	whi_loop_post(loop, post);
	return 0;
}

/* A task on its way to a loop. */
struct spawn_post {
	struct wh_post post; /* must be first */
	struct whi_runtime *runtime;
	wh_task_fn fn;
	void *arg;
	struct wh_spawn_opts opts;
	char name[WHI_TASK_NAME_MAX];
};

static void spawn_posted(struct wh_post *post)
{
	struct spawn_post *spawn = (struct spawn_post *)(void *)post;
	int r = whi_task_spawn(&whi_loop_self()->sched.root, spawn->fn, spawn->arg, &spawn->opts,
			       NULL);

	if (r < 0)
		whi_runtime_leave(spawn->runtime, r);
	whi_free(spawn);
}

int wh_loop_spawn(struct wh_loop *loop, wh_task_fn fn, void *arg, const struct wh_spawn_opts *opts)
{
	struct spawn_post *spawn;

	if (opts && opts->ret_task)
		return -EINVAL;
	spawn = whi_calloc(1, sizeof(*spawn));
	if (!spawn)
		return -ENOMEM;
	if (!whi_runtime_enter(loop->runtime)) {
		whi_free(spawn);
		return -ESHUTDOWN;
	}
	spawn->post.fn = spawn_posted;
	spawn->runtime = loop->runtime;
	spawn->fn = fn;
	spawn->arg = arg;
	if (opts)
		spawn->opts = *opts;
	if (spawn->opts.name) {
		strncpy(spawn->name, spawn->opts.name, sizeof(spawn->name) - 1);
		spawn->opts.name = spawn->name;
	}
	whi_loop_post(loop, &spawn->post);
	return 0;
}

/*
 * A call. It lives in the caller's frame, which stays until every post that names it has come back:
 * the answer, and the acknowledgement of a cancellation if one was sent.
 */
struct call {
	struct wh_post request; /* to the callee's loop; must be first */
	struct wh_post cancel;	/* to the callee's loop */
	struct wh_post answer;	/* back */
	struct wh_post ack;	/* back */
	struct wh_loop *caller, *callee;
	struct wh_task *task; /* the callee's; NULL before and after */
	struct whi_wait wait;
	wh_task_fn fn;
	void *arg;
	int result;
	int status;
	unsigned outstanding; /* posts to come back */
};

static int call_main(void *arg)
{
	struct call *call = arg;

	call->result = call->fn(call->arg);
	call->task = NULL;
	whi_loop_post(call->caller, &call->answer);
	return 0;
}

static void call_requested(struct wh_post *post)
{
	struct call *call = whi_container_of(post, struct call, request);
	const struct wh_spawn_opts opts = { .fn_name = "call", .file = "wh_loop_call" };

	call->status = whi_task_spawn(&call->callee->sched.root, call_main, call, &opts,
				      &call->task);
	if (call->status == 0)
		return;
	whi_runtime_leave(call->callee->runtime, 0);
	whi_loop_post(call->caller, &call->answer);
}

static void call_cancelled(struct wh_post *post)
{
	struct call *call = whi_container_of(post, struct call, cancel);

	if (call->task)
		wh_task_cancel(call->task);
	whi_loop_post(call->caller, &call->ack);
}

static void came_back(struct call *call)
{
	if (--call->outstanding == 0)
		whi_task_wake(&call->wait);
}

static void call_answered(struct wh_post *post)
{
	came_back(whi_container_of(post, struct call, answer));
}

static void call_acknowledged(struct wh_post *post)
{
	came_back(whi_container_of(post, struct call, ack));
}

static void call_interrupted(struct whi_wait *wait)
{
	struct call *call = whi_container_of(wait, struct call, wait);

	call->outstanding++;
	whi_loop_post(call->callee, &call->cancel);
}

int wh_loop_call(struct wh_loop *loop, wh_task_fn fn, void *arg, int *ret_result)
{
	struct call call = {
		.request.fn = call_requested,
		.cancel.fn = call_cancelled,
		.answer.fn = call_answered,
		.ack.fn = call_acknowledged,
		.caller = whi_loop_self(),
		.callee = loop,
		.wait = { .what = "call", .interrupt = call_interrupted },
		.fn = fn,
		.arg = arg,
		.outstanding = 1,
	};
	int r = whi_task_check();

	if (r < 0)
		return r;
	if (!whi_runtime_enter(loop->runtime))
		return -ESHUTDOWN;
	whi_loop_post(loop, &call.request);
	whi_task_suspend(&call.wait);
	if (call.status < 0)
		return call.status;
	if (ret_result)
		*ret_result = call.result;
	return 0;
}
