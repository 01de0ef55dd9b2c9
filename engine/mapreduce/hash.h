/* The hash of keys of any length. 64 bits, the upper 32 of which are kept: the top 8 choose the
 * partition, the others the place in its table. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "mapreduce/bytes.h"

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
	struct whi_bytes_windows w = whi_bytes_windows(len);
	uint64_t a = whi_hash_16(bytes + w.at[0], 0xa0761d6478bd642fu, 0xe7037ed1a0b428dbu);
	uint64_t b = whi_hash_16(bytes + w.at[1], 0x8ebc6af09c88c6e3u, 0x589965cc75374cc3u);
	uint64_t c = whi_hash_16(bytes + w.at[2], 0x1d8e4e27c47d124fu, 0xeb44accab455d165u);
	uint64_t d = whi_hash_16(bytes + w.at[3], 0x9c6e6877736c46e3u, 0x2d358dccaa6c78a5u);

	return whi_hash_mix(a ^ b ^ len * 0x9e3779b97f4a7c15u, c ^ d ^ 0xd6e8feb86659fd93u);
}

/* Folded multiplication, as in wyhash (Wang Yi, "Modern Non-Cryptographic Hash Function"). */
static inline uint64_t whi_hash_bytes(const uint8_t *bytes, size_t len)
{
	uint64_t hash = len * 0x9e3779b97f4a7c15u;
	size_t left = len;

	if (whi_bytes_in_windows(len))
		return whi_hash_windows(bytes, len);
	for (; left > 16; left -= 16, bytes += 16)
		hash = whi_hash_16(bytes, 0xa0761d6478bd642fu, hash);
	if (len >= 16)
		/* The last 16 bytes; some of them a second time. */
		return whi_hash_16(bytes + left - 16, 0xe7037ed1a0b428dbu,
				   hash ^ 0x8ebc6af09c88c6e3u);
	if (len >= 8)
		return whi_hash_mix(whi_hash_word(bytes) ^ 0xe7037ed1a0b428dbu,
				    whi_hash_word(bytes + len - 8) ^ hash ^ 0x8ebc6af09c88c6e3u);
	return whi_hash_mix(whi_hash_tail(bytes, len) ^ 0xe7037ed1a0b428dbu,
			    hash ^ 0x8ebc6af09c88c6e3u);
}
