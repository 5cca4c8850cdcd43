/* sl_buf: growth, consumption and sizes that overflow. */
#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <fcntl.h>
#include <cmocka.h>
#include <base/buffer.h>
#include <base/spool.h>
#include <saola/status.h>

static void
test_bytes_appended_in_pieces_stay_in_order(void **state)
{
    (void)state;
    struct sl_buf buf = SL_BUF_INIT;
    for (int i = 0; i < 1000; i++)
        assert_int_equal(sl_buf_append(&buf, "abcdefg", 7), SL_OK);
    assert_int_equal(buf.len, 7000);
    for (size_t i = 0; i < buf.len; i++)
        assert_int_equal(buf.ptr[i], "abcdefg"[i % 7]);
    sl_buf_release(&buf);
    assert_null(buf.ptr);
    assert_int_equal(buf.cap, 0);
}

static void
test_consume_keeps_the_rest(void **state)
{
    (void)state;
    struct sl_buf buf;
    sl_buf_init(&buf);
    sl_buf_consume(&buf, 5); /* nothing there: nothing happens */
    assert_int_equal(sl_buf_append(&buf, "headbody", 8), SL_OK);
    sl_buf_consume(&buf, 0);
    assert_int_equal(buf.len, 8);
    sl_buf_consume(&buf, 4);
    assert_int_equal(buf.len, 4);
    assert_memory_equal(buf.ptr, "body", 4);
    sl_buf_consume(&buf, 100);
    assert_int_equal(buf.len, 0);
    sl_buf_release(&buf);
}

static void
test_reserve_gives_room_and_refuses_overflow(void **state)
{
    (void)state;
    struct sl_buf buf = SL_BUF_INIT;
    assert_int_equal(sl_buf_append(&buf, "x", 1), SL_OK);
    assert_int_equal(sl_buf_reserve(&buf, 5000), SL_OK);
    assert_true(buf.cap - buf.len >= 5000);
    memset(buf.ptr + buf.len, 'y', 5000);
    assert_int_equal(sl_buf_reserve(&buf, SIZE_MAX), SL_ENOMEM);
    assert_int_equal(sl_buf_reserve(&buf, (size_t)PTRDIFF_MAX), SL_ENOMEM);
    assert_int_equal(buf.len, 1);
    assert_int_equal(buf.ptr[0], 'x');
    sl_buf_release(&buf);
    sl_buf_release(NULL);
}

static void
test_appending_nothing_needs_no_memory(void **state)
{
    (void)state;
    struct sl_buf buf = SL_BUF_INIT;
    assert_int_equal(sl_buf_append(&buf, NULL, 0), SL_OK);
    assert_null(buf.ptr);
}

static void
test_a_buffer_goes_on_in_a_file(void **state)
{
    (void)state;
    struct sl_buf buf = SL_BUF_INIT;
    struct sl_spool nowhere = {.directory = "/nowhere/at/all"}, spool = {.directory = "."};
    assert_int_equal(sl_buf_append(&buf, "before", 6), SL_OK);
    assert_int_equal(sl_buf_spool(&buf, &nowhere, 1), SL_ESYS);
    assert_int_equal(nowhere.used, 0);
    assert_int_equal(buf.file, 0);
    assert_int_equal(sl_buf_spool(&buf, &spool, 300 * 1024), SL_OK);
    assert_true(buf.cap >= 300 * 1024);
    assert_int_equal(spool.used, buf.cap);
    int file = buf.file;
    assert_int_equal(sl_buf_spool(&buf, &spool, 1 << 30), SL_OK); /* it is there */
    assert_int_equal(buf.file, file);
    for (int i = 0; i < 100000; i++)
        assert_int_equal(sl_buf_append(&buf, "abcdefg", 7), SL_OK);
    assert_int_equal(buf.len, 700006);
    assert_memory_equal(buf.ptr, "beforeabc", 9);
    sl_buf_consume(&buf, 6);
    for (size_t i = 0; i < buf.len; i++)
        assert_int_equal(buf.ptr[i], "abcdefg"[i % 7]);
    sl_buf_release(&buf);
    assert_int_equal(fcntl(file - 1, F_GETFD), -1); /* closed */
    assert_int_equal(buf.file, 0);
    assert_int_equal(spool.used, 0);
}

/* fault: M7 */
static void
test_a_file_grows_up_to_the_limit_of_its_spool(void **state)
{
    (void)state;
    enum { MIB = 1 << 20 };
    struct sl_spool spool = {.directory = ".", .limit = 9 * MIB};
    struct sl_buf one = SL_BUF_INIT, two = SL_BUF_INIT;
    assert_int_equal(sl_buf_append(&two, "stays", 5), SL_OK);
    assert_int_equal(sl_buf_spool(&two, &spool, 10 * MIB), SL_EFULL);
    assert_int_equal(two.file, 0);
    assert_int_equal(spool.used, 0);
    assert_int_equal(sl_buf_spool(&one, &spool, MIB), SL_OK);
    one.len = MIB;
    memset(one.ptr, 'x', MIB);
    assert_int_equal(sl_buf_reserve(&one, 5 * MIB), SL_OK);
    assert_int_equal(spool.used, 8 * MIB); /* not doubled again and again: it is had at once */
    assert_int_equal(sl_buf_reserve(&one, 8 * MIB), SL_EFULL);
    assert_int_equal(spool.used, 8 * MIB);
    assert_int_equal(sl_buf_spool(&two, &spool, MIB - 5), SL_OK); /* just fits */
    assert_memory_equal(two.ptr, "stays", 5);
    assert_int_equal(spool.used, 8 * MIB + two.cap);
    assert_int_equal(one.len, MIB);
    assert_int_equal(one.ptr[MIB - 1], 'x');
    sl_buf_release(&one);
    assert_int_equal(spool.used, two.cap);
    sl_buf_release(&two);
    assert_int_equal(spool.used, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes_appended_in_pieces_stay_in_order),
        cmocka_unit_test(test_consume_keeps_the_rest),
        cmocka_unit_test(test_reserve_gives_room_and_refuses_overflow),
        cmocka_unit_test(test_appending_nothing_needs_no_memory),
        cmocka_unit_test(test_a_buffer_goes_on_in_a_file),
        cmocka_unit_test(test_a_file_grows_up_to_the_limit_of_its_spool),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
