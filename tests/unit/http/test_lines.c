/* The ways to scan field lines against the portable one: every byte at every place, every length,
 * and the end of the input at the end of a page that may be read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lines_twin.h"

static const struct sl_http_limits limits = {.field_size = 8190};
static char *page; /* two readable pages between two that are not */
static size_t page_size;
static const struct sl_lines_way *ways[4];
static size_t way_count;

static int
setup(void **state)
{
    (void)state;
    page_size = (size_t)sysconf(_SC_PAGESIZE);
    char *all = mmap(NULL, 4 * page_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (all == MAP_FAILED)
        return -1;
    page = all + page_size;
    way_count = sl_lines_ways(ways);
    return mprotect(page, 2 * page_size, PROT_READ | PROT_WRITE);
}

static int
teardown(void **state)
{
    (void)state;
    return munmap(page - page_size, 4 * page_size);
}

/* Parses in place with every way. */
static void
compare(char *buf, size_t len, size_t max_field, size_t max_fields)
{
    static struct twin portable, other;
    twin_parse(ways[0], buf, len, &limits, max_field, max_fields, &portable);
    for (size_t i = 1; i < way_count; i++) {
        twin_parse(ways[i], buf, len, &limits, max_field, max_fields, &other);
        if (!twin_same(&portable, &other)) {
            print_message("%s: %d (%s), portable: %d (%s): %.*s\n", ways[i]->name, other.rc,
                          other.sentence != NULL ? other.sentence : "", portable.rc,
                          portable.sentence != NULL ? portable.sentence : "", (int)len, buf);
            fail();
        }
    }
}

/* The input ends where the readable pages do; then it begins where they do. */
static void
compare_at_both_ends(const char *text, size_t len)
{
    char *last = page + 2 * page_size - len;
    memcpy(last, text, len);
    compare(last, len, 8188, 100);
    memcpy(page, text, len);
    compare(page, len, 8188, 100);
}

static const char sample[] =
    "Host: x\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101\r\n"
    "X-Forwarded-Proto: https\r\nContent-Length: 12\r\nA: b\r\n"
    "Accept-Encoding: gzip, deflate, br, zstd\r\nX-1: \xe9\ty\r\n\r\n";

static void
test_there_is_a_way_beside_the_portable_one_where_there_should(void **state)
{
    (void)state;
    assert_string_equal(ways[0]->name, "portable");
#if defined(__x86_64__) || defined(__aarch64__)
    assert_true(way_count >= 2);
#endif
    for (size_t i = 0; i < way_count; i++)
        print_message("%s\n", ways[i]->name);
    assert_ptr_equal(sl_lines_best(), ways[way_count - 1]);
}

static void
test_every_byte_at_every_place(void **state)
{
    (void)state;
    char text[sizeof sample];
    for (size_t at = 0; at < sizeof sample - 1; at++) {
        memcpy(text, sample, sizeof sample);
        for (int byte = 0; byte < 256; byte++) {
            text[at] = (char)byte;
            compare_at_both_ends(text, sizeof sample - 1);
        }
    }
}

static void
test_every_length_at_every_alignment(void **state)
{
    (void)state;
    for (size_t len = 0; len < sizeof sample; len++) {
        compare_at_both_ends(sample, len);
        for (size_t shift = 0; shift < 64; shift++) {
            memcpy(page + 64 + shift, sample, len);
            compare(page + 64 + shift, len, 8188, 100);
        }
    }
}

static void
test_names_and_values_of_every_length(void **state)
{
    (void)state;
    char text[512];
    for (size_t name = 0; name < 140; name++) {
        for (size_t value = 0; value < 140; value++) {
            size_t len =
                (size_t)snprintf(text, sizeof text, "%.*s: %.*s\r\nA: b\r\n\r\n", (int)name,
                                 "abcdefghijklmnopqrstuvwxyz-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                 "abcdefghijklmnopqrstuvwxyz-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                 "abcdefghijklmnop",
                                 (int)value,
                                 "the quick brown fox jumps over the lazy dog 0123456789 !#$%&/()"
                                 "=?*+-_.:,;<>|@ the quick brown fox jumps over the lazy dog 01234"
                                 "5678901234567890");
            compare_at_both_ends(text, len);
        }
    }
}

static void
test_limits_hold_in_every_way(void **state)
{
    (void)state;
    char *last = page + 2 * page_size - (sizeof sample - 1);
    memcpy(last, sample, sizeof sample - 1);
    for (size_t limit = 0; limit < 80; limit++) {
        compare(last, sizeof sample - 1, limit, 100);
        compare(last, sizeof sample - 1, 8188, limit);
    }
}

/* Bytes of which lines are made, in any order. */
static void
test_lines_at_random(void **state)
{
    (void)state;
    static const char *const parts[] = {"a",
                                        "Host",
                                        "-",
                                        "_",
                                        ":",
                                        ": ",
                                        " ",
                                        "\t",
                                        "\r\n",
                                        "\r",
                                        "\n",
                                        "x",
                                        "\0",
                                        "\x7f",
                                        "\xff",
                                        "\r\n\r\n",
                                        "0123456789",
                                        "Content-Length: 1\r\n",
                                        "X: a value that is rather long\r\n"};
    uint32_t seed = 12345;
    char text[600];
    for (int round = 0; round < 60000; round++) {
        size_t len = 0;
        for (int i = 0; i < 24; i++) {
            seed = seed * 1664525 + 1013904223;
            size_t choice = (seed >> 16) % (sizeof parts / sizeof parts[0]);
            if (choice < 15 && (seed >> 24) % 3 != 0)
                choice = 15 + choice % 4;
            size_t n = parts[choice][0] == '\0' ? 1 : strlen(parts[choice]);
            memcpy(text + len, parts[choice], n);
            len += n;
        }
        compare_at_both_ends(text, len);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_is_a_way_beside_the_portable_one_where_there_should),
        cmocka_unit_test(test_every_byte_at_every_place),
        cmocka_unit_test(test_every_length_at_every_alignment),
        cmocka_unit_test(test_names_and_values_of_every_length),
        cmocka_unit_test(test_limits_hold_in_every_way),
        cmocka_unit_test(test_lines_at_random),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
