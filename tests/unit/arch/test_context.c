/*
 * The context switch: what survives it. Values that the compiler has reason to keep in registers
 * are carried across many switches between contexts that all do the same with other numbers.
 */
#include "arch/context.h"

#include <fenv.h>
#include <float.h>
#include <stdlib.h>
#include <string.h>

#include "support/task_test.h"

enum { STACK_BYTES = 64 * 1024, CONTEXTS = 64, STEPS = 1000 };

struct runner {
	struct whi_context context;
	struct whi_context *back;
	void (*body)(struct runner *runner);
	uint64_t seed;
	uint64_t sum;
	int rounding;
	bool over;
	char *stack;
};

static struct whi_context home;

static void run_body(void *arg)
{
	struct runner *runner = arg;

	whi_context_started();
	runner->body(runner);
	runner->over = true;
	whi_context_leave(&runner->context, runner->back);
}

static void start(struct runner *runner, void (*body)(struct runner *runner))
{
	if (!runner->stack)
		runner->stack = aligned_alloc(4096, STACK_BYTES);
	runner->back = &home;
	runner->body = body;
	runner->over = false;
	whi_context_init(&runner->context, runner->stack, runner->stack + STACK_BYTES, run_body,
			 runner);
}

static void stop(struct runner *runner)
{
	whi_context_fini(&runner->context);
	free(runner->stack);
	memset(runner, 0, sizeof(*runner));
}

static void resume(struct runner *runner)
{
	whi_context_switch(&home, &runner->context);
}

static void go_home(struct runner *runner)
{
	whi_context_switch(&runner->context, &home);
}

/* More values than there are registers, all live across every call of `pause`. */
static uint64_t churn(uint64_t seed, void (*pause)(struct runner *runner), struct runner *runner)
{
	uint64_t a = seed, b = ~seed, c = seed * 3, d = seed * 5, e = seed * 7, f = seed * 11;
	uint64_t g = seed ^ 99, h = seed + 12345;
	double x = (double)(seed % 1000) + 0.5, y = x * 1.5, z = y - 0.25;

	for (int step = 0; step < STEPS; step++) {
		a = a * 6364136223846793005ull + b;
		b ^= a >> 7;
		c += b * 3;
		d = (d << 5 | d >> 59) + c;
		e ^= d;
		f += e * 17;
		g = (g << 9 | g >> 55) ^ f;
		h += g;
		x = x * 0.999 + 1.0;
		y = y * 0.998 + x;
		z = z * 0.5 + y;
		if (pause)
			pause(runner);
	}
	return a ^ b ^ c ^ d ^ e ^ f ^ g ^ h ^ (uint64_t)(x + y + z);
}

static void churn_body(struct runner *runner)
{
	runner->sum = churn(runner->seed, go_home, runner);
}

static void registers_survive_switches_between_many_contexts(void **state)
{
	static struct runner runners[CONTEXTS];

	(void)state;
	whi_context_adopt(&home);
	for (unsigned i = 0; i < CONTEXTS; i++) {
		runners[i].seed = 1 + i * 0x9e3779b97f4a7c15ull;
		start(&runners[i], churn_body);
	}
	for (int step = 0; step <= STEPS; step++)
		for (unsigned i = 0; i < CONTEXTS; i++)
			resume(&runners[i]);
	for (unsigned i = 0; i < CONTEXTS; i++) {
		assert_true(runners[i].over);
		assert_int_equal(runners[i].sum, churn(runners[i].seed, NULL, NULL));
		stop(&runners[i]);
	}
}

static struct runner other;

static void resume_other(struct runner *runner)
{
	(void)runner;
	resume(&other);
}

static void bounce_body(struct runner *runner)
{
	for (;;)
		go_home(runner);
}

static void registers_of_the_resumer_survive(void **state)
{
	(void)state;
	whi_context_adopt(&home);
	start(&other, bounce_body);
	assert_int_equal(churn(42, resume_other, NULL), churn(42, NULL, NULL));
	stop(&other);
}

/* Both units: double arithmetic is SSE's, long double is the x87's. On other machines there is one,
 * and it is asked twice. */
