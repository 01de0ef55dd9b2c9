/*
 * What the scenarios share. A scenario is the first task of a simulated world; it starts programs
 * on the world's hosts, and checks what they did. Memory is shared between hosts, so checks may
 * look at both ends; the programs themselves may not.
 *
 * `arg` of a scenario is the name of a bug planted in it, or NULL: a scenario that does not find
 * its own bugs would find nobody's.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <whorl/run.h>
#include <whorl/scope.h>
#include <whorl/sim.h>
#include <whorl/sock.h>
#include <whorl/task.h>

extern const struct wh_sim_scenario sim_chat, sim_corners, sim_echo, sim_emfile, sim_executor,
	sim_pipeline, sim_replace;

/* With a bug planted. */
extern const struct wh_sim_scenario sim_chat_hole, sim_echo_short, sim_executor_twice,
	sim_pipeline_lost, sim_replace_folder, sim_replace_unsynced;

/* True if the bug called `name` is planted. */
bool planted(const void *arg, const char *name);

/* Calls whose errors a scenario checks. */
enum call { CALL_CONNECT, CALL_LISTEN, CALL_RECV, CALL_SEND, CALL_FILE, CALL_POLL, CALLS };

/* Returns `result`. If it is an error that `call` does not document, the run has failed. */
ssize_t documented(enum call call, ssize_t result);

/* The byte at place `at` of stream `id`. */
uint8_t pattern(uint64_t id, uint64_t at);
void pattern_fill(uint64_t id, uint64_t at, void *buf, size_t len);

/* The first place at which `buf` is not the pattern, or `len`. */
size_t pattern_match(uint64_t id, uint64_t at, const void *buf, size_t len);

/* Between `min` and `max`. */
uint64_t between(uint64_t min, uint64_t max);

/* Sleep for a time up to `max_ns`. */
int pause_up_to(uint64_t max_ns);

/* Connect to `port` of `host`, with documented errors. */
int dial(uint32_t host, uint16_t port, struct wh_sock **ret);

/* Listen at `addr`, or on `port` of the calling host; tries for as long as it lacks descriptors and
 * the like. */
int listen_at(const struct wh_addr *addr, struct wh_listener **ret);
int listen_on(uint16_t port, struct wh_listener **ret);

/* Receive exactly `len` bytes. 0; -EPIPE: the stream has ended; other errors as wh_sock_recv. */
int recv_exactly(struct wh_sock *sock, void *buf, size_t len);

/* Send all. 0 or -errno. */
int send_all(struct wh_sock *sock, const void *buf, size_t len);

/* Something for one task to wait for, and others of the same host to open. */
struct gate {
	struct wh_task *sleeper;
	bool open;
};

void gate_open(struct gate *gate);

/* Suspends until the gate is open, and shuts it. 0, -ECANCELED, -ETIMEDOUT. */
int gate_wait(struct gate *gate);

/* Run `fn(arg)` on every host from `first` to `last`, and wait for all. What they return does not
 * matter: hosts may crash. 0, or -errno of the waiting. */
int run_on_hosts(uint32_t first, uint32_t last, wh_task_fn fn, void *arg);
