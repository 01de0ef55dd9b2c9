/*
 * Jobs on their way to workers and back: whi_exec_submit, whi_lane_submit, whi_lane_remove and
 * next_job with what they call, in exec/executor.c, exec/lane.c and exec/worker.c. The way back is
 * the loop's mailbox, which loop/mailbox.pml is about; here it is a channel.
 *
 * Goal: each job wakes its task exactly once, run or taken back and never both; none is touched
 * after its task may have left; nobody waits for ever, whatever is cancelled when, and though a
 * batch of jobs wakes one worker only, and none while a worker spins. In particular a job that
 * takes for ever does not keep those behind it from a worker that is at hand.
 *
 * The loop is one thread: submitting, cancelling and what is posted run there, one after another.
 * Everything is sequentially consistent, as the accesses that matter are. What a worker does with
 * the lock is one step where nobody looks without it. That a worker may also wake up for nothing is
 * left out: it then looks again, which would only hide a wake-up that is missing.
 *
 * A worker whose thread ends for want of work announces that it may be called, looks, and is
 * started anew when it is: the same steps as resting, so here it rests.
 *
 * Each BUG_ is a mistake that tools/models expects the checker to find.
 */
#define JOBS 3
#define WORKERS 2
#define NOBODY 255

/* Job 0 ends only after the others have: a worker that has it looks after nobody. */
#define LONG 0

mtype = { NEW, OUTBOX, QUEUED, TAKEN, REMOVED };

mtype state[JOBS] = NEW;
bit there[JOBS];     /* its task is suspended: the job in its frame is valid */
bit to_cancel[JOBS]; /* at some time from now on */
byte ran[JOBS];
byte woken[JOBS];
byte ended = 0;

chan outbox = [JOBS] of { byte };
chan inbox = [JOBS] of { byte };
chan queue = [JOBS] of { byte };
chan mailbox = [JOBS] of { byte };

byte lock = NOBODY; /* who holds it; workers, then the loop */
byte at_hand = 0;   /* workers that rest: read without the lock */
bit spinning = 0;   /* the same */
bit resting[WORKERS];
bit roused[WORKERS];
bit closing = 0;

#define LOOP WORKERS
#define HAS_JOBS (nempty(queue) || nempty(inbox))

inline acquire(who) {
	atomic { lock == NOBODY -> lock = who }
}

inline release() {
	lock = NOBODY
}

inline wake_task(job) {
	assert(there[job]);
	woken[job]++;
	assert(woken[job] == 1);
	there[job] = 0; /* it returns, and its frame goes */
	ended++
}

/* read_inbox. */
inline read_inbox() {
	do
	:: inbox?moved -> queue!moved
	:: empty(inbox) -> break
	od
}

/* whi_lane_call: `called` is a worker that rests no longer, or nobody. */
inline call_worker() {
	if
	:: HAS_JOBS && resting[0] -> called = 0; resting[0] = 0; at_hand--
	:: HAS_JOBS && !resting[0] && resting[1] -> called = 1; resting[1] = 0; at_hand--
	:: empty(queue) && empty(inbox) -> called = NOBODY
	:: !resting[0] && !resting[1] -> called = NOBODY
	fi
}

inline rouse() {
	d_step {
		if
		:: called != NOBODY -> roused[called] = 1
		:: else -> skip
		fi;
		called = 0
	}
}

proctype worker(byte self)
{
	byte job, moved, called;
	bit waited = 0;

	do
	::
		waited = 0;
		acquire(self);
		do
		:: d_step {
			nempty(queue) || nempty(inbox) ->
			if
			:: empty(queue) -> read_inbox()
			:: nempty(queue) -> skip
			fi;
			queue?job;
			assert(there[job] && state[job] == QUEUED);
#ifndef BUG_STATE_AFTER_UNLOCK
			state[job] = TAKEN;
#endif
			moved = 0
		   };
		   break
		:: empty(queue) && empty(inbox) && closing -> job = NOBODY; break
		:: empty(queue) && empty(inbox) && !closing ->
			waited = 1;
			/* spin, or not */
			if
			:: d_step { !spinning -> spinning = 1; release() };
				if
				:: nempty(inbox) -> skip
				:: skip /* for too long */
				fi;
				acquire(self);
#ifdef BUG_SPINNER_DOES_NOT_LOOK
				spinning = 0;
				if
				:: closing -> skip
				:: else -> resting[self] = 1; at_hand++; goto asleep
				fi
#else
				spinning = 0
#endif
			:: skip
			fi;
			/* whi_lane_rest */
			if
			:: closing -> skip
			:: else ->
#ifdef BUG_LOOK_BEFORE_RESTING
				if
				:: HAS_JOBS -> skip
				:: empty(queue) && empty(inbox) ->
					resting[self] = 1;
					at_hand++;
					goto asleep
				fi
#else
				d_step { resting[self] = 1; at_hand++ };
				if
#ifdef BUG_LOOKS_AT_INBOX_ONLY
				:: d_step { nempty(inbox) -> resting[self] = 0; at_hand-- }
				:: empty(inbox) -> goto asleep
#else
				:: d_step { HAS_JOBS -> resting[self] = 0; at_hand-- }
				:: empty(queue) && empty(inbox) -> goto asleep
#endif
				fi
#endif
			fi;
			if
			:: false ->
asleep:
#ifdef BUG_FORGETS_BEING_ROUSED
				release();
				roused[self] = 0;
#else
				roused[self] = 0;
				release();
#endif
				roused[self];
				acquire(self)
			:: true -> skip
			fi
		od;
		skip; /* nothing may jump into a d_step */
		d_step {
			called = NOBODY;
#ifndef BUG_NO_CHAIN
			if
			:: job != NOBODY && waited -> call_worker()
			:: else -> skip
			fi;
#endif
			release()
		};
		rouse();
		if
		:: job == NOBODY -> break
		:: else -> skip
		fi;
#ifdef BUG_STATE_AFTER_UNLOCK
		state[job] = TAKEN;
#endif
		assert(there[job]);
		if
		:: job == LONG -> ended == JOBS - 1
		:: else -> skip
		fi;
		ran[job]++;
		mailbox!job;
#ifdef BUG_TOUCH_AFTER_POST
		assert(there[job]);
#endif
		d_step { job = 0; waited = 0 }
	od
}

