/*
 * What the ill-treating clients share. They are ordinary programs on plain sockets: they must not
 * trust what they test.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Print why, and end with status 1. */
_Noreturn __attribute__((format(printf, 1, 2))) void fail(const char *format, ...);

/* `text` as a number from `min` to `max`; fails with `what` in the message. */
uint64_t number(const char *what, const char *text, uint64_t min, uint64_t max);

double now_s(void);

/* The next number of splitmix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number
 * generators"). */
uint64_t random_next(uint64_t *state);

/* What connection `index` sends, from byte `at` on: at least PATTERN_SPAN bytes, which differ
 * between connections and places. */
enum { PATTERN_SPAN = 65521 };
const char *pattern(uint64_t index, uint64_t at);

/* A connection to 127.0.0.1, or -errno. It blocks, for at most 20 seconds at a time. */
int dial(unsigned port);

/* Close with a reset. */
void reset(int fd);
