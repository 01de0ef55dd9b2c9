/*
 * The loop: one thread's scheduler and backend, and the way from one to the other. It alone knows
 * both. A turn takes what other threads have posted, runs what is ready, hands over the jobs that
 * this has made, fires timers, submits and waits in one system call, and turns completions into
 * ready tasks.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <whorl/run.h>

#include "backend/backend.h"
#include "base/list.h"
#include "base/queue.h"
#include "base/spin.h"
#include "loop/bufs.h"
#include "op/op.h"
#include "task/sched.h"

struct whi_runtime;

/* What leaves the loop together at the end of a turn's tasks. exec/ fills and empties it. */
struct whi_outbox {
	struct whi_list list;
	uint32_t count;
	void (*flush)(struct whi_outbox *outbox); /* leaves it empty; outside of tasks too */
};

struct wh_loop {
	struct whi_sched sched; /* must be first: whi_loop_self relies on it */
	struct whi_backend *backend;
	struct whi_runtime *runtime;
	struct whi_bufs bufs;
	unsigned index;
	uint64_t turns;
	uint64_t accept_backoffs;
	struct whi_outbox outbox;
	uint32_t awaited;	 /* posts that are sure to come, from what has left the outbox */
	struct whi_spin spin;	 /* for these, before it sleeps; exec/ turns it on */
	struct whi_awake *awake; /* for spinners to see */
	/* Others write these. */
	_Alignas(64) struct whi_mpsc mailbox;
	_Atomic uint32_t sleeping; /* 1: waits in the kernel and must be woken */
	_Atomic uint32_t alerted;  /* 1: the runtime wants its owner to look up */
	_Atomic uint32_t visitors; /* threads and signal handlers that do not belong to the runtime
				      and use the loop right now */
	_Atomic bool open;	   /* `backend` is there */
	_Atomic uint64_t wakes_sent;
};

struct whi_loop_opts {
	const struct whi_backend_ops *backend;
	struct whi_backend_opts backend_opts;
	struct whi_sched_opts sched_opts;
	uint32_t buf_count, buf_bytes;
};

/* Make `loop` the calling thread's. Errors as the backend's open. */
int whi_loop_init(struct wh_loop *loop, const struct whi_loop_opts *opts);

/* No task is left and nothing in flight. Waits until visitors have left. */
void whi_loop_fini(struct wh_loop *loop);

/* One turn. `wait` false: do not wait for the kernel. 0 or -errno of the backend. */
int whi_loop_turn(struct wh_loop *loop, bool wait);

/* The calling thread's loop; it has one. */
static inline struct wh_loop *whi_loop_self(void)
{
	return (struct wh_loop *)(void *)whi_sched_self();
}

/* Any thread: as wh_loop_post, without asking whether the runtime is ending. */
void whi_loop_post(struct wh_loop *loop, struct wh_post *post);

/* Any thread: post a chain of posts that begins with the newest, with one wake-up. */
void whi_loop_post_all(struct wh_loop *loop, struct whi_qnode *newest, struct whi_qnode *oldest);

/* A thread that is no loop's and posts often says so once: until it leaves the loop does not close.
 * Only while something is out that the loop waits for. */
void whi_loop_visit(struct wh_loop *loop);
void whi_loop_leave(struct wh_loop *loop);

/* The same as whi_loop_post_all, by a visitor. */
void whi_loop_post_visiting(struct wh_loop *loop, struct whi_qnode *newest,
			    struct whi_qnode *oldest);

/* Any thread: end the loop's wait if it sleeps. */
void whi_loop_wake(struct wh_loop *loop);

/* Any thread: make the loop finish its turn, after which whi_loop_alerted is true once. */
void whi_loop_alert(struct wh_loop *loop);
void whi_loop_alert_from_signal(struct wh_loop *loop);
bool whi_loop_alerted(struct wh_loop *loop);

/* Submit `op` and suspend the calling task until it is done. Returns its result; -ECANCELED or
 * -ETIMEDOUT if the scope was cancelled before or meanwhile and the kernel had no result. */
int whi_await(struct whi_op *op);

/* The same, but cancellation neither prevents nor interrupts it: for giving things back. */
int whi_await_shielded(struct whi_op *op);

/* Do `op` now, on the calling thread's loop: see `perform` of the backends. */
int whi_perform(struct whi_op *op);

/* Close `fd`, which nobody uses, without suspending. */
void whi_close(int fd);

/* Suspend the calling task until `fd` is ready: as wh_fd_poll. */
int whi_poll(int fd, short events);
