/*
 * The words by which the program and a worker process wake each other: exec/process_rings.c, with
 * what calls it in exec/process_flow.c, exec/process_pool.c and exec/process_worker.c.
 *
 * Goal: each job is run and told of, or taken back, exactly once and never both; and nobody sleeps
 * for ever, though the worker sleeps in a futex and rings the doorbell only if it is asked to, the
 * program never waits for anything but the doorbell, and requests that were taken back leave the
 * ring full until the worker has read them.
 *
 * The program is one process here: all of its threads do this under the pool's lock. Records are
 * of one size, so that there is no padding. Replies always find room, as WHI_REPLIES_MAX sees to.
 *
 * Memory: an action is sequentially consistent and atomic, but for the worker's `request_head`:
 * that is stored with release, and so waits in a buffer, which is empty before any later store of
 * the worker can be seen. A doorbell is latched, as an eventfd's count is. That a futex may also
 * wake up for nothing is left out: it would only hide a wake-up that is missing.
 *
 * Each BUG_ is a mistake that tools/models expects the checker to find.
 */
#define JOBS 4
#define PLACES 2   /* in the ring of requests */
#define CANCELS 2  /* at most */

mtype = { WAITS, BEGUN, BACK };

/* Shared. */
byte request_tail = 0;
byte request_head = 0;
byte place_job[PLACES];
mtype place_state[PLACES];
byte reply_tail = 0;
byte reply[JOBS];
bit dozes = 0;
bit bell = 1; /* asked for before the worker begins */
bit nudge = 0;

/* The kernel's. */
bit asleep = 0; /* the worker, in the futex */
bit rung = 0;   /* the doorbell's count is not 0 */

/* The worker's own, and whether its head is still in the buffer. */
byte head = 0;
bit late = 0;

/* The program's own. */
byte tail = 0;
byte seen_head = 0;
byte reply_head = 0;
byte position[JOBS];
bit crowded = 0;
bit unpublished = 0;
chan queue = [JOBS] of { byte };
chan given = [JOBS] of { byte };

/* To check. */
byte ran[JOBS];
bit told[JOBS];
byte ended = 0;

inline end_job(j, runs) {
	assert(!told[j] && ran[j] == runs);
	told[j] = 1;
	ended++
}

/* whi_rings_put: `fits` says whether there was room. */
inline put(j) {
	if
	:: tail - seen_head == PLACES -> seen_head = request_head
	:: else -> skip
	fi;
	d_step {
		fits = (tail - seen_head < PLACES);
		if
		:: fits ->
			place_job[tail % PLACES] = j;
			place_state[tail % PLACES] = WAITS;
			position[j] = tail;
			tail++;
			unpublished = 1
		:: else -> skip
		fi
	}
}

/* hand_over_or_wait */
inline hand_over(j) {
	put(j);
	if
	:: fits || len(given) > 0 -> skip
	:: else ->
#ifdef BUG_LOOK_BEFORE_NUDGE
		put(j);
		nudge = 1
#else
#ifndef BUG_NO_NUDGE
		nudge = 1;
#endif
#ifndef BUG_NO_LOOK_AFTER_NUDGE
		put(j)
#endif
#endif
	fi
}

/* whi_rings_publish */
inline wake_worker() {
	if
	:: dozes ->
		dozes = 0;
		asleep = 0
	:: else -> skip
	fi
}

/* whi_pool_dispatch */
inline dispatch() {
	do
	:: !crowded && len(queue) > 0 ->
		queue?<job>;
		hand_over(job);
		if
		:: fits -> atomic { queue?job; given!job }
		:: else -> crowded = 1
		fi
	:: else -> break
	od;
	if
	:: unpublished ->
		unpublished = 0;
#ifdef BUG_WAKE_BEFORE_PUBLISH
		wake_worker();
		request_tail = tail
#else
		request_tail = tail;
		wake_worker()
#endif
	:: else -> skip
	fi
}

/* whi_pool_drain */
inline drain() {
	do
	:: true ->
#ifdef BUG_LOOK_BEFORE_BELL
		more = (reply_tail != reply_head);
#endif
		do
		:: reply_tail != reply_head ->
			d_step {
				job = reply[reply_head];
				assert(given?[eval(job)]);
				given?eval(job); /* the one that was given first */
				end_job(job, 1);
				reply_head++;
				crowded = 0
			}
		:: else -> break
		od;
		bell = 1;
#ifdef BUG_NO_LOOK_AFTER_BELL
		break
#else
#ifndef BUG_LOOK_BEFORE_BELL
		more = (reply_tail != reply_head);
#endif
		if
		:: more -> skip
		:: else -> break
		fi
#endif
	od;
	crowded = 0
}

