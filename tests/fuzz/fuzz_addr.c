/*
 * wh_addr_parse on any text: what it takes is of the documented form, is written again by
 * wh_addr_format, and read again as the same address.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <whorl/sock.h>

#include "fuzz/bytes.h"
#include "support/task_test.h"

static void check_family(const struct wh_addr *addr, const char *text)
{
	if (strncmp(text, "unix:", 5) == 0)
		check_int(addr->storage.ss_family, AF_UNIX);
	else
		check_int(addr->storage.ss_family, text[0] == '[' ? AF_INET6 : AF_INET);
	check(addr->len <= sizeof(addr->storage));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);
	char again[WH_ADDR_TEXT_MAX];
	struct wh_addr addr, second;
	int r;

	check(text);
	memcpy(text, data, size);
	text[size] = '\0';
	memset(&addr, 0x5a, sizeof(addr));
	r = wh_addr_parse(text, &addr);
	check(r == 0 || r == -EINVAL || r == -ENAMETOOLONG);
	if (r == 0) {
		check_family(&addr, text);
		check(wh_addr_format(&addr, again) == again);
		check(memchr(again, '\0', sizeof(again)));
		check_int(wh_addr_parse(again, &second), 0);
		check_int(second.len, addr.len);
		check(memcmp(&second.storage, &addr.storage, addr.len) == 0);
	}
	free(text);
	return 0;
}
