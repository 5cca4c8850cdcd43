/* UTF-8: every sequence of four bytes from those at which RFC 3629 changes its mind, against a
 * decoder that computes the characters; alone, inside long ASCII, and cut at each place. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "http/utf8.h"

static const uint8_t edges[] = {0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf,
                                0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xec, 0xed, 0xee,
                                0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xf8, 0xff};
enum { EDGES = sizeof edges };

/* Decodes a character as a number and looks whether it had to be as long and may be at all. */
static bool
is_valid(const uint8_t *s, size_t len)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    for (size_t i = 0; i < len;) {
        unsigned n = s[i] < 0x80       ? 1
                     : s[i] >> 5 == 6  ? 2
                     : s[i] >> 4 == 14 ? 3
                     : s[i] >> 3 == 30 ? 4
                                       : 0;
        if (n == 0 || n > len - i)
            return false;
        uint32_t c = n == 1 ? s[i] : s[i] & (0xffu >> (n + 1));
        for (unsigned j = 1; j < n; j++) {
            if (s[i + j] >> 6 != 2)
                return false;
            c = c << 6 | (s[i + j] & 63u);
        }
        if (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
            return false;
        i += n;
    }
    return true;
}

/* Fed in two pieces. */
static bool
is_valid_cut(const char *s, size_t len, size_t cut)
{
    struct sl_utf8 utf8 = {0};
    return sl_utf8_feed(&utf8, s, cut) && sl_utf8_feed(&utf8, s + cut, len - cut) &&
           sl_utf8_is_whole(&utf8);
}

static size_t
put(char *text, const char *unit, size_t count)
{
    size_t len = strlen(unit);
    for (size_t i = 0; i < count; i++)
        memcpy(text + i * len, unit, len);
    return count * len;
}

static void
every_sequence_is_judged_as_the_characters_say(void **state)
{
    (void)state;
    static const char *const around[] = {"a", "\xc3\xa4", "\xe2\x82\xac"};
    char text[300];
    unsigned valid = 0;
    for (uint32_t i = 0; i < (uint32_t)EDGES * EDGES * EDGES * EDGES; i++) {
        uint8_t s[4] = {edges[i / EDGES / EDGES / EDGES], edges[i / EDGES / EDGES % EDGES],
                        edges[i / EDGES % EDGES], edges[i % EDGES]};
        bool expected = is_valid(s, 4);
        valid += expected;
        assert_int_equal(sl_utf8_is_valid((const char *)s, 4), expected);
        for (unsigned j = 0; j < 3; j++) {
            size_t most = j == 0 ? 67 : 7, before = put(text, around[j], i % most);
            memcpy(text + before, s, 4);
            size_t len = before + 4 + put(text + before + 4, around[j], i / most % most);
            assert_int_equal(sl_utf8_is_valid(text, len), expected);
            assert_int_equal(is_valid_cut(text, len, before + i % 5), expected);
        }
    }
    assert_true(valid > 100);
}

static void
what_begins_no_text_is_seen_at_once(void **state)
{
    (void)state;
    static const char *const wrong[] = {"\x80",     "\xc0",     "\xc1", "\xe0\x9f", "\xed\xa0",
                                        "\xf0\x8f", "\xf4\x90", "\xf5", "\xff",     "\xe1\xbd\x41"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct sl_utf8 utf8 = {0};
        assert_true(sl_utf8_feed(&utf8, wrong[i], strlen(wrong[i]) - 1));
        assert_false(sl_utf8_feed(&utf8, wrong[i] + strlen(wrong[i]) - 1, 1));
    }
}

static void
long_texts_of_each_width_are_valid_at_every_cut(void **state)
{
    (void)state;
    static const char *const characters[] = {
        "a", "\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x92\xa9", "a\xc3\xa4", "abcdefgh\xe2\x82\xac"};
    for (size_t i = 0; i < sizeof characters / sizeof *characters; i++) {
        char text[300];
        size_t len = strlen(characters[i]), all = 0;
        for (; all + len <= sizeof text; all += len)
            memcpy(text + all, characters[i], len);
        for (size_t cut = 0; cut <= all; cut++)
            assert_true(is_valid_cut(text, all, cut));
        text[all / len / 2 * len] = (char)0xff;
        assert_false(sl_utf8_is_valid(text, all));
    }
    assert_true(sl_utf8_is_valid(NULL, 0));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_sequence_is_judged_as_the_characters_say),
        cmocka_unit_test(what_begins_no_text_is_seen_at_once),
        cmocka_unit_test(long_texts_of_each_width_are_valid_at_every_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
