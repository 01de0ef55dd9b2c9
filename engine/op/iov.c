/* Vectors of which a part has been moved already. */
#include <sys/uio.h>

#include "op/families.h"

unsigned whi_iov_rest(const struct iovec *iov, unsigned count, size_t skip, struct iovec *ret,
		      unsigned max)
{
	unsigned rest = 0;

	for (unsigned i = 0; i < count && rest < max; i++) {
		if (skip >= iov[i].iov_len) {
			skip -= iov[i].iov_len;
			continue;
		}
		ret[rest].iov_base = (char *)iov[i].iov_base + skip;
		ret[rest++].iov_len = iov[i].iov_len - skip;
		skip = 0;
	}
	return rest;
}

size_t whi_iov_bytes(const struct iovec *iov, unsigned count)
{
	size_t bytes = 0;

	for (unsigned i = 0; i < count; i++)
		bytes += iov[i].iov_len;
	return bytes;
}
