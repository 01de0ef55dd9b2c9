/* Copying and comparing keys, which are short: what a call of the C library costs would show, and
 * so would a loop whose number of turns cannot be predicted. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum {
	WHI_BYTES_STEP = 16,
	WHI_BYTES_SLACK = 64, /* whi_bytes_copy_over may touch so many bytes past the last one */
};

/* Where the four windows of WHI_BYTES_STEP bytes begin that cover 16 to 64 bytes, overlapping where
 * there are fewer. */
struct whi_bytes_windows {
	size_t at[4];
};

static inline bool whi_bytes_in_windows(size_t len)
{
	return len - WHI_BYTES_STEP <= 3 * WHI_BYTES_STEP;
}

static inline struct whi_bytes_windows whi_bytes_windows(size_t len)
{
	size_t last = len - WHI_BYTES_STEP;
	size_t second = last < WHI_BYTES_STEP ? last : WHI_BYTES_STEP;

	return (struct whi_bytes_windows){ { 0, second, last - second, last } };
}

static inline uint64_t whi_bytes_differ(const uint8_t *a, const uint8_t *b)
{
	uint64_t x[2], y[2];

	memcpy(x, a, sizeof(x));
	memcpy(y, b, sizeof(y));
	return (x[0] ^ y[0]) | (x[1] ^ y[1]);
}

/* Fewer than 16: the first ones and the last ones, some of them twice. */
static inline bool whi_bytes_equal_few(const uint8_t *a, const uint8_t *b, size_t len)
{
	uint64_t x[2] = { 0 }, y[2] = { 0 };
	size_t half = len >= 8 ? 8 : len >= 4 ? 4 : 0;

	if (half == 8) {
		memcpy(&x[0], a, 8);
		memcpy(&y[0], b, 8);
		memcpy(&x[1], a + len - 8, 8);
		memcpy(&y[1], b + len - 8, 8);
	} else if (half == 4) {
		memcpy(&x[0], a, 4);
		memcpy(&y[0], b, 4);
		memcpy(&x[1], a + len - 4, 4);
		memcpy(&y[1], b + len - 4, 4);
	} else if (len > 0) {
		return a[0] == b[0] && a[len / 2] == b[len / 2] && a[len - 1] == b[len - 1];
	}
	return ((x[0] ^ y[0]) | (x[1] ^ y[1])) == 0;
}

static inline bool whi_bytes_equal(const uint8_t *a, const uint8_t *b, size_t len)
{
	struct whi_bytes_windows w;

	if (len < WHI_BYTES_STEP)
		return whi_bytes_equal_few(a, b, len);
	if (!whi_bytes_in_windows(len))
		return memcmp(a, b, len) == 0;
	w = whi_bytes_windows(len);
	return (whi_bytes_differ(a + w.at[0], b + w.at[0]) |
		whi_bytes_differ(a + w.at[1], b + w.at[1]) |
		whi_bytes_differ(a + w.at[2], b + w.at[2]) |
		whi_bytes_differ(a + w.at[3], b + w.at[3])) == 0;
}

static inline void whi_bytes_copy(uint8_t *to, const uint8_t *from, size_t len)
{
	if (len)
		memcpy(to, from, len);
}

/* Copy `len` bytes and then some: up to WHI_BYTES_SLACK more are read and written. */
static inline void whi_bytes_copy_over(uint8_t *to, const uint8_t *from, size_t len)
{
	size_t at = 0;

	do {
		memcpy(to + at, from + at, WHI_BYTES_SLACK);
		at += WHI_BYTES_SLACK;
	} while (at < len);
}
