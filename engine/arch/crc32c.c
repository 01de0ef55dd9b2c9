#include "arch/crc32c.h"

#include <endian.h>
#include <stdbool.h>
#include <string.h>

#if defined(__x86_64__)
#include <nmmintrin.h>
#elif defined(__aarch64__)
#include <arm_acle.h>
#include <sys/auxv.h>
#endif

enum { POLYNOMIAL = 0x82f63b78, SLICES = 8 };

/* table[k][b]: the sum of byte `b` followed by `k` zeros. */
struct table {
	uint32_t of[SLICES][256];
};

/* Filled in before main, so that nobody has to wait for it or ask. */
static struct table table;

__attribute__((constructor)) static void table_init(void)
{
	for (uint32_t byte = 0; byte < 256; byte++) {
		uint32_t crc = byte;

		for (unsigned bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? (uint32_t)POLYNOMIAL : 0);
		table.of[0][byte] = crc;
	}
	for (unsigned slice = 1; slice < SLICES; slice++)
		for (unsigned byte = 0; byte < 256; byte++) {
			uint32_t crc = table.of[slice - 1][byte];

			table.of[slice][byte] = crc >> 8 ^ table.of[0][crc & 0xff];
		}
}

static uint64_t load(const uint8_t *at)
{
	uint64_t word;

	memcpy(&word, at, sizeof(word));
	return le64toh(word);
}

/* Eight bytes at a time (M. Kounavis, F. Berry, "Novel Table Lookup-Based Algorithms for
 * High-Performance CRC Generation"). */
static uint32_t sum_table(uint32_t crc, const uint8_t *at, size_t len)
{
	for (; len >= 8; at += 8, len -= 8) {
		uint64_t word = load(at) ^ crc;

		crc = 0;
		for (unsigned i = 0; i < 8; i++)
			crc ^= table.of[7 - i][word >> (8 * i) & 0xff];
	}
	for (; len > 0; at++, len--)
		crc = crc >> 8 ^ table.of[0][(crc ^ *at) & 0xff];
	return crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t sum_instruction(uint32_t crc, const uint8_t *at,
								  size_t len)
{
	uint64_t wide = crc;

	for (; len >= 8; at += 8, len -= 8)
		wide = _mm_crc32_u64(wide, load(at));
	for (crc = (uint32_t)wide; len > 0; at++, len--)
		crc = _mm_crc32_u8(crc, *at);
	return crc;
}

static bool has_instruction(void)
{
	return __builtin_cpu_supports("sse4.2");
}
#elif defined(__aarch64__)
__attribute__((target("+crc"))) static uint32_t sum_instruction(uint32_t crc, const uint8_t *at,
								size_t len)
{
	for (; len >= 8; at += 8, len -= 8)
		crc = __crc32cd(crc, load(at));
	for (; len > 0; at++, len--)
		crc = __crc32cb(crc, *at);
	return crc;
}

static bool has_instruction(void)
{
	enum { HWCAP_CRC32C = 1 << 7 };

	return getauxval(AT_HWCAP) & HWCAP_CRC32C;
}
#else
#define sum_instruction sum_table

static bool has_instruction(void)
{
	return false;
}
#endif

uint32_t whi_crc32c(uint32_t crc, const void *data, size_t len)
{
	if (!has_instruction())
		return whi_crc32c_table(crc, data, len);
	return ~sum_instruction(~crc, data, len);
}

uint32_t whi_crc32c_table(uint32_t crc, const void *data, size_t len)
{
	return ~sum_table(~crc, data, len);
}
