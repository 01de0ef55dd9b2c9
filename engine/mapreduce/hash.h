/* The hash of keys of any length. 64 bits, the upper 32 of which are kept: the top 8 choose the
 * partition, the others the place in its table.
 *
 * What it comes to depends on a secret that each process draws when it starts: whoever chooses the
 * input cannot choose keys that all have one place. Rows do not depend on it: they are sorted. */
#pragma once

#include <stdalign.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "mapreduce/bytes.h"

enum { WHI_HASH_WINDOWS = 4, WHI_HASH_ROUNDS = 3 };

struct whi_hash_secret {
	alignas(16) uint64_t rounds[WHI_HASH_ROUNDS][2]; /* of kernels with AES, which see */
	uint64_t windows[WHI_HASH_WINDOWS][2];
	uint64_t begin, end, low, high, step;
};

/* Written when the process starts, and by whi_hash_adopt. */
extern struct whi_hash_secret whi_hash_secret;

/* What the secret was made of. */
uint64_t whi_hash_seed(void);

/* Take another process's seed: keys that it has hashed will come. 0 is always the same secret.
 * Nobody else hashes meanwhile, and nothing hashed before is kept. */
void whi_hash_adopt(uint64_t seed);

/* A job begins to hash, or has ended. Any thread. */
void whi_hash_begin(void);
void whi_hash_end(void);

/* By a job, before it hashes anything: take the seed that it was begun with by another process.
 * Returns whether that is the seed now; it is not if another job hashes, or if the user has fixed
 * the seed. */
bool whi_hash_go_on(uint64_t seed);

static inline uint64_t whi_hash_mix(uint64_t a, uint64_t b)
{
	__extension__ unsigned __int128 product = (unsigned __int128)a * b;

	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t whi_hash_word(const uint8_t *at)
{
	uint64_t word;

	memcpy(&word, at, sizeof(word));
	return word;
}

/* Of a short key. */
static inline uint64_t whi_hash_short(uint64_t low, uint64_t high)
{
	return whi_hash_mix(low ^ whi_hash_secret.low, high ^ whi_hash_secret.high);
}

/* Fewer than 8 bytes as a number. Different bytes of the same length give different numbers. */
static inline uint64_t whi_hash_tail(const uint8_t *at, size_t len)
{
	uint32_t low, high;

	if (len < 4)
		return len ? (uint64_t)at[0] << 16 | (uint64_t)at[len / 2] << 8 | at[len - 1] : 0;
	memcpy(&low, at, 4);
	memcpy(&high, at + len - 4, 4);
	return (uint64_t)high << 32 | low;
}

static inline uint64_t whi_hash_16(const uint8_t *at, uint64_t low, uint64_t high)
{
	return whi_hash_mix(whi_hash_word(at) ^ low, whi_hash_word(at + 8) ^ high);
}

/* The common lengths, without a branch on which: overlapping windows, each with its own numbers. */
static inline uint64_t whi_hash_windows(const uint8_t *bytes, size_t len)
{
	const uint64_t(*own)[2] = whi_hash_secret.windows;
	struct whi_bytes_windows w = whi_bytes_windows(len);
	uint64_t a = whi_hash_16(bytes + w.at[0], own[0][0], own[0][1]);
	uint64_t b = whi_hash_16(bytes + w.at[1], own[1][0], own[1][1]);
	uint64_t c = whi_hash_16(bytes + w.at[2], own[2][0], own[2][1]);
	uint64_t d = whi_hash_16(bytes + w.at[3], own[3][0], own[3][1]);

	return whi_hash_mix(a ^ b ^ len * 0x9e3779b97f4a7c15u, c ^ d ^ whi_hash_secret.end);
}

/* Folded multiplication, as in wyhash (Wang Yi, "Modern Non-Cryptographic Hash Function"). No
 * factor is known: one that can be made zero makes all products the same. */
static inline uint64_t whi_hash_bytes(const uint8_t *bytes, size_t len)
{
	const struct whi_hash_secret *secret = &whi_hash_secret;
	uint64_t hash = len * 0x9e3779b97f4a7c15u ^ secret->begin;
	size_t left = len;

	if (whi_bytes_in_windows(len))
		return whi_hash_windows(bytes, len);
	for (; left > 16; left -= 16, bytes += 16)
		hash = whi_hash_16(bytes, secret->step, hash);
	if (len >= 16)
		/* The last 16 bytes; some of them a second time. */
		return whi_hash_16(bytes + left - 16, secret->high, hash ^ secret->low);
	if (len >= 8)
		return whi_hash_mix(whi_hash_word(bytes) ^ secret->high,
				    whi_hash_word(bytes + len - 8) ^ hash ^ secret->low);
	return whi_hash_mix(whi_hash_tail(bytes, len) ^ secret->high, hash ^ secret->low);
}
