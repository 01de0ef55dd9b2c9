/* The hash of keys of any length. 64 bits, the upper 32 of which are kept: the top 8 choose the
 * partition, the others the place in its table. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

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

/* Folded multiplication, as in wyhash (Wang Yi, "Modern Non-Cryptographic Hash Function"). */
static inline uint64_t whi_hash_bytes(const uint8_t *bytes, size_t len)
{
	uint64_t hash = len * 0x9e3779b97f4a7c15u;
	size_t left = len;

	for (; left > 16; left -= 16, bytes += 16)
		hash = whi_hash_mix(whi_hash_word(bytes) ^ 0xa0761d6478bd642fu,
				    whi_hash_word(bytes + 8) ^ hash);
	if (len >= 16)
		/* The last 16 bytes; some of them a second time. */
		return whi_hash_mix(whi_hash_word(bytes + left - 16) ^ 0xe7037ed1a0b428dbu,
				    whi_hash_word(bytes + left - 8) ^ hash ^ 0x8ebc6af09c88c6e3u);
	if (len >= 8)
		return whi_hash_mix(whi_hash_word(bytes) ^ 0xe7037ed1a0b428dbu,
				    whi_hash_word(bytes + len - 8) ^ hash ^ 0x8ebc6af09c88c6e3u);
	return whi_hash_mix(whi_hash_tail(bytes, len) ^ 0xe7037ed1a0b428dbu,
			    hash ^ 0x8ebc6af09c88c6e3u);
}
