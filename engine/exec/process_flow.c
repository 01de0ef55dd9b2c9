/*
 * Jobs on their way to the processes of a pool, and back. Invariants in process_pool.h.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/container.h"
#include "exec/jobs.h"
#include "exec/passing.h"
#include "exec/process_pool.h"

_Static_assert(sizeof(struct whi_call_place) <= sizeof(((struct wh_call *)0)->opaque),
	       "a call keeps its place");

enum { LIBRARY_MAX = 4096 };

static struct whi_exec_job *job_of(struct whi_list *node)
{
	return whi_container_of(node, struct whi_exec_job, link);
}

void whi_pool_end_job(struct whi_exec_job *job, int status, int result, struct whi_list *ended)
{
	job->status = status;
	job->result = result;
	job->state = WHI_EXEC_TAKEN;
	whi_place_of(job)->process = NULL;
	whi_list_append(ended, &job->link);
}

void whi_pool_tell(struct whi_list *ended, bool at_once)
{
	struct wh_loop *mine = whi_loop_self();
	struct whi_list *node;

	while ((node = whi_list_pop(ended))) {
		struct whi_exec_job *job = job_of(node);

		if (at_once && job->loop == mine)
			whi_exec_finish_here(job);
		else
			whi_exec_finish(job, NULL);
	}
}

void whi_pool_requeue(struct whi_pool *pool, struct whi_exec_job *job)
{
	struct whi_list *first = pool->queue.next;

	whi_place_of(job)->process = NULL;
	/* Appended to the list that begins with what was first: in front of it. */
	whi_list_append(first, &job->link);
	pool->queued++;
}

void whi_pool_release(struct whi_exec_job *job)
{
	struct whi_process *process = whi_place_of(job)->process;

	whi_list_remove(&job->link);
	process->load--;
	process->full = false;
	process->reply_bytes -= whi_record_bytes(whi_call_of(job)->result_max);
}

/* Away */

/* Have `process` know `job`: 0, -EAGAIN: no room; -EPROTO, -ENAMETOOLONG. */
static int define(struct whi_process *process, const struct wh_job *job)
{
	uint32_t index = whi_job_index(job), position;
	struct whi_request head = { .kind = WHI_RECORD_DEFINE, .job = index };
	char text[WH_JOB_NAME_MAX + 1 + LIBRARY_MAX];
	size_t name_len = strlen(job->name) + 1;
	int r;

	if (process->defined[index] == whi_job_number(job))
		return 0;
	memcpy(text, job->name, name_len);
	r = whi_job_library(job, text + name_len, LIBRARY_MAX);
	if (r < 0)
		return r;
	head.args_len = (uint32_t)(name_len + strlen(text + name_len) + 1);
	r = whi_rings_put(&process->rings, &head, text, &position);
	if (r < 0)
		return r;
	process->unpublished = true;
	process->defined[index] = whi_job_number(job);
	return 0;
}

/* Also where the worker has died just now: its end is about to be told. */
static bool no_room(int error)
{
	return error == -EAGAIN || error == -EPIPE || error == -ECONNRESET;
}

static int put(struct whi_process *process, const struct wh_call *call, const struct wh_job *job,
	       struct whi_call_place *place)
{
	const struct whi_request head = {
		.kind = WHI_RECORD_CALL,
		.flags = call->args_fd ? WHI_RECORD_HAS_FD : 0,
		.ticket = process->last_ticket + 1,
		.job = whi_job_index(job),
		.args_len = (uint32_t)call->args_len,
		.result_max = (uint32_t)call->result_max,
	};
	int r;

	if (process->reply_bytes + whi_record_bytes(call->result_max) > WHI_REPLIES_MAX)
		return -EAGAIN;
	r = whi_rings_put(&process->rings, &head, call->args, &place->position);
	if (r < 0 || !call->args_fd)
		return r;
	r = whi_pass_now(process->sock, &head.ticket, sizeof(head.ticket), &call->args_fd, 1);
	if (r < 0)
		whi_rings_unput(&process->rings, place->position);
	return no_room(r) ? -EAGAIN : r;
}

