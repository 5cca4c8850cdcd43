/* sl_out: what waits for a slow client, in memory and in files, arrives in order. */
#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>
#include <saola/status.h>
#include "http/output.h"

enum { MIB = 1 << 20 };

/* Byte i of the stream that the tests send; no power of two divides its period. */
static char
expected(size_t i)
{
    return (char)(i % 251);
}

static size_t
add(struct sl_out *out, size_t from, size_t len)
{
    char *room = sl_out_reserve(out, len);
    assert_non_null(room);
    for (size_t i = 0; i < len; i++)
        room[i] = expected(from + i);
    out->end += len;
    return from + len;
}

/* Reads what there is and flushes, until `total` bytes are here and nothing waits. */
static void
read_all(struct sl_out *out, int pair[2], size_t total)
{
    char *data = malloc(MIB);
    assert_non_null(data);
    size_t have = 0;
    while (have < total) {
        assert_int_not_equal(sl_out_flush(out, pair[0]), SL_ECLOSED);
        ssize_t n = recv(pair[1], data, MIB, MSG_DONTWAIT);
        assert_true(n > 0);
        for (size_t i = 0; i < (size_t)n; i++)
            assert_int_equal(data[i], expected(have + i));
        have += (size_t)n;
    }
    assert_int_equal(have, total);
    assert_int_equal(sl_out_flush(out, pair[0]), SL_OK);
    assert_true(sl_out_empty(out));
    free(data);
}

static void
open_pair(int pair[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
}

static void
close_pair(int pair[2])
{
    close(pair[0]);
    close(pair[1]);
}

static void
test_spooled_bytes_come_before_those_in_memory(void **state)
{
    (void)state;
    int pair[2];
    open_pair(pair);
    struct sl_spool nowhere = {.directory = "/nowhere/at/all"}, spool = {.directory = "."};
    struct sl_out out;
    sl_out_init(&out);
    size_t total = add(&out, 0, MIB);
    assert_int_equal(sl_out_flush(&out, pair[0]), SL_EAGAIN);
    assert_int_equal(sl_out_spool(&out, &nowhere), SL_ESYS);
    assert_int_equal(nowhere.used, 0);
    assert_int_equal(sl_out_spool(&out, &spool), SL_OK);
    assert_true(out.spooled && out.start == out.end);
    total = add(&out, total, MIB);
    assert_int_equal(sl_out_flush(&out, pair[0]), SL_EAGAIN);
    assert_int_equal(sl_out_spool(&out, &spool), SL_OK); /* behind the first */
    total = add(&out, total, 1000);
    read_all(&out, pair, total);
    assert_false(out.spooled);
    assert_int_equal(out.file_fd, -1);
    assert_int_equal(spool.used, 0);
    sl_out_release(&out);
    close_pair(pair);
}

/* fault: M7 */
static void
test_files_take_no_more_than_their_spool_has(void **state)
{
    (void)state;
    struct sl_spool spool = {.directory = ".", .limit = 2 * MIB + 10};
    struct sl_out one, two;
    sl_out_init(&one);
    sl_out_init(&two);
    (void)add(&one, 0, MIB);
    (void)add(&two, 0, MIB);
    assert_int_equal(sl_out_spool(&one, &spool), SL_OK);
    assert_int_equal(sl_out_spool(&two, &spool), SL_OK);
    assert_int_equal(spool.used, 2 * MIB);
    (void)add(&one, MIB, 11);
    assert_int_equal(sl_out_spool(&one, &spool), SL_EFULL);
    assert_int_equal(one.end - one.start, 11);
    sl_out_release(&two);
    assert_int_equal(spool.used, MIB);
    assert_int_equal(sl_out_spool(&one, &spool), SL_OK);
    sl_out_release(&one);
    assert_int_equal(spool.used, 0);
}

static void
test_a_file_that_is_the_output_is_no_spool(void **state)
{
    (void)state;
    struct sl_spool spool = {.directory = "."};
    struct sl_out out;
    sl_out_init(&out);
    out.file_fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    out.file_left = 10;
    (void)add(&out, 0, 10);
    assert_int_equal(sl_out_spool(&out, &spool), SL_ESYS);
    assert_int_equal(out.end - out.start, 10);
    assert_false(out.spooled);
    assert_int_equal(spool.used, 0);
    sl_out_release(&out);
}

static void
test_memory_of_all_is_bounded(void **state)
{
    (void)state;
    enum { COUNT = 40 };
    struct sl_spool spool = {.directory = "."};
    struct sl_out_store store = {.spool = &spool};
    struct sl_out kept[COUNT], out;
    int pair[2], spooled = 0;
    sl_out_init(&out);
    for (int i = 0; i < COUNT; i++) {
        sl_out_init(&kept[i]);
        (void)add(&out, 0, MIB);
        assert_int_equal(sl_out_move(&out, &kept[i], &store), SL_OK);
        assert_true(sl_out_empty(&out) && !out.spooled && out.file_fd == -1);
        spooled += kept[i].spooled;
    }
    assert_true(atomic_load(&store.used) <= 16 * MIB);
    assert_int_equal(spool.used, spooled * MIB);
    assert_true(spooled >= COUNT - 16 && spooled < COUNT);
    open_pair(pair);
    read_all(&kept[0], pair, MIB);
    read_all(&kept[COUNT - 1], pair, MIB);
    for (int i = 0; i < COUNT; i++)
        sl_out_release(&kept[i]);
    assert_int_equal(atomic_load(&store.used), 0);
    assert_int_equal(spool.used, 0);
    sl_out_release(&out);
    close_pair(pair);
}

static void
test_without_a_directory_memory_is_what_there_is(void **state)
{
    (void)state;
    struct sl_out_store store = {.spool = NULL};
    struct sl_out out, kept;
    int pair[2];
    sl_out_init(&out);
    sl_out_init(&kept);
    size_t total = add(&out, 0, 20 * MIB);
    assert_int_equal(sl_out_move(&out, &kept, &store), SL_OK);
    assert_false(kept.spooled);
    open_pair(pair);
    read_all(&kept, pair, total);
    sl_out_release(&kept);
    assert_int_equal(atomic_load(&store.used), 0);
    sl_out_release(&out);
    close_pair(pair);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spooled_bytes_come_before_those_in_memory),
        cmocka_unit_test(test_files_take_no_more_than_their_spool_has),
        cmocka_unit_test(test_a_file_that_is_the_output_is_no_spool),
        cmocka_unit_test(test_memory_of_all_is_bounded),
        cmocka_unit_test(test_without_a_directory_memory_is_what_there_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
