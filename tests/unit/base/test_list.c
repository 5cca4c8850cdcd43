/* sl_list and the clock. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <base/clock.h>
#include <base/list.h>

struct item {
    int number;
    struct sl_list link;
};

static void
test_order_is_kept_and_the_current_link_may_leave(void **state)
{
    (void)state;
    struct sl_list list;
    sl_list_init(&list);
    assert_true(sl_list_empty(&list));
    assert_null(sl_list_first(&list));
    struct item items[5];
    for (int i = 1; i < 5; i++) {
        items[i].number = i;
        sl_list_push_back(&list, &items[i].link);
    }
    items[0].number = 0;
    sl_list_push_front(&list, &items[0].link);
    int expected = 0;
    SL_LIST_EACH(link, &list)
    {
        struct item *item = SL_LIST_ENTRY(link, struct item, link);
        assert_int_equal(item->number, expected++);
        if (item->number % 2 == 0)
            sl_list_remove(link);
    }
    assert_int_equal(expected, 5);
    assert_ptr_equal(sl_list_first(&list), &items[1].link);
    sl_list_remove(&items[0].link); /* already in no list */
    sl_list_remove(&items[1].link);
    sl_list_remove(&items[3].link);
    assert_true(sl_list_empty(&list));
}

static void
test_the_clock_goes_forward_in_its_units(void **state)
{
    (void)state;
    uint64_t ms = sl_clock_ms(), ns = sl_clock_ns();
    assert_true(ns / SL_NS_PER_MS >= ms && ns / SL_NS_PER_MS < ms + 60000);
    assert_true(sl_clock_ns() >= ns);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order_is_kept_and_the_current_link_may_leave),
        cmocka_unit_test(test_the_clock_goes_forward_in_its_units),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
