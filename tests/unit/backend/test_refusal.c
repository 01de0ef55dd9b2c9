/*
 * Why io_uring is refused: from what is known of the place to one sentence, by table. The facts are
 * made up, so every place can be tried on any machine.
 */
#include "backend/refusal.h"

#include <errno.h>
#include <string.h>
#include <sys/prctl.h>

#include "support/task_test.h"

struct place {
	int err;
	struct whi_refusal_facts facts;
	enum whi_refusal_kind expected;
	const char *says; /* in the sentence or its cure */
};

/* A bare kernel with io_uring, of today. */
#define BARE .seccomp = 0, .disabled = 0
#define OLD .seccomp = 0, .disabled = -1

static const struct place places[] = {
	{ -ENOSYS, { OLD, .older = true }, WHI_REFUSAL_OLD_KERNEL, "older than io_uring" },
	{ -ENOSYS, { OLD }, WHI_REFUSAL_NOT_BUILT, "CONFIG_IO_URING" },
	{ -ENOSYS, { .seccomp = 2, .disabled = 0 }, WHI_REFUSAL_HIDDEN, "seccomp" },
	{ -ENOSYS, { .seccomp = 2, .disabled = -1 }, WHI_REFUSAL_HIDDEN, "seccomp" },
	/* A kernel with the sysctl has io_uring, so something hides it. */
	{ -ENOSYS, { .seccomp = -1, .disabled = 0 }, WHI_REFUSAL_HIDDEN, "hides" },
	{ -ENOSYS,
	  { .seccomp = 2, .disabled = -1, .older = true },
	  WHI_REFUSAL_OLD_KERNEL,
	  "Linux 6.1" },
	{ -ENOSYS, { OLD, .gvisor = true, .older = true }, WHI_REFUSAL_GVISOR, "gVisor" },
	{ -EPERM, { .gvisor = true, .seccomp = 2 }, WHI_REFUSAL_GVISOR, "runc" },
	{ -EPERM, { .seccomp = 2 }, WHI_REFUSAL_SECCOMP, "--security-opt seccomp=" },
	{ -EPERM, { .seccomp = 2, .disabled = -1 }, WHI_REFUSAL_SECCOMP, "Docker" },
	{ -EPERM, { .disabled = 2 }, WHI_REFUSAL_DISABLED, "kernel.io_uring_disabled=2" },
	{ -EPERM, { .disabled = 2, .exempt = true }, WHI_REFUSAL_DISABLED, "everybody" },
	/* Lifting the filter alone would not help. */
	{ -EPERM, { .disabled = 2, .seccomp = 2 }, WHI_REFUSAL_DISABLED, "sysctl" },
	{ -EPERM, { .disabled = 1 }, WHI_REFUSAL_DISABLED_FOR_US, "kernel.io_uring_group" },
	{ -EPERM, { .disabled = 1, .exempt = true }, WHI_REFUSAL_UNKNOWN, "security module" },
	{ -EPERM, { .disabled = 1, .exempt = true, .seccomp = 2 }, WHI_REFUSAL_SECCOMP, "seccomp" },
	{ -EACCES, { BARE, .selinux = true }, WHI_REFUSAL_LSM, "SELinux" },
	{ -EPERM, { BARE, .selinux = true }, WHI_REFUSAL_LSM, "ausearch" },
	{ -EACCES, { BARE }, WHI_REFUSAL_UNKNOWN, "log" },
	{ -EACCES, { .seccomp = 2 }, WHI_REFUSAL_UNKNOWN, "rule of the host" },
	{ -EOPNOTSUPP, { BARE, .missing = "this" }, WHI_REFUSAL_MISSING, "lacks" },
};

static void each_place_has_its_reason(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		const struct place *place = &places[i];
		struct whi_refusal refusal = whi_refusal_of(place->err, &place->facts);

		if (refusal.kind != place->expected)
			fail_msg("place %zu: reason %d, not %d", i, refusal.kind, place->expected);
		if (!strstr(refusal.why, place->says) && !strstr(refusal.cure, place->says))
			fail_msg("place %zu: no '%s' in: %s; %s", i, place->says, refusal.why,
				 refusal.cure);
	}
}

static void each_reason_has_its_own_sentence(void **state)
{
	const char *seen[WHI_REFUSAL_MAX] = { NULL };

	(void)state;
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		struct whi_refusal refusal = whi_refusal_of(places[i].err, &places[i].facts);

		seen[refusal.kind] = refusal.why;
	}
	for (int a = WHI_REFUSAL_NONE + 1; a < WHI_REFUSAL_MAX; a++) {
		if (!seen[a])
			fail_msg("no place for reason %d", a);
		for (int b = WHI_REFUSAL_NONE + 1; b < a; b++)
			assert_string_not_equal(seen[a], seen[b]);
	}
}

static void shortage_is_no_refusal(void **state)
{
	static const int errors[] = { -ENOMEM, -EMFILE, -ENFILE, -EINVAL, -EAGAIN, 0 };
	const struct whi_refusal_facts worst = { .disabled = 2, .seccomp = 2, .gvisor = true };

	(void)state;
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		assert_false(whi_is_refusal(errors[i]));
		assert_int_equal(whi_refusal_of(errors[i], &worst).kind, WHI_REFUSAL_NONE);
	}
	assert_true(whi_is_refusal(-ENOSYS) && whi_is_refusal(-EPERM));
	assert_true(whi_is_refusal(-EACCES) && whi_is_refusal(-EOPNOTSUPP));
}

static void looking_sees_whether_a_filter_is_there(void **state)
{
	struct whi_refusal_facts facts;

	(void)state;
	whi_refusal_look(&facts);
	assert_int_equal(facts.seccomp, prctl(PR_GET_SECCOMP));
	assert_true(facts.disabled >= -1 && facts.disabled <= 2);
	assert_non_null(facts.missing);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_place_has_its_reason),
		cmocka_unit_test(each_reason_has_its_own_sentence),
		cmocka_unit_test(shortage_is_no_refusal),
		cmocka_unit_test(looking_sees_whether_a_filter_is_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