/* whi_rings_take_back: `fits` says whether it was. */
inline take_back(j) {
	fits = 0;
	if
#ifndef BUG_TAKE_BACK_BY_PLACE
	:: position[j] < seen_head -> skip
#endif
	:: else ->
#ifdef BUG_TAKE_BACK_IN_TWO
		fits = (place_state[position[j] % PLACES] == WAITS);
		if
		:: fits -> place_state[position[j] % PLACES] = BACK
		:: else -> skip
		fi
#else
		atomic {
			if
			:: place_state[position[j] % PLACES] == WAITS ->
				place_state[position[j] % PLACES] = BACK;
				fits = 1
			:: else -> skip
			fi
		}
#endif
	fi
}

/* pool_remove */
inline remove(j) {
	take_back(j);
	if
	:: fits ->
		atomic {
			given??eval(j);
			end_job(j, 0);
			crowded = 0
		};
#ifndef BUG_NO_DISPATCH_AFTER_TAKING_BACK
		dispatch()
#endif
	:: else -> skip
	fi
}

/* kill_begun, in pool_kill: when what was not begun is taken back and all replies have been taken,
 * what is left is what runs, and nothing else dies with it. That it dies is left out. */
inline kill_begun(j) {
	for (other : 0 .. JOBS - 1) {
		if
		:: given??[eval(other)] ->
			take_back(other);
			if
			:: fits -> atomic { given??eval(other); queue!other; crowded = 0 }
			:: else -> skip
			fi
		:: else -> skip
		fi
	}
#ifndef BUG_KILL_WITHOUT_DRAINING
	drain();
#endif
	assert(!given??[eval(j)] || len(given) == 1);
	dispatch()
}

proctype program()
{
	byte job, submitted = 0, cancels = 0, which, other;
	bit fits, more;

	/* What is never cancelled is not waited for either. */
	select(cancels : 0 .. CANCELS);
	do
	:: ended == JOBS -> break
	:: submitted < JOBS ->
		queue!submitted;
		submitted++;
		dispatch()
	:: cancels > 0 ->
		cancels--;
		if
		:: select(which : 0 .. JOBS - 1);
			if
			:: given??[eval(which)] -> remove(which)
			/* In place of two, or there are too many orders to look at. */
			:: cancels == CANCELS - 1 && given??[eval(which)] ->
				cancels = 0;
				kill_begun(which)
			:: else -> skip
			fi;
			d_step { which = 0; other = 0; fits = 0 }
		:: skip
		fi
	:: atomic { rung -> rung = 0 };
		drain();
		dispatch()
	od
}

inline ring_bell() {
#ifdef BUG_NO_BELL
	skip
#else
	rung = 1
#endif
}

proctype worker()
{
	bit mine;

	do
	:: request_tail != head ->
		/* do_call */
		atomic {
			mine = (place_state[head % PLACES] == WAITS);
			if
			:: mine -> place_state[head % PLACES] = BEGUN
			:: else -> skip
			fi
		};
		if
		:: mine ->
			ran[place_job[head % PLACES]]++;
			assert(!told[place_job[head % PLACES]]);
			/* whi_worker_rings_send */
			reply[reply_tail] = place_job[head % PLACES];
			atomic { !late -> reply_tail++ };
			if
			:: bell ->
				bell = 0;
				ring_bell()
			:: else -> skip
			fi
		:: else -> skip
		fi;
		/* whi_worker_rings_drop */
		atomic { head++; late = 1 }
	:: else ->
		/* whi_worker_rings_nudged */
#ifndef BUG_NO_FENCE
		!late;
#endif
		if
		:: nudge ->
			atomic { !late -> nudge = 0 };
			ring_bell()
		:: else -> skip
		fi;
		/* whi_worker_rings_doze */
#ifdef BUG_LOOK_BEFORE_DOZING
		mine = (request_tail == head);
		atomic { !late -> dozes = 1 };
#else
		atomic { !late -> dozes = 1 };
		mine = (request_tail == head);
#endif
		if
		:: mine ->
#ifdef BUG_SLEEP_WHATEVER_THE_WORD
			asleep = 1;
#else
			asleep = dozes;
#endif
end:			!asleep
		:: else -> skip
		fi;
		dozes = 0
	od
}

active proctype memory()
{
end:
	do
	:: atomic { late -> request_head = head; late = 0 }
	od
}

init {
	atomic {
		run program();
		run worker()
	}
}

/* With every process getting its turns. Deadlock, the other way to lose a wake-up, is looked for
 * in any case. */
ltl every_job_is_told_of { <> (ended == JOBS) }
