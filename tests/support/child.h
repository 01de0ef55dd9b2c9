/* Run something that is meant to die in a process of its own. */
#pragma once

#include <signal.h>

struct child {
	int status;	 /* exit status; -1 if a signal ended it */
	int signal;	 /* which; 0 if it exited */
	char text[4096]; /* what it wrote to standard error */
};

/* Fork, call `fn(arg)`, exit with 0. Sanitizers leave SIGSEGV alone in the program that links this,
 * so that a fault looks the same in every build. */
void run_child(struct child *ret, void (*fn)(void *arg), void *arg);
