/*
 * The mailbox and the word that says whether its loop sleeps: whi_mpsc in base/queue.h, and
 * whi_loop_post, whi_loop_wake, read_mailbox, wait_ns and whi_loop_turn in loop/loop.c.
 *
 * Goal: every post is run, exactly once, and those of one poster in order, though the loop sleeps
 * in the kernel without a timeout and posters wake it only if it says that it sleeps.
 *
 * Memory: an action is sequentially consistent and atomic unless the code says `relaxed`; such a
 * store waits in a buffer, and a process of its own moves it to memory at any later time. A wake is
 * latched, as an eventfd's count and a message in a ring are.
 *
 * Each BUG_ is a mistake that tools/models expects the checker to find.
 */
#define POSTERS 2
#define POSTS 2 /* each */
#define NODES 4
#define NONE 255

byte top = NONE;       /* whi_mpsc.top */
byte next[NODES];      /* whi_qnode.next */
byte sleeping = 0;     /* wh_loop.sleeping */
byte wakes = 0;	       /* what ends the wait in the kernel */
byte runs[NODES];      /* how often each post was run */
byte last[POSTERS];    /* of each poster: posts run so far */
byte run_count = 0;
byte waiting = 0;      /* the loop is in the kernel */

/* The loop's store buffer holds stores to `sleeping` only: nothing else is written relaxed. */
bit buffered = 0;
byte buffered_value = 0;

#ifdef BUG_RELAXED_POST
/* A poster's store buffer, and what it holds. */
byte late_push[POSTERS] = NONE;
#endif

inline run_post(n) {
	runs[n]++;
	assert(runs[n] == 1);
	/* Node n is the (n mod POSTS)-th post of poster n / POSTS. */
	assert(last[n / POSTS] == n % POSTS);
	last[n / POSTS]++;
	run_count++;
}

/* whi_mpsc_push: `seen` is the value that the compare-and-swap expects. */
inline push(n) {
	seen = top;
	do
	:: next[n] = seen;
	   atomic {
		if
		:: top == seen -> top = n; break
		:: else -> seen = top
		fi
	   }
	od
}

inline whi_loop_wake() {
	if
	:: sleeping == 0 -> skip
	:: else ->
		atomic { was = sleeping; sleeping = 0 }
		if
		:: was == 0 -> skip
		:: else ->
#ifdef BUG_WAKE_NOT_LATCHED
			if
			:: waiting -> wakes = 1
			:: else -> skip
			fi
#else
			wakes = 1
#endif
		fi
	fi
}

proctype poster(byte self)
{
	byte i = 0, n, seen, was;

	do
	:: i < POSTS ->
		n = self * POSTS + i;
#ifdef BUG_RELAXED_POST
		late_push[self] = n;
		whi_loop_wake();
		late_push[self] == NONE; /* the next push comes after this one */
#elif defined(BUG_WAKE_BEFORE_POST)
		whi_loop_wake();
		push(n);
#else
		push(n);
		whi_loop_wake();
#endif
		i++
	:: else -> break
	od
}

/* Runs a chain that was taken, oldest first. */
inline read_mailbox() {
	if
	:: top == NONE -> skip
	:: else ->
#ifdef BUG_TAKE_IN_TWO
		chain = top;
		top = NONE;
#else
		atomic { chain = top; top = NONE };
#endif
		d_step {
			reversed = NONE;
			do
			:: chain != NONE ->
				node = next[chain];
				next[chain] = reversed;
				reversed = chain;
				chain = node
			:: else -> break
			od
		}
		do
		:: reversed != NONE ->
			node = reversed;
			reversed = next[node];
			run_post(node)
		:: else -> break
		od
	fi
}

proctype loop()
{
	byte chain, reversed, node;
	bit stay;

	do
	:: run_count == NODES -> break
	:: else ->
		read_mailbox();
		/* wait_ns: the scheduler is idle and no timer is set. */
#ifdef BUG_LOOK_BEFORE_SLEEPING
		stay = (top != NONE);
		atomic { buffered = 0; sleeping = 1 };
#else
#ifdef BUG_RELAXED_SLEEP
		atomic { buffered = 1; buffered_value = 1 };
#else
		/* The buffered store comes first and is overwritten. */
		atomic { buffered = 0; sleeping = 1 };
#endif
		stay = (top != NONE);
#endif
		/* The backend's turn. */
		if
		:: stay || run_count == NODES -> skip
		:: else ->
			waiting = 1;
			atomic { wakes > 0 -> wakes = 0; waiting = 0 }
		fi;
		/* sleeping = 0, relaxed. */
		atomic { buffered = 1; buffered_value = 0 }
	od
}

active proctype memory()
{
end:
	do
	:: atomic { buffered -> sleeping = buffered_value; buffered = 0 }
#ifdef BUG_RELAXED_POST
	:: atomic { late_push[0] != NONE -> next[late_push[0]] = top; top = late_push[0];
		    late_push[0] = NONE }
	:: atomic { late_push[1] != NONE -> next[late_push[1]] = top; top = late_push[1];
		    late_push[1] = NONE }
#endif
	od
}

init {
	atomic {
		run loop();
		run poster(0);
		run poster(1)
	}
}

/* With every process getting its turns. Deadlock, the other way to lose a wake-up, is looked for
 * in any case. */
ltl every_post_is_run { <> (run_count == NODES) }
