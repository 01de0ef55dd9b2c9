#include "base/list.h"

#include "support/task_test.h"

struct item {
	int number;
	struct whi_list link;
};

static struct whi_list list;
static struct item items[6];

static int fresh(void **state)
{
	(void)state;
	whi_list_init(&list);
	for (int i = 0; i < 6; i++) {
		items[i].number = i;
		whi_list_init(&items[i].link);
	}
	return 0;
}

static void append(struct whi_list *to, int first, int last)
{
	for (int i = first; i <= last; i++)
		whi_list_append(to, &items[i].link);
}

static void assert_pops(struct whi_list *from, const int *numbers, int count)
{
	for (int i = 0; i < count; i++) {
		struct whi_list *node = whi_list_pop(from);

		assert_non_null(node);
		assert_int_equal(whi_container_of(node, struct item, link)->number, numbers[i]);
	}
	assert_null(whi_list_pop(from));
}

static void new_list_is_empty(void **state)
{
	(void)state;
	assert_true(whi_list_empty(&list));
	assert_null(whi_list_pop(&list));
}

static void nodes_come_out_in_the_order_they_went_in(void **state)
{
	const int order[] = { 0, 1, 2, 3 };

	(void)state;
	append(&list, 0, 3);
	assert_pops(&list, order, 4);
}

static void removed_node_is_skipped(void **state)
{
	const int order[] = { 0, 2 };

	(void)state;
	append(&list, 0, 2);
	whi_list_remove(&items[1].link);
	assert_pops(&list, order, 2);
}

static void removing_twice_is_harmless(void **state)
{
	const int order[] = { 1 };

	(void)state;
	append(&list, 0, 1);
	whi_list_remove(&items[0].link);
	whi_list_remove(&items[0].link);
	assert_pops(&list, order, 1);
}

static void popped_node_is_on_no_list(void **state)
{
	(void)state;
	append(&list, 0, 0);
	assert_ptr_equal(whi_list_pop(&list), &items[0].link);
	assert_true(whi_list_empty(&items[0].link));
}

static void splice_appends_and_empties_its_source(void **state)
{
	const int order[] = { 0, 1, 2, 3, 4 };
	struct whi_list other;

	(void)state;
	whi_list_init(&other);
	append(&list, 0, 1);
	append(&other, 2, 4);
	whi_list_splice(&list, &other);
	assert_true(whi_list_empty(&other));
	assert_pops(&list, order, 5);
}

static void splice_of_an_empty_list_changes_nothing(void **state)
{
	const int order[] = { 0 };
	struct whi_list other;

	(void)state;
	whi_list_init(&other);
	append(&list, 0, 0);
	whi_list_splice(&list, &other);
	assert_pops(&list, order, 1);
}

static void splice_into_an_empty_list_keeps_the_order(void **state)
{
	const int order[] = { 3, 4 };
	struct whi_list other;

	(void)state;
	whi_list_init(&other);
	append(&other, 3, 4);
	whi_list_splice(&list, &other);
	assert_pops(&list, order, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(new_list_is_empty, fresh),
		cmocka_unit_test_setup(nodes_come_out_in_the_order_they_went_in, fresh),
		cmocka_unit_test_setup(removed_node_is_skipped, fresh),
		cmocka_unit_test_setup(removing_twice_is_harmless, fresh),
		cmocka_unit_test_setup(popped_node_is_on_no_list, fresh),
		cmocka_unit_test_setup(splice_appends_and_empties_its_source, fresh),
		cmocka_unit_test_setup(splice_of_an_empty_list_changes_nothing, fresh),
		cmocka_unit_test_setup(splice_into_an_empty_list_keeps_the_order, fresh),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
