/* The bytes of a fuzzer's input, read front to back; zeros follow. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bytes {
	const uint8_t *at;
	size_t left;
};

static inline uint8_t bytes_next(struct bytes *bytes)
{
	if (bytes->left == 0)
		return 0;
	bytes->left--;
	return *bytes->at++;
}

/* 0 .. `limit` - 1, of at most 256 values. */
static inline unsigned bytes_below(struct bytes *bytes, unsigned limit)
{
	return bytes_next(bytes) % limit;
}

/* What libFuzzer, or replay.c in its place, calls. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
