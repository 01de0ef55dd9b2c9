/*
 * What the hand-written echo servers and the raw load generator share: addresses, limits, the
 * signal that ends a server, and the one line of statistics that bench/run reads.
 */
#ifndef BENCH_ECHO_COMMON_H
#define BENCH_ECHO_COMMON_H

#include <stdint.h>
#include <sys/socket.h>

struct endpoint {
	struct sockaddr_storage addr;
	socklen_t len;
};

/* Counted by the server itself, from its start to its end. */
struct echo_stats {
	uint64_t echoes;      /* messages: one receive that was sent back */
	uint64_t bytes;	      /* sent back */
	uint64_t syscalls;    /* made after the start-up */
	uint64_t connections; /* accepted */
	uint64_t errors;      /* accepts that failed, connections that ended by an error */
};

/* Read "ADDR:PORT", "[ADDR6]:PORT" or "unix:PATH". Returns 0, or -EINVAL. */
int endpoint_parse(const char *text, struct endpoint *ret);

/* Open a listening, non-blocking socket; a stale unix socket at the path is replaced. */
int endpoint_listen(const struct endpoint *endpoint);

/* Open a socket and connect it, blocking; it is non-blocking afterwards. */
int endpoint_connect(const struct endpoint *endpoint);

/* Remove the unix socket's path, if it is one. */
void endpoint_unlink(const struct endpoint *endpoint);

/* Lift the soft limit of open files to the hard one. Returns the limit. */
uint64_t file_limit_raise(void);

/* Block SIGTERM and SIGINT and return a descriptor that becomes readable when one arrives. */
int termination_fd_open(void);

/* Nanoseconds of CLOCK_MONOTONIC. */
uint64_t now_ns(void);

/* Nanoseconds of user and system time used by all threads of this process. */
uint64_t cpu_used_ns(void);

/* Print the statistics as one line of JSON on standard output. */
void echo_stats_print(const char *name, const struct echo_stats *stats);

/* Read a whole decimal number within [low, high]. Returns 0, or -EINVAL. */
int number_parse(const char *text, uint64_t low, uint64_t high, uint64_t *ret);

#endif
