/*
 * Whole uses of the engine, to be run again and again with something failing in them. Each is the
 * first task of a runtime; it returns 0, or the -errno of the step that failed, holding nothing.
 * Nothing in them waits for long: what does is -ETIMEDOUT.
 */
#pragma once

#include <whorl/task.h>

struct scenario {
	const char *name;
	wh_task_fn fn;
	unsigned loops;
	unsigned bufs; /* receive buffers of a loop; 0: some */
};

extern const struct scenario scenarios[];
extern const unsigned scenario_count;

/* The folder that scenarios may use. */
extern char scenario_folder[64];

/* Make and remove it. */
void scenarios_init(void);
void scenarios_fini(void);

/* Run `fn(arg)` in a scope with a deadline far away, so that nothing hangs. */
int in_time(wh_task_fn fn, void *arg);

/* What went wrong in a scope: `r` in the task that opened it, `closed` as wh_scope_close says. Of
 * the two, one may be only that the other has cancelled it. */
int first_failure(int r, int closed);

/* The path of `name` in the folder. */
const char *scenario_path(char path[128], const char *name);

/* scenarios_sock.c */
int echo_over_tcp(void *arg);
int echo_over_unix(void *arg);
int crowd(void *arg);
int scarce_buffers(void *arg);
int datagrams(void *arg);
int adopted_listener(void *arg);
int stale_socket_file(void *arg);

/* scenarios_file.c; `words` is a file that is there all the time */
enum { WORDS = 3000 };
void make_words(void);
int files(void *arg);
int a_pipe(void *arg);
int named_pipe(void *arg);

/* scenarios_work.c */
int offloading(void *arg);
int two_loops(void *arg);
int word_count(void *arg);
int lines_by_first_letter(void *arg);
int deadlines(void *arg);
int cancellations(void *arg);
int a_process(void *arg);

/* scenarios_bare.c: operations that no public call makes, so that none is left out */
int bare_operations(void *arg);