/* 0: `job` is the process's, or has ended; -EAGAIN: there is no room; -EPROTO: it is corrupt. */
static int hand_over(struct whi_process *process, struct whi_exec_job *job, struct whi_list *ended)
{
	struct whi_call_place *place = whi_place_of(job);
	struct wh_call *call = whi_call_of(job);
	struct wh_job *named;
	int r = whi_job_find(call->job, &named);

	if (r < 0) {
		whi_pool_end_job(job, 0, r, ended);
		return 0;
	}
	r = define(process, named);
	if (r == 0)
		r = put(process, call, named, place);
	if (r == -EAGAIN || r == -EPROTO)
		return r;
	if (r < 0) {
		/* A descriptor that cannot be handed over, or a library without a usable path. */
		whi_pool_end_job(job, r, 0, ended);
		return 0;
	}
	place->process = process;
	place->ticket = ++process->last_ticket;
	process->unpublished = true;
	process->load++;
	process->reply_bytes += whi_record_bytes(call->result_max);
	whi_list_append(&process->jobs, &job->link);
	return 0;
}

/* Replies make room, but only if some are to come: otherwise the worker tells when it has read what
 * was taken back. */
static int hand_over_or_wait(struct whi_process *process, struct whi_exec_job *job,
			     struct whi_list *ended)
{
	int r = hand_over(process, job, ended);

	if (r != -EAGAIN || process->load > 0)
		return r;
	whi_rings_want_nudge(&process->rings);
	return hand_over(process, job, ended);
}

/* The process with least to do, of those that can take more. */
static struct whi_process *pick(struct whi_pool *pool)
{
	struct whi_process *best = NULL;

	for (struct whi_list *node = pool->processes.next; node != &pool->processes;
	     node = node->next) {
		struct whi_process *process = whi_container_of(node, struct whi_process, link);

		if (process->state != WHI_PROCESS_LIVE || process->full ||
		    process->load > pool->ahead_max)
			continue;
		if (process->load == 0)
			return process;
		if (!best || process->load < best->load)
			best = process;
	}
	return best;
}

static void publish(struct whi_pool *pool)
{
	for (struct whi_list *node = pool->processes.next; node != &pool->processes;
	     node = node->next) {
		struct whi_process *process = whi_container_of(node, struct whi_process, link);

		if (!process->unpublished)
			continue;
		process->unpublished = false;
		whi_rings_publish(&process->rings);
		if (pool->simulated)
			whi_sim_process_rouse(process);
	}
}

void whi_pool_dispatch(struct whi_pool *pool, struct whi_list *ended)
{
	struct whi_process *process;

	while (!whi_list_empty(&pool->queue) && (process = pick(pool))) {
		struct whi_list *node = whi_list_pop(&pool->queue);
		int r = hand_over_or_wait(process, job_of(node), ended);

		pool->queued--;
		if (r == 0)
			continue;
		whi_pool_requeue(pool, job_of(node));
		if (r == -EAGAIN) {
			process->full = true;
		} else {
			process->corrupt = true;
			whi_pool_condemn(process);
		}
	}
	publish(pool);
}

/* Back */

/* The descriptor that comes with `reply`; -EMFILE: there is no room for it; -EPROTO. */
static int take_fd(struct whi_process *process, const struct whi_reply *reply)
{
	int fds[WHI_PASSED_MAX];
	uint32_t ticket = 0;
	unsigned fd_count;
	ssize_t n = whi_accept_passed_now(process->sock, &ticket, sizeof(ticket), fds, &fd_count);

	if (n == (ssize_t)sizeof(ticket) && ticket == reply->ticket && fd_count == 1)
		return fds[0];
	if (n == -EMFILE && ticket == reply->ticket)
		return -EMFILE;
	while (n >= 0 && fd_count)
		close(fds[--fd_count]);
	return -EPROTO;
}

