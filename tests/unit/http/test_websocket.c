/* The WebSocket connection: every row of ws_cases.h as a whole, byte by byte and at random cuts,
 * messages gathered and streamed; then memory, and the limits of what is sent. */
#include "ws_script.h"

#include "http/ws_frame.h"
#include "ws_cases.h"

enum { RANDOM_CUTS = 4, LONG = 20000 };

/* 1 if something else comes of the row than it says. */
static unsigned
check(const struct ws_case *row, const struct ws_script *script, size_t most, uint64_t *seed,
      const char *how)
{
    char *told = ws_play(script, most, seed, NULL);
    bool wrong = strcmp(told, row->expected) != 0;
    if (wrong)
        print_error("%s (%s, %s): got \"%s\", not \"%s\"\n", row->source,
                    script->options.streaming ? "streamed" : "gathered", how, told, row->expected);
    free(told);
    return wrong;
}

static unsigned
play_row(const struct ws_case *row, bool streaming)
{
    struct ws_script script;
    unsigned wrong;
    uint64_t seed = 88172645463325252u;
    ws_script_init(&script, row->options, row->input);
    script.options.streaming = streaming;
    wrong = check(row, &script, SIZE_MAX, &seed, "whole");
    if (script.bytes.len <= LONG)
        wrong += check(row, &script, 1, &seed, "byte by byte");
    for (unsigned i = 0; i < RANDOM_CUTS; i++)
        wrong += check(row, &script, script.bytes.len > LONG ? 20000 : 23, &seed, "random cuts");
    ws_script_release(&script);
    return wrong;
}

static void
play_rows(bool streaming)
{
    size_t count = sizeof ws_cases / sizeof *ws_cases;
    unsigned wrong = 0;
    for (size_t i = 0; i < count; i++)
        wrong += play_row(&ws_cases[i], streaming);
    assert_int_equal(wrong, 0);
    assert_true(count >= 200);
}

static void
every_case_has_its_result_however_it_is_cut(void **state)
{
    (void)state;
    play_rows(false);
}

static void
every_case_has_its_result_when_messages_are_streamed(void **state)
{
    (void)state;
    play_rows(true);
}

/* ---- memory -----------------------------------------------------------------------------------
 */

static void
an_idle_connection_is_small(void **state)
{
    (void)state;
    struct sl_ws_options options;
    sl_ws_options_init(&options);
    struct sl_ws *ws = sl_ws_new(&options, NULL);
    assert_non_null(ws);
    assert_true(sl_ws_memory(ws) <= 512);
    size_t before = sl_ws_memory(ws), used;
    struct sl_ws_event event;
    struct sl_buf in = SL_BUF_INIT;
    char *payload = calloc(1, 100000);
    ws_add_frame(&in, 0x02, payload, 100000, true, 0);
    ws_add_frame(&in, 0x80, payload, 100000, true, 0);
    sl_ws_feed(ws, 0, in.ptr, in.len, &used, &event);
    assert_int_equal(event.kind, SL_WS_BINARY);
    assert_int_equal(event.len, 200000);
    sl_ws_feed(ws, 0, in.ptr, 0, &used, &event);
    assert_int_equal(event.kind, SL_WS_MORE);
    assert_int_equal(sl_ws_send(ws, SL_WS_BINARY, payload, 100000, true), SL_OK);
    assert_true(sl_ws_memory(ws) > 100000);
    sl_ws_consume(ws, 10);
    sl_ws_rest(ws);
    size_t len;
    assert_non_null(sl_ws_output(ws, &len));
    assert_int_equal(len, 100000);
    sl_ws_consume(ws, len);
    assert_null(sl_ws_output(ws, &len));
    sl_ws_rest(ws);
    assert_int_equal(sl_ws_memory(ws), before);
    sl_ws_free(ws);
    sl_buf_release(&in);
    free(payload);
}

static size_t
memory_of(const char *options, const char *input, bool streaming)
{
    struct ws_script script;
    uint64_t seed = 1;
    size_t memory;
    ws_script_init(&script, options, input);
    script.options.streaming = streaming;
    free(ws_play(&script, 60000, &seed, &memory));
    ws_script_release(&script);
    return memory;
}

static void
memory_is_bounded_by_what_has_come_and_by_the_limit(void **state)
{
    (void)state;
    assert_true(memory_of("", "=82ff7fffffffffffffff00000000616263", false) < 2048);
    assert_true(memory_of("", "02*65536 80", false) < 200000);
    assert_true(memory_of("dm1000", "c1z*1000000", false) < 4096);
    assert_true(memory_of("d", "c1z*1000000", true) < 20000);
    assert_true(memory_of("", "82*300000", true) < 1024);
}

static void
a_rested_connection_goes_on(void **state)
{
    (void)state;
    struct ws_script script;
    ws_script_init(&script, "d", "c1z:Hello_Hello c1z:Hello_Hello");
    struct ws_player pl = {.script = &script, .ws = sl_ws_new(&script.options, &script.handshake)};
    assert_int_equal(inflateInit2(&pl.inflater, -15), Z_OK);
    for (size_t i = 0; i < script.bytes.len; i++) {
        ws_feed_piece(&pl, script.bytes.ptr + i, 1);
        sl_ws_rest(pl.ws);
    }
    for (unsigned i = 0; i < 2; i++) {
        ws_act(&pl, "part:Hello");
        sl_ws_rest(pl.ws);
        ws_act(&pl, "text:Hello");
        sl_ws_rest(pl.ws);
    }
    ws_add(&pl.told, "", 1);
    assert_string_equal(pl.told.ptr, "T(Hello_Hello) T(Hello_Hello) <41(Hello) <80(Hello) "
                                     "<41(Hello) <80(Hello)");
    sl_ws_free(pl.ws);
    inflateEnd(&pl.inflater);
    sl_buf_release(&pl.told);
    sl_buf_release(&pl.message);
    ws_script_release(&script);
}

