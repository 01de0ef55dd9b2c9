/*
 * Jobs on their way to workers and back: wh_offload, remove_job, wait_for_job and work in
 * exec/threads.c. The way back is the loop's mailbox, which loop/mailbox.pml is about; here it
 * is a channel.
 *
 * Goal: each job wakes its task exactly once, run or removed and never both; none is touched after
 * its task may have left; nobody waits for ever, whatever is cancelled when, and though the queue
 * holds QUEUE_MAX jobs and others stand in line.
 *
 * The loop is one thread: submitting, cancelling and what is posted run there, one after another.
 * A signal without a waiter is lost. That one may also wake up for nothing is left out: a worker
 * then looks again, which would only hide a signal that is missing.
 *
 * Each BUG_ is a mistake that tools/models expects the checker to find.
 */
#define JOBS 3
#define WORKERS 2
#define QUEUE_MAX 1
#define NOBODY 255

mtype = { NEW, WAITING, TAKEN, REMOVED };

mtype state[JOBS] = NEW;
bit queued[JOBS]; /* on the queue, no longer in line */
bit there[JOBS];  /* its task is suspended: the job in its frame is valid */
bit to_cancel[JOBS]; /* at some time from now on */
byte ran[JOBS];
byte woken[JOBS];
byte ended = 0;

chan queue = [JOBS] of { byte };
chan line = [JOBS] of { byte };
chan mailbox = [JOBS] of { byte };
byte queued_count = 0;

byte lock = NOBODY; /* who holds it; workers, then the loop */
byte idle = 0;	    /* workers that wait, as they count themselves */
bit asleep[WORKERS];
bit closing = 0;

#define LOOP WORKERS

inline acquire(who) {
	atomic { lock == NOBODY -> lock = who }
}

inline release() {
	lock = NOBODY
}

inline enqueue(job) {
	queued[job] = 1;
	queued_count++;
	queue!job
}

/* A job has left the queue: the first in line takes its place. */
inline move_up() {
	queued_count--;
#ifndef BUG_LINE_STAYS
	if
	:: nempty(line) -> line?moved; enqueue(moved)
	:: empty(line) -> skip
	fi
#endif
}

inline wake_task(job) {
	assert(there[job]);
	woken[job]++;
	assert(woken[job] == 1);
	there[job] = 0; /* it returns, and its frame goes */
	ended++
}

/* pthread_cond_signal and pthread_cond_broadcast. */
inline signal_one() {
	atomic {
		if
		:: asleep[0] -> asleep[0] = 0
		:: asleep[1] -> asleep[1] = 0
		:: !asleep[0] && !asleep[1] -> skip
		fi
	}
}

proctype worker(byte self)
{
	byte job, moved;

	do
	::
		acquire(self);
		do
		:: d_step {
			nempty(queue) -> queue?job;
			assert(there[job]);
#ifndef BUG_STATE_AFTER_UNLOCK
			assert(state[job] == WAITING);
			state[job] = TAKEN;
#endif
			move_up()
		   };
		   break
		:: empty(queue) && closing -> job = NOBODY; break
		:: empty(queue) && !closing ->
			idle++;
#ifdef BUG_WAIT_IN_TWO
			release();
			asleep[self] = 1;
#else
			atomic { asleep[self] = 1; release() };
#endif
			!asleep[self];
			acquire(self);
			idle--
		od;
		release();
		if
		:: job == NOBODY -> break
		:: else -> skip
		fi;
#ifdef BUG_STATE_AFTER_UNLOCK
		state[job] = TAKEN;
#endif
		assert(there[job]);
		ran[job]++;
		mailbox!job;
#ifdef BUG_TOUCH_AFTER_POST
		assert(there[job]);
#endif
	od
}

/* wh_offload up to where the task suspends. */
inline submit(job) {
	acquire(LOOP);
	assert(!closing);
	d_step {
		state[job] = WAITING;
		there[job] = 1;
		if
		:: queued_count < QUEUE_MAX -> enqueue(job)
		:: else -> line!job
		fi;
		wake = (idle > 0)
	};
	release();
#ifndef BUG_NO_SIGNAL
	if
	:: wake -> signal_one()
	:: else -> skip
	fi
#endif
}

/* Takes `job` out of a channel, wherever it stands there. */
inline take_out(from, job) {
	from??eval(job)
}

inline remove_job(job) {
	removed = 0;
#ifndef BUG_NO_LOCK_TO_REMOVE
	acquire(LOOP);
#endif
	if
#ifdef BUG_REMOVE_TAKEN
	:: true ->
#else
	:: state[job] == WAITING ->
#endif
		removed = 1;
		state[job] = REMOVED;
		if
		:: queued[job] && queue??[eval(job)] -> take_out(queue, job); move_up()
		:: !queued[job] -> take_out(line, job)
		:: else -> skip
		fi
#ifndef BUG_REMOVE_TAKEN
	:: else -> skip
#endif
	fi;
#ifndef BUG_NO_LOCK_TO_REMOVE
	release();
#endif
	if
	:: removed -> wake_task(job)
	:: else -> skip
	fi
}

proctype loop()
{
	byte next = 0, job, moved;
	bit wake, removed;

	do
	:: ended == JOBS -> break
	:: next < JOBS ->
		if
		:: to_cancel[next] = 1
		:: skip
		fi;
		submit(next);
		next++
	:: mailbox?job -> wake_task(job)
	:: there[0] && to_cancel[0] -> to_cancel[0] = 0; remove_job(0)
	:: there[1] && to_cancel[1] -> to_cancel[1] = 0; remove_job(1)
	:: there[2] && to_cancel[2] -> to_cancel[2] = 0; remove_job(2)
	od;
	/* wh_executor_close */
	acquire(LOOP);
	closing = 1;
	atomic { asleep[0] = 0; asleep[1] = 0 };
	release();
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