static void take_answer(struct wh_call *call, const struct whi_reply *reply, const void *bytes,
			int fd)
{
	if (reply->result_len)
		memcpy(call->result, bytes, reply->result_len);
	call->result_len = reply->result_len;
	call->result_fd = fd;
}

/* `reply` is what its header was once; `bytes` may change. */
static int take_reply(struct whi_process *process, const struct whi_reply *reply, const void *bytes,
		      struct whi_list *ended)
{
	struct whi_exec_job *job;
	struct wh_call *call;
	int fd = 0;

	if (whi_list_empty(&process->jobs))
		return -EPROTO;
	job = job_of(process->jobs.next);
	call = whi_call_of(job);
	if (reply->ticket != whi_place_of(job)->ticket || reply->result_len > call->result_max)
		return -EPROTO;
	if (reply->flags & WHI_RECORD_HAS_FD)
		fd = take_fd(process, reply);
	if (fd == -EPROTO)
		return fd;
	if (fd >= 0)
		take_answer(call, reply, bytes, fd);
	call->attempts++;
	whi_pool_release(job);
	process->done++;
	process->pool->stats.done++;
	process->pool->deaths = 0;
	whi_pool_end_job(job, fd < 0 ? fd : 0, reply->result, ended);
	return 0;
}

static int take_replies(struct whi_process *process, struct whi_list *ended)
{
	struct whi_reply reply;
	const void *bytes;
	int r;

	while ((r = whi_rings_next_reply(&process->rings, &reply, &bytes)) > 0) {
		r = take_reply(process, &reply, bytes, ended);
		whi_rings_drop_reply(&process->rings, &reply);
		if (r < 0)
			break;
	}
	return r;
}

void whi_pool_drain(struct whi_process *process, struct whi_list *ended)
{
	if (process->corrupt)
		return;
	do {
		process->corrupt = take_replies(process, ended) < 0;
	} while (!process->corrupt && whi_rings_want_bell(&process->rings));
	process->full = false;
	if (process->corrupt && process->state == WHI_PROCESS_LIVE)
		whi_pool_condemn(process);
}

/* Elsewhere */

/* Take back up to `max` of the jobs that were given last, and put them in front of the queue. */
static void take_back(struct whi_process *process, uint32_t max)
{
	struct whi_list *node = process->jobs.prev;

	while (node != &process->jobs && max-- > 0) {
		struct whi_exec_job *job = job_of(node);

		node = node->prev;
		if (!whi_rings_take_back(&process->rings, whi_place_of(job)->position))
			continue;
		whi_pool_release(job);
		whi_pool_requeue(process->pool, job);
		process->pool->stats.moved++;
	}
}

void whi_pool_take_back(struct whi_process *process)
{
	take_back(process, UINT32_MAX);
}

void whi_pool_condemn(struct whi_process *process)
{
	if (process->state == WHI_PROCESS_LIVE)
		process->pool->live--;
	process->state = WHI_PROCESS_CONDEMNED;
	process->kill_owed = true;
	whi_pool_take_back(process);
	whi_pool_pay_kills(process->pool);
}

void whi_pool_rebalance(struct whi_pool *pool, struct whi_list *ended)
{
	struct whi_process *most = NULL;
	bool idle = false;

	if (!whi_list_empty(&pool->queue))
		return;
	for (struct whi_list *node = pool->processes.next; node != &pool->processes;
	     node = node->next) {
		struct whi_process *process = whi_container_of(node, struct whi_process, link);

		if (process->state != WHI_PROCESS_LIVE)
			continue;
		idle = idle || process->load == 0;
		if (!most || process->load > most->load)
			most = process;
	}
	if (!idle || !most || most->load < 2)
		return;
	take_back(most, most->load / 2);
	whi_pool_dispatch(pool, ended);
}