static bool rounds_as(int rounding)
{
	volatile double one = 1.0, little = DBL_EPSILON / 4;
	volatile long double long_one = 1.0L, long_little = LDBL_EPSILON / 4;
	volatile double sum = one + little;
	volatile long double long_sum = long_one + long_little;

	return (sum > one) == (rounding == FE_UPWARD) &&
	       (long_sum > long_one) == (rounding == FE_UPWARD);
}

static void rounding_body(struct runner *runner)
{
	fesetround(runner->rounding);
	for (int step = 0; step < STEPS; step++) {
		go_home(runner);
		check_int(fegetround(), runner->rounding);
		check(rounds_as(runner->rounding));
	}
}

static void every_context_has_its_own_rounding_mode(void **state)
{
	static struct runner runners[2];
	const int modes[2] = { FE_UPWARD, FE_DOWNWARD };

	(void)state;
	whi_context_adopt(&home);
	for (int i = 0; i < 2; i++) {
		runners[i].rounding = modes[i];
		start(&runners[i], rounding_body);
	}
	for (int step = 0; step <= STEPS; step++) {
		resume(&runners[step % 2]);
		resume(&runners[(step + 1) % 2]);
		check_int(fegetround(), FE_TONEAREST);
		check(rounds_as(FE_TONEAREST));
	}
	assert_true(runners[0].over && runners[1].over);
	stop(&runners[0]);
	stop(&runners[1]);
}

static void look_at_rounding(struct runner *runner)
{
	runner->rounding = fegetround();
}

static void new_context_begins_with_its_makers_rounding_mode(void **state)
{
	struct runner runner = { 0 };

	(void)state;
	whi_context_adopt(&home);
	fesetround(FE_UPWARD);
	start(&runner, look_at_rounding);
	fesetround(FE_TONEAREST);
	resume(&runner);
	assert_int_equal(runner.rounding, FE_UPWARD);
	assert_int_equal(fegetround(), FE_TONEAREST);
	stop(&runner);
}

static void note_stack(struct runner *runner)
{
	volatile char here = 0;

	/* A sanitizer may move the variable elsewhere, but not the frame. */
	(void)here;
	runner->sum = (uint64_t)(uintptr_t)__builtin_frame_address(0);
}

static void context_runs_on_its_own_stack(void **state)
{
	struct runner runner = { 0 };

	(void)state;
	whi_context_adopt(&home);
	start(&runner, note_stack);
	resume(&runner);
	assert_in_range(runner.sum, (uintptr_t)runner.stack, (uintptr_t)runner.stack + STACK_BYTES);
	stop(&runner);
}

/* The ABI wants the stack aligned at calls; movaps in anybody's function faults otherwise. */
static void stack_of_a_context_is_aligned(void **state)
{
	struct runner runner = { 0 };

	(void)state;
	whi_context_adopt(&home);
	start(&runner, note_stack);
	resume(&runner);
	assert_int_equal(runner.sum % 16, 0);
	stop(&runner);
}

static void context_can_be_used_again_after_leaving(void **state)
{
	struct runner runner = { .seed = 5 };

	(void)state;
	whi_context_adopt(&home);
	for (int round = 0; round < 100; round++) {
		start(&runner, note_stack);
		resume(&runner);
		assert_true(runner.over);
	}
	stop(&runner);
}

static void hop(struct runner *runner)
{
	/* Leave for another context than the one that resumed us. */
	runner->back = &other.context;
}

static void leaving_goes_where_it_is_told(void **state)
{
	struct runner runner = { 0 };

	(void)state;
	whi_context_adopt(&home);
	start(&runner, hop);
	start(&other, note_stack);
	other.over = false;
	resume(&runner);
	assert_true(runner.over);
	assert_true(other.over);
	stop(&runner);
	stop(&other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(registers_survive_switches_between_many_contexts),
		cmocka_unit_test(registers_of_the_resumer_survive),
		cmocka_unit_test(every_context_has_its_own_rounding_mode),
		cmocka_unit_test(new_context_begins_with_its_makers_rounding_mode),
		cmocka_unit_test(context_runs_on_its_own_stack),
		cmocka_unit_test(stack_of_a_context_is_aligned),
		cmocka_unit_test(context_can_be_used_again_after_leaving),
		cmocka_unit_test(leaving_goes_where_it_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
