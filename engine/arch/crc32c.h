/* CRC-32C (Castagnoli; RFC 3720, appendix B.4), by the processor's instruction if it has one. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* The sum of `len` bytes more; `crc` is that of the bytes before them, 0 at the beginning. */
uint32_t whi_crc32c(uint32_t crc, const void *data, size_t len);

/* The same without the instruction: for processors that lack it, and to compare with. */
uint32_t whi_crc32c_table(uint32_t crc, const void *data, size_t len);