/* whi_exec_submit, up to where the task suspends. */
inline submit(job) {
	d_step {
		state[job] = OUTBOX;
		there[job] = 1;
		outbox!job
	}
}

/* flush_outbox and whi_lane_submit: all of the outbox is one push. */
inline flush_outbox() {
#ifdef BUG_LOOK_BEFORE_PUSH
	look = !spinning && at_hand > 0;
#endif
	d_step {
		do
		:: outbox?job -> state[job] = QUEUED; inbox!job
		:: empty(outbox) -> break
		od;
		job = 0
	};
#ifdef BUG_NO_CALL
	look = 0;
#else
#ifndef BUG_LOOK_BEFORE_PUSH
	look = !spinning;
	look = look && at_hand > 0;
#endif
#endif
	if
	:: look ->
		acquire(LOOP);
		d_step { call_worker(); release() };
		rouse();
		look = 0
	:: else -> skip
	fi
}

/* Takes `job` out of a channel, wherever it stands there. */
inline take_out(from, job) {
	from??eval(job)
}

inline remove_job(job) {
	removed = 0;
	if
	:: state[job] == OUTBOX -> take_out(outbox, job); removed = 1
	:: else ->
#ifndef BUG_NO_LOCK_TO_REMOVE
		acquire(LOOP);
#endif
		d_step { read_inbox(); moved = 0 };
		if
#ifdef BUG_REMOVE_TAKEN
		:: true ->
#else
		:: state[job] == QUEUED ->
#endif
			removed = 1;
			if
			:: queue??[eval(job)] -> take_out(queue, job)
			:: else -> skip
			fi
#ifndef BUG_REMOVE_TAKEN
		:: else -> skip
#endif
		fi;
#ifndef BUG_NO_LOCK_TO_REMOVE
		release()
#else
		skip
#endif
	fi;
	if
	:: removed -> state[job] = REMOVED; wake_task(job); removed = 0
	:: else -> skip
	fi
}

proctype loop()
{
	byte next = 0, job, moved, called;
	bit removed, look;

	do
	:: ended == JOBS -> break
	:: next < JOBS ->
		if
		:: to_cancel[next] = 1
		:: skip
		fi;
		submit(next);
		next++
	:: nempty(outbox) -> flush_outbox()
	:: mailbox?job -> wake_task(job); job = 0
	:: there[0] && to_cancel[0] -> to_cancel[0] = 0; remove_job(0)
	:: there[1] && to_cancel[1] -> to_cancel[1] = 0; remove_job(1)
	:: there[2] && to_cancel[2] -> to_cancel[2] = 0; remove_job(2)
	od;
	/* whi_workers_end */
	acquire(LOOP);
	closing = 1;
	release();
	for (called : 0 .. WORKERS - 1) {
		acquire(LOOP);
		d_step {
			if
			:: resting[called] ->
				resting[called] = 0;
				at_hand--;
				roused[called] = 1
			:: else -> skip
			fi;
			release()
		}
	}
	for (job : 0 .. JOBS - 1) {
		assert(woken[job] == 1);
		assert((state[job] == TAKEN && ran[job] == 1) ||
		       (state[job] == REMOVED && ran[job] == 0))
	}
}

init {
	atomic {
		run loop();
		run worker(0);
		run worker(1)
	}
}

/* With every process getting its turns. */
ltl every_task_is_woken { <> (ended == JOBS) }
