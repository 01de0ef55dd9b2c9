/*
 * Watching a descriptor from outside of tasks: for what belongs to a loop but waits for nobody in
 * particular. One event a start; whoever was told starts it again when it is ready for the next.
 */
#pragma once

#include "base/wheel.h"
#include "loop/loop.h"

enum whi_watch_kind {
	WHI_WATCH_COUNTER, /* an eventfd that waits: its count is taken */
	WHI_WATCH_READABLE,
	WHI_WATCH_HANGUP, /* a socket whose other end says no more */
};

struct whi_watch {
	struct whi_op op;
	struct whi_timer again; /* after a shortage, in which the event is told on suspicion */
	struct wh_loop *loop;
	/* On the loop's thread, outside of any task. May start the watch again, unless `ended`:
	 * then this is the last call, and the watch can go away. */
	void (*fn)(struct whi_watch *watch);
	uint64_t count;
	bool ended;
};

/* Have `fn` called once when something happens at `fd`. On the loop's thread; `watch` is all zero
 * or was told. Nothing can go wrong: what the loop cannot take now is tried again. */
void whi_watch_start(struct whi_watch *watch, enum whi_watch_kind kind, int fd,
		     void (*fn)(struct whi_watch *watch));

/* No more events but the end, which comes later, in `fn`. The watch was started and its event not
 * told; `fd` stays open until the end. */
void whi_watch_end(struct whi_watch *watch);
