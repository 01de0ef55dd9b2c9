/* Addresses as text, in both directions. */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "support/task_test.h"

static void assert_round_trip(const char *text)
{
	char again[WH_ADDR_TEXT_MAX];
	struct wh_addr addr;

	assert_int_equal(wh_addr_parse(text, &addr), 0);
	assert_string_equal(wh_addr_format(&addr, again), text);
}

static void well_formed_ones_come_back_as_they_were(void **state)
{
	static const char *const texts[] = {
		"127.0.0.1:80",
		"0.0.0.0:0",
		"255.255.255.255:65535",
		"[::1]:7000",
		"[::]:1",
		"unix:/a/b c",
		"unix:relative",
		"unix:@abstract",
		"unix:a:b:80",
		"[fe80::1:2:3:4]:65535",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		assert_round_trip(texts[i]);
}

static void malformed_ones_are_einval(void **state)
{
	static const char *const texts[] = {
		"",
		":",
		"80",
		"127.0.0.1",
		"127.0.0.1:",
		"1.2.3:80",
		"1.2.3.4:-1",
		"1.2.3.4:+1",
		"1.2.3.4:65536",
		"1.2.3.4:80x",
		"1.2.3.4: 80",
		"1.2.3.4:0x50",
		"localhost:80",
		"::1:80",
		"[::1]",
		"[::1:80",
		"[]:80",
		"[:80",
		"]:80",
		"[1.2.3.4]:80",
		"[::1]80",
		"unix:",
		"1.2.3.4:99999999999999999999",
		"256.1.1.1:1",
		"1.2.3.4.5.6.7.8.9.10.11.12.13.14.15.16.17.18.19.20.21.22:1",
	};
	struct wh_addr addr;

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		if (wh_addr_parse(texts[i], &addr) != -EINVAL)
			fail_msg("'%s' was taken for an address", texts[i]);
}

static void no_host_means_every_address(void **state)
{
	struct wh_addr addr;
	struct sockaddr_in in;

	(void)state;
	assert_int_equal(wh_addr_parse(":8080", &addr), 0);
	memcpy(&in, &addr.storage, sizeof(in));
	assert_int_equal(addr.len, sizeof(in));
	assert_int_equal(in.sin_family, AF_INET);
	assert_int_equal(in.sin_addr.s_addr, INADDR_ANY);
	assert_int_equal(ntohs(in.sin_port), 8080);
}

static void unix_paths_end_at_107_bytes(void **state)
{
	char text[200] = "unix:", again[WH_ADDR_TEXT_MAX];
	struct wh_addr addr;

	(void)state;
	memset(text + 5, 'p', 107);
	assert_int_equal(wh_addr_parse(text, &addr), 0);
	assert_string_equal(wh_addr_format(&addr, again), text);
	text[5 + 107] = 'p';
	assert_int_equal(wh_addr_parse(text, &addr), -ENAMETOOLONG);
}

static void an_unnamed_unix_socket_can_be_printed(void **state)
{
	struct wh_addr addr = { .len = sizeof(sa_family_t), .storage.ss_family = AF_UNIX };
	char text[WH_ADDR_TEXT_MAX];

	(void)state;
	assert_string_equal(wh_addr_format(&addr, text), "unix:");
}

static void failure_leaves_the_result_alone(void **state)
{
	struct wh_addr addr, before;

	(void)state;
	memset(&addr, 0x5a, sizeof(addr));
	before = addr;
	assert_int_equal(wh_addr_parse("1.2.3.4:x", &addr), -EINVAL);
	assert_int_equal(wh_addr_parse("[x]:1", &addr), -EINVAL);
	assert_memory_equal(&addr, &before, sizeof(addr));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(well_formed_ones_come_back_as_they_were),
		cmocka_unit_test(malformed_ones_are_einval),
		cmocka_unit_test(no_host_means_every_address),
		cmocka_unit_test(unix_paths_end_at_107_bytes),
		cmocka_unit_test(an_unnamed_unix_socket_can_be_printed),
		cmocka_unit_test(failure_leaves_the_result_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
