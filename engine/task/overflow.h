/*
 * Stack overflows, caught on an alternate signal stack: the report names the task, its stack size
 * and where it was spawned, then the fault takes its ordinary course.
 */
#pragma once

/* Catch SIGSEGV and SIGBUS for the process; counted, so that runtimes may overlap. 0 or -errno. */
int whi_overflow_catch(void);
void whi_overflow_uncatch(void);

/* Give the calling thread an alternate stack; `ret` is for whi_overflow_thread_fini, which restores
 * the one it had before. 0 or -errno. */
int whi_overflow_thread_init(void **ret);
void whi_overflow_thread_fini(void *ptr);