static void
a_streamed_message_is_given_as_far_as_it_has_come(void **state)
{
    (void)state;
    struct ws_script script;
    struct sl_ws_event event;
    size_t given = 0, used, at = 0;
    ws_script_init(&script, "d", "c1z*100000");
    script.options.streaming = true;
    struct sl_ws *ws = sl_ws_new(&script.options, &script.handshake);
    const size_t len = script.bytes.len - 2; /* the frame has not ended */
    do {
        sl_ws_feed(ws, 0, script.bytes.ptr + at, len - at, &used, &event);
        at += used;
        given += event.len;
        assert_true(event.len <= 16384);
    } while (event.kind == SL_WS_TEXT);
    assert_int_equal(event.kind, SL_WS_MORE);
    assert_true(given > 90000);
    sl_ws_free(ws);
    ws_script_release(&script);
}

/* ---- what is sent ------------------------------------------------------------------------------
 */

static void
what_may_not_be_sent_is_refused_and_leaves_nothing(void **state)
{
    (void)state;
    struct sl_ws_options options;
    char big[200] = {0};
    size_t len;
    sl_ws_options_init(&options);
    struct sl_ws *ws = sl_ws_new(&options, NULL);
    memset(big, 'r', sizeof big);
    assert_int_equal(sl_ws_send(ws, SL_WS_PING, "a", 1, true), SL_EINVAL);
    assert_int_equal(sl_ws_send(ws, SL_WS_TEXT, "\xff", 1, true), SL_EINVAL);
    assert_int_equal(sl_ws_send(ws, SL_WS_TEXT, "a\xc3", 2, true), SL_EINVAL);
    assert_int_equal(sl_ws_ping(ws, big, 126), SL_EINVAL);
    assert_int_equal(sl_ws_close(ws, 1000, big, 124), SL_EINVAL);
    assert_int_equal(sl_ws_close(ws, 1000, "\xff", 1), SL_EINVAL);
    assert_int_equal(sl_ws_close(ws, 999, NULL, 0), SL_EINVAL);
    assert_null(sl_ws_output(ws, &len));
    assert_int_equal(len, 0);
    assert_int_equal(sl_ws_send(ws, SL_WS_TEXT, "a\xc3", 2, false), SL_OK);
    assert_int_equal(sl_ws_send(ws, SL_WS_TEXT, "\xa4", 1, true), SL_OK);
    assert_int_equal(sl_ws_ping(ws, big, 125), SL_OK);
    assert_int_equal(sl_ws_close(ws, 1000, big, 123), SL_OK);
    assert_int_equal(sl_ws_state(ws), SL_WS_CLOSING);
    sl_ws_free(ws);
}

/* Compressible and not, around the lengths at which the head changes its size. */
static void
compressed_frames_of_every_size_have_the_right_head(void **state)
{
    (void)state;
    struct ws_script script;
    ws_script_init(&script, "d", "");
    struct ws_player pl = {.script = &script, .ws = sl_ws_new(&script.options, &script.handshake)};
    assert_int_equal(inflateInit2(&pl.inflater, -15), Z_OK);
    static const size_t sizes[] = {1,   100, 119,  120,   121,   125,   126,   127,   200,
                                   500, 504, 1000, 65500, 65530, 65536, 70000, 400000};
    char *data = malloc(400000);
    for (size_t i = 0; i < 2 * sizeof sizes / sizeof *sizes; i++) {
        size_t size = sizes[i / 2];
        char expected[64];
        for (size_t j = 0; j < size; j++)
            data[j] = i % 2 ? 'x' : ws_noise(j);
        assert_int_equal(sl_ws_send(pl.ws, SL_WS_BINARY, data, size, true), SL_OK);
        pl.told.len = 0;
        ws_tell_output(&pl);
        ws_add(&pl.told, "", 1);
        if (size <= 16)
            continue;
        snprintf(expected, sizeof expected, i % 2 ? "<c2(x*%zu)" : "<c2(?%zu)", size);
        assert_string_equal(pl.told.ptr, expected);
    }
    free(data);
    sl_ws_free(pl.ws);
    inflateEnd(&pl.inflater);
    sl_buf_release(&pl.told);
    ws_script_release(&script);
}

static void
the_mask_fits_at_every_offset(void **state)
{
    (void)state;
    static const uint8_t mask[4] = {0x01, 0x80, 0xfe, 0x37};
    for (size_t len = 0; len < 200; len++) {
        for (size_t at = 0; at < 5; at++) {
            char *data = malloc(len + 1);
            for (size_t i = 0; i < len; i++)
                data[i] = ws_noise(i);
            sl_ws_mask(data, len, mask, at);
            for (size_t i = 0; i < len; i++)
                assert_int_equal((uint8_t)data[i], (uint8_t)ws_noise(i) ^ mask[(at + i) % 4]);
            free(data);
        }
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_case_has_its_result_however_it_is_cut),
        cmocka_unit_test(every_case_has_its_result_when_messages_are_streamed),
        cmocka_unit_test(an_idle_connection_is_small),
        cmocka_unit_test(memory_is_bounded_by_what_has_come_and_by_the_limit),
        cmocka_unit_test(a_rested_connection_goes_on),
        cmocka_unit_test(a_streamed_message_is_given_as_far_as_it_has_come),
        cmocka_unit_test(what_may_not_be_sent_is_refused_and_leaves_nothing),
        cmocka_unit_test(compressed_frames_of_every_size_have_the_right_head),
        cmocka_unit_test(the_mask_fits_at_every_offset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
