/* Copying and comparing keys, which are short: what a call of the C library costs would show. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { WHI_BYTES_STEP = 16 };

static inline bool whi_bytes_differ(const uint8_t *a, const uint8_t *b)
{
	uint64_t x[2], y[2];

	memcpy(x, a, sizeof(x));
	memcpy(y, b, sizeof(y));
	return ((x[0] ^ y[0]) | (x[1] ^ y[1])) != 0;
}

static inline bool whi_bytes_equal(const uint8_t *a, const uint8_t *b, size_t len)
{
	size_t at = 0;

	if (len < WHI_BYTES_STEP)
		return memcmp(a, b, len) == 0;
	for (; at + WHI_BYTES_STEP < len; at += WHI_BYTES_STEP)
		if (whi_bytes_differ(a + at, b + at))
			return false;
	/* The last ones; some of them a second time. */
	return !whi_bytes_differ(a + len - WHI_BYTES_STEP, b + len - WHI_BYTES_STEP);
}

static inline void whi_bytes_copy(uint8_t *to, const uint8_t *from, size_t len)
{
	size_t at = 0;

	if (len < WHI_BYTES_STEP) {
		for (; at < len; at++)
			to[at] = from[at];
		return;
	}
	if (len > 16 * WHI_BYTES_STEP) {
		memcpy(to, from, len);
		return;
	}
	for (; at + WHI_BYTES_STEP < len; at += WHI_BYTES_STEP)
		memcpy(to + at, from + at, WHI_BYTES_STEP);
	memcpy(to + len - WHI_BYTES_STEP, from + len - WHI_BYTES_STEP, WHI_BYTES_STEP);
}
