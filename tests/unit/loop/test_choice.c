/*
 * Which backend wh_run takes, and what it tells about that.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "support/task_test.h"

static bool io_uring_works; /* found out before anything else */

static int copy_choice(void *arg)
{
	return wh_backend_why(arg);
}

static int run_with(const char *backend, struct wh_backend_choice *ret)
{
	int result = -1;
	int r = wh_run(copy_choice, ret, &(struct wh_run_opts){ .loops = 1, .backend = backend },
		       &result);

	if (r == 0)
		assert_int_equal(result, 0);
	return r;
}

static void the_best_is_taken_by_default(void **state)
{
	struct wh_backend_choice choice;

	(void)state;
	assert_int_equal(run_with(NULL, &choice), 0);
	assert_string_equal(choice.name, io_uring_works ? "uring" : "epoll");
	assert_int_equal(choice.fallback, !io_uring_works);
	assert_int_equal(choice.err == 0, io_uring_works);
	assert_int_equal(choice.cure[0] == '\0', io_uring_works);
	assert_false(choice.asked);
	assert_true(choice.why[0]);
}

static void asking_outside_of_a_runtime_tells_the_same(void **state)
{
	struct wh_backend_choice inside, outside;

	(void)state;
	assert_int_equal(run_with(NULL, &inside), 0);
	assert_int_equal(wh_backend_why(&outside), 0);
	assert_string_equal(outside.name, inside.name);
	assert_string_equal(outside.why, inside.why);
	assert_int_equal(outside.fallback, inside.fallback);
}

static void what_was_asked_for_is_no_fallback(void **state)
{
	struct wh_backend_choice choice;

	(void)state;
	assert_int_equal(run_with("epoll", &choice), 0);
	assert_string_equal(choice.name, "epoll");
	assert_true(choice.asked);
	assert_false(choice.fallback);
	if (!io_uring_works)
		skip();
	assert_int_equal(run_with("uring", &choice), 0);
	assert_string_equal(choice.name, "uring");
	assert_true(choice.asked);
}

static void the_option_goes_before_the_environment(void **state)
{
	struct wh_backend_choice choice;

	(void)state;
	setenv("WHORL_BACKEND", "nonsense", 1);
	assert_int_equal(run_with("epoll", &choice), 0);
	assert_string_equal(choice.name, "epoll");
	assert_int_equal(run_with(NULL, &choice), -EINVAL);
	setenv("WHORL_BACKEND", "epoll", 1);
	assert_int_equal(run_with(NULL, &choice), 0);
	assert_string_equal(choice.name, "epoll");
	/* Set to nothing is not set. */
	setenv("WHORL_BACKEND", "", 1);
	assert_int_equal(run_with(NULL, &choice), 0);
	assert_false(choice.asked);
	unsetenv("WHORL_BACKEND");
}

static void an_unknown_name_is_answered_with_those_there_are(void **state)
{
	struct wh_backend_choice choice;
	const char *advice;

	(void)state;
	assert_int_equal(run_with("kqueue", &choice), -EINVAL);
	advice = wh_run_advice(-EINVAL);
	assert_non_null(strstr(advice, "'kqueue'"));
	assert_non_null(strstr(advice, "uring"));
	assert_non_null(strstr(advice, "epoll"));
	setenv("WHORL_BACKEND", "kqueue", 1);
	assert_int_equal(wh_backend_why(&choice), -EINVAL);
	assert_non_null(strstr(choice.why, "'kqueue'"));
	unsetenv("WHORL_BACKEND");
}

static void an_unknown_feature_is_refused_with_any_backend(void **state)
{
	static const char *const backends[] = { NULL, "epoll", "uring" };

	(void)state;
	for (int i = 0; i < 3; i++) {
		const struct wh_run_opts opts = { .loops = 1,
						  .backend = backends[i],
						  .uring_off = "wings" };

		assert_int_equal(wh_run(copy_choice, NULL, &opts, NULL), -EINVAL);
		assert_non_null(strstr(wh_run_advice(-EINVAL), "'wings'"));
		assert_non_null(strstr(wh_run_advice(-EINVAL), "bufring"));
	}
}

static void advice_is_of_the_last_failure_only(void **state)
{
	struct wh_backend_choice choice;

	(void)state;
	assert_int_equal(run_with("kqueue", &choice), -EINVAL);
	assert_int_equal(run_with(NULL, &choice), 0);
	assert_null(strstr(wh_run_advice(-EINVAL), "kqueue"));
	assert_int_equal(run_with("kqueue", &choice), -EINVAL);
	assert_int_equal(wh_run(copy_choice, NULL, &(struct wh_run_opts){ .loops = 5000 }, NULL),
			 -EINVAL);
	assert_null(strstr(wh_run_advice(-EINVAL), "kqueue"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_best_is_taken_by_default),
		cmocka_unit_test(asking_outside_of_a_runtime_tells_the_same),
		cmocka_unit_test(what_was_asked_for_is_no_fallback),
		cmocka_unit_test(the_option_goes_before_the_environment),
		cmocka_unit_test(an_unknown_name_is_answered_with_those_there_are),
		cmocka_unit_test(an_unknown_feature_is_refused_with_any_backend),
		cmocka_unit_test(advice_is_of_the_last_failure_only),
	};
	struct wh_feature features[WH_FEATURES_MAX];

	unsetenv("WHORL_BACKEND");
	unsetenv("WHORL_URING_OFF");
	io_uring_works = wh_probe(features) >= 0;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
