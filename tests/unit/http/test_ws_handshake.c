/* The opening handshake: which requests ask for WebSocket, which of those are refused and how, the
 * key's answer, the choice of a protocol, and the negotiation of permessage-deflate (RFC 6455
 * sections 4.2 and 9.1, RFC 7692 section 7.1). */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <saola/websocket.h>

#include "http/sha1.h"
#include "http/ws_extension.h"

#define SOUND                                                                                      \
    "Host: a\nConnection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\n"                \
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\n"

enum { MAX_HEADERS = 64 };

struct fixture {
    char text[4096];
    struct sl_header headers[MAX_HEADERS];
    struct sl_request req;
    struct sl_ws_options options;
    struct sl_ws_handshake handshake;
    const char *sentence;
};

static struct sl_str
str(const char *s)
{
    return (struct sl_str){s, strlen(s)};
}

/* Lines "Name: value" become the fields of a GET. */
static void
request(struct fixture *f, const char *lines)
{
    memset(f, 0, sizeof *f);
    assert_true(strlen(lines) < sizeof f->text);
    strcpy(f->text, lines);
    f->req = (struct sl_request){
        .method = str("GET"), .version_major = 1, .version_minor = 1, .headers = f->headers};
    for (char *line = strtok(f->text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        char *colon = strchr(line, ':');
        assert_true(colon != NULL && f->req.header_count < MAX_HEADERS);
        *colon = '\0';
        f->headers[f->req.header_count++] =
            (struct sl_header){str(line), str(colon + (colon[1] == ' ' ? 2 : 1))};
    }
    sl_ws_options_init(&f->options);
    f->options.deflate.server_window_bits = 15;
    f->options.deflate.client_window_bits = 15;
}

static int
handshake(struct fixture *f)
{
    f->sentence = NULL;
    int status = sl_ws_handshake(&f->req, &f->options, &f->handshake, &f->sentence);
    assert_int_equal(status != 0, f->sentence != NULL);
    return status;
}

static int
status_of(const char *lines)
{
    struct fixture f;
    request(&f, lines);
    return handshake(&f);
}

/* ---- the request -------------------------------------------------------------------------------
 */

static void
the_example_of_the_rfc_has_its_answer(void **state)
{
    (void)state;
    struct fixture f;
    request(&f, SOUND);
    assert_int_equal(handshake(&f), 0);
    assert_string_equal(f.handshake.accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_string_equal(f.handshake.extensions, "");
    assert_false(f.handshake.deflate.on);
    assert_int_equal(f.handshake.protocol_count, 0);
}

static void
the_hash_is_sha_1(void **state)
{
    (void)state;
    static const struct {
        const char *text, *hash;
    } rows[] = {
        /* FIPS 180-4's examples, and both sides of where a second block begins. */
        {"", "da39a3ee5e6b4b0d3255bfef95601890afd80709"},
        {"abc", "a9993e364706816aba3e25717850c26c9cd0d89d"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "84983e441c3bd26ebaae4aa1f95129e5e54670f1"},
        {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
         "c1c8bbdc22796e28c0e15163d20899b65621d65a"},
        {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
         "c2db330f6083854c99d4b5bfb6e8f29f201be699"},
        {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
         "0098ba824b5c16427bd7a1122a5a442a25ec644d"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint8_t hash[SL_SHA1_LEN];
        char hex[2 * SL_SHA1_LEN + 1];
        sl_sha1(rows[i].text, strlen(rows[i].text), hash);
        for (size_t j = 0; j < SL_SHA1_LEN; j++)
            sprintf(hex + 2 * j, "%02x", hash[j]);
        assert_string_equal(hex, rows[i].hash);
    }
}

static void
only_a_request_that_asks_for_it_is_an_upgrade(void **state)
{
    (void)state;
    static const struct {
        const char *lines;
        bool asks;
    } rows[] = {
        {"Connection: Upgrade\nUpgrade: websocket\n", true},
        {"connection: keep-alive, Upgrade\nUPGRADE: WebSocket\n", true},
        {"Connection: keep-alive\nConnection: ,upgrade ,\nUpgrade: h2c, websocket\n", true},
        {"Connection: Upgrade\n", false},
        {"Upgrade: websocket\n", false},
        {"Connection: keep-alive\nUpgrade: websocket\n", false},
        {"Connection: Upgrade\nUpgrade: h2c\n", false},
        {"Connection: Upgraded\nUpgrade: websocket\n", false},
        {"Connection: Upgrade\nUpgrade: websockets\n", false},
        {"Connection: Upgrade\nUpgrade: websocket/13\n", false},
        {"Connection: Upgrade websocket\nUpgrade: websocket\n", false},
        {"Connection:\nUpgrade:\n", false},
        {"Connection: Upgrade\nUp_grade: websocket\n", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct fixture f;
        request(&f, rows[i].lines);
        assert_int_equal(sl_ws_is_upgrade(&f.req), rows[i].asks);
        f.req.version_minor = 0;
        assert_false(sl_ws_is_upgrade(&f.req));
    }
}

static void
what_is_wrong_has_its_status(void **state)
{
    (void)state;
#define ASKS "Connection: Upgrade\nUpgrade: websocket\n"
#define KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\n"
#define VERSION "Sec-WebSocket-Version: 13\n"
    assert_int_equal(status_of(ASKS KEY VERSION), 0);
    assert_int_equal(status_of(KEY VERSION), 400);
    assert_int_equal(status_of(ASKS KEY), 426);
    assert_int_equal(status_of(ASKS KEY "Sec-WebSocket-Version: 8\n"), 426);
    assert_int_equal(status_of(ASKS KEY "Sec-WebSocket-Version: 013\n"), 426);
    assert_int_equal(status_of(ASKS KEY "Sec-WebSocket-Version: 13, 8\n"), 426);
    assert_int_equal(status_of(ASKS KEY "Sec-WebSocket-Version: 14\n"), 426);
    assert_int_equal(status_of(ASKS KEY VERSION VERSION), 426);
    assert_int_equal(status_of(ASKS VERSION), 400);
    assert_int_equal(status_of(ASKS VERSION KEY KEY), 400);
    static const char *const bad_keys[] = {
        "",
        "dGhlIHNhbXBsZSBub25jZQ=",
        "dGhlIHNhbXBsZSBub25jZQ===",
        "dGhlIHNhbXBsZSBub25jZQAA",
        "dGhlIHNhbXBsZSBub25jZ===",
        "dGhlIHNhbXBsZSBub25jZ-==",
        "dGhlIHNhbXBs ZSBub25jZQ==",
        "dGhlIHNhbXBsZSBub25jZQA=",
        "=GhlIHNhbXBsZSBub25jZQ==",
        "SGVsbG8sIHdvcmxkIQ==",
    };
    for (size_t i = 0; i < sizeof bad_keys / sizeof *bad_keys; i++) {
        char lines[512];
        strcpy(lines, ASKS VERSION "Sec-WebSocket-Key: ");
        strcat(lines, bad_keys[i]);
        assert_int_equal(status_of(lines), 400);
    }
}

static void
method_and_body_are_those_of_a_get(void **state)
{
    (void)state;
    struct fixture f;
    request(&f, SOUND);
    f.req.method = str("POST");
    assert_int_equal(handshake(&f), 405);
    f.req.method = str("get");
    assert_int_equal(handshake(&f), 405);
    request(&f, SOUND);
    f.req.body = SL_BODY_LENGTH;
    assert_int_equal(handshake(&f), 0);
    f.req.content_length = 1;
    assert_int_equal(handshake(&f), 400);
    f.req.content_length = 0;
    f.req.body = SL_BODY_CHUNKED;
    assert_int_equal(handshake(&f), 400);
}

/* ---- protocols ---------------------------------------------------------------------------------
 */

static void
the_first_of_our_protocols_that_is_offered_is_chosen(void **state)
{
    (void)state;
    static const char *const ours[] = {"v3", "v2", "v1", NULL}, *const none[] = {NULL};
    static const char *const other[] = {"V2", "v", "v22", NULL};
    struct fixture f;
    request(&f, SOUND "Sec-WebSocket-Protocol: v1,v2\nSec-WebSocket-Protocol: , chat ,\n");
    assert_int_equal(handshake(&f), 0);
    assert_int_equal(f.handshake.protocol_count, 3);
    assert_memory_equal(f.handshake.protocols[2].ptr, "chat", 4);
    assert_int_equal(f.handshake.protocols[2].len, 4);
    assert_string_equal(sl_ws_choose_protocol(&f.handshake, ours), "v2");
    assert_null(sl_ws_choose_protocol(&f.handshake, none));
    assert_null(sl_ws_choose_protocol(&f.handshake, other));
}

static void
protocols_that_break_the_grammar_are_refused(void **state)
{
    (void)state;
    assert_int_equal(status_of(SOUND "Sec-WebSocket-Protocol: a b\n"), 400);
    assert_int_equal(status_of(SOUND "Sec-WebSocket-Protocol: a,\"b\"\n"), 400);
    assert_int_equal(status_of(SOUND "Sec-WebSocket-Protocol: a, b, a\n"), 400);
    assert_int_equal(status_of(SOUND "Sec-WebSocket-Protocol: a\nSec-WebSocket-Protocol: a\n"),
                     400);
    assert_int_equal(status_of(SOUND "Sec-WebSocket-Protocol: a, A\n"), 0);
    assert_int_equal(status_of(SOUND "Sec-WebSocket-Protocol:\n"), 0);
    char lines[2048] = SOUND "Sec-WebSocket-Protocol: p";
    for (unsigned i = 0; i < SL_WS_MAX_PROTOCOLS; i++)
        sprintf(lines + strlen(lines), ",p%u", i);
    assert_int_equal(status_of(lines), 400);
}

/* ---- extensions --------------------------------------------------------------------------------
 */

/* What we answer to a field; "" when nothing is agreed, "refused" when the handshake is. */
struct offer_row {
    const char *wanted; /* of ours: "" = windows of 15, s and c = no context, 12: both windows */
    const char *offer, *answer;
};

#define PMD "permessage-deflate"
#define ANY PMD "; server_max_window_bits=15"

static const struct offer_row offers[] = {
    {"", PMD, ANY},
    {"", " " PMD " ", ANY},
    {"", "," PMD ",", ANY},
    {"", PMD "; client_max_window_bits", ANY},
    {"", PMD ";client_max_window_bits", ANY},
    {"", PMD " ;\tclient_max_window_bits ", ANY},
    {"", PMD "; client_max_window_bits=15", ANY},
    {"", PMD "; client_max_window_bits=10", ANY "; client_max_window_bits=10"},
    {"", PMD "; client_max_window_bits=8", ANY "; client_max_window_bits=8"},
    {"", PMD "; client_max_window_bits = 10", ANY "; client_max_window_bits=10"},
    {"", PMD "; client_max_window_bits=\"10\"", ANY "; client_max_window_bits=10"},
    {"", PMD "; client_max_window_bits=\"1\\0\"", ANY "; client_max_window_bits=10"},
    {"12", PMD, PMD "; server_max_window_bits=12"},
    {"12", PMD "; client_max_window_bits",
     PMD "; server_max_window_bits=12; client_max_window_bits=12"},
    {"12", PMD "; client_max_window_bits=9; server_max_window_bits=9",
     PMD "; server_max_window_bits=9; client_max_window_bits=9"},
    {"", PMD "; server_max_window_bits=15", ANY},
    {"", PMD "; server_max_window_bits=9", PMD "; server_max_window_bits=9"},
    {"", PMD "; server_max_window_bits=8", ""}, /* zlib cannot */
    {"", PMD "; server_max_window_bits=8, " PMD, ANY},
    {"", PMD "; server_no_context_takeover",
     PMD "; server_no_context_takeover; server_max_window_bits=15"},
    {"", PMD "; client_no_context_takeover",
     PMD "; client_no_context_takeover; server_max_window_bits=15"},
    {"sc", PMD,
     PMD "; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=15"},
    {"s", PMD "; client_no_context_takeover",
     PMD "; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=15"},
    /* declined: the value cannot be */
    {"", PMD "; server_max_window_bits", ""},
    {"", PMD "; server_max_window_bits=7", ""},
    {"", PMD "; server_max_window_bits=16", ""},
    {"", PMD "; server_max_window_bits=09", ""},
    {"", PMD "; server_max_window_bits=+9", ""},
    {"", PMD "; server_max_window_bits=10000000000", ""},
    {"", PMD "; client_max_window_bits=7", ""},
    {"", PMD "; client_max_window_bits=16", ""},
    {"", PMD "; client_max_window_bits=010", ""},
    {"", PMD "; client_max_window_bits=a", ""},
    {"", PMD "; server_no_context_takeover=1", ""},
    {"", PMD "; client_no_context_takeover=true", ""},
    /* declined: twice, unknown, another case */
    {"", PMD "; server_no_context_takeover; server_no_context_takeover", ""},
    {"", PMD "; client_max_window_bits=10; client_max_window_bits=10", ""},
    {"", PMD "; unknown", ""},
    {"", PMD "; Server_No_Context_Takeover", ""},
    {"", "Permessage-Deflate", ""},
    {"", "permessage-bzip2", ""},
    {"", "x-webkit-deflate-frame", ""},
    {"", "", ""},
    /* the first that fits */
    {"", "foo; bar=1, " PMD, ANY},
    {"", PMD "; unknown, " PMD "; server_no_context_takeover, " PMD,
     PMD "; server_no_context_takeover; server_max_window_bits=15"},
    {"", PMD "; client_max_window_bits=9, " PMD "; client_max_window_bits=10",
     ANY "; client_max_window_bits=9"},
    {"", "foo=1; x=\"a\\\"b\", " PMD, "refused"},
    {"", "foo; x=\"a,b\", " PMD, "refused"}, /* quoted or not, a value is a token */
    {"", "foo; x=\"a;b\"", "refused"},
    /* malformed as a whole */
    {"", PMD ";", "refused"},
    {"", PMD "; ;client_max_window_bits", "refused"},
    {"", PMD "; client_max_window_bits=", "refused"},
    {"", PMD "; client_max_window_bits=\"\"", "refused"},
    {"", PMD "; client_max_window_bits=\"10", "refused"},
    {"", PMD "; client_max_window_bits=\"10\\", "refused"},
    {"", PMD "; client_max_window_bits=\"10\"x", "refused"},
    {"", PMD "; client_max_window_bits=1 0", "refused"},
    {"", PMD " foo", "refused"},
    {"", "=1", "refused"},
    {"", "; " PMD, "refused"},
    {"", PMD ", foo;", "refused"},
    {"", "\"permessage-deflate\"", "refused"},
    {"", PMD "; =10", "refused"},
};

static void
set_wishes(struct sl_ws_deflate *deflate, const char *wanted)
{
    deflate->server_no_context_takeover = strchr(wanted, 's') != NULL;
    deflate->client_no_context_takeover = strchr(wanted, 'c') != NULL;
    deflate->on = true;
    deflate->server_window_bits = deflate->client_window_bits = strchr(wanted, '1') ? 12 : 15;
}

static void
each_offer_has_its_answer(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof offers / sizeof *offers; i++) {
        struct sl_ws_deflate wanted, agreed = {.on = false};
        char answer[144] = "refused", *copy = strdup(offers[i].offer);
        const size_t len = strlen(copy);
        char *exact = malloc(len > 0 ? len : 1); /* no byte may be read behind it */
        memcpy(exact, copy, len);
        set_wishes(&wanted, offers[i].wanted);
        if (sl_ws_extensions_read(&(struct sl_str){exact, len}, &wanted, &agreed))
            sl_ws_extensions_write(&agreed, answer, sizeof answer);
        if (strcmp(answer, offers[i].answer) != 0)
            fail_msg("%s: got \"%s\", not \"%s\"", offers[i].offer, answer, offers[i].answer);
        free(exact);
        free(copy);
    }
}

static void
several_fields_are_one_list(void **state)
{
    (void)state;
    struct fixture f;
    request(&f, SOUND "Sec-WebSocket-Extensions: foo\n"
                      "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=9\n"
                      "Sec-WebSocket-Extensions: permessage-deflate\n");
    assert_int_equal(handshake(&f), 0);
    assert_int_equal(f.handshake.deflate.on, sl_ws_deflate_available());
    if (sl_ws_deflate_available()) {
        assert_string_equal(f.handshake.extensions, ANY "; client_max_window_bits=9");
        assert_int_equal(f.handshake.deflate.client_window_bits, 9);
    }
    f.options.deflate.on = false;
    assert_int_equal(handshake(&f), 0);
    assert_string_equal(f.handshake.extensions, "");
    assert_false(f.handshake.deflate.on);
    request(&f, SOUND "Sec-WebSocket-Extensions: permessage-deflate\n"
                      "Sec-WebSocket-Extensions: a b\n");
    assert_int_equal(handshake(&f), 400);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_example_of_the_rfc_has_its_answer),
        cmocka_unit_test(the_hash_is_sha_1),
        cmocka_unit_test(only_a_request_that_asks_for_it_is_an_upgrade),
        cmocka_unit_test(what_is_wrong_has_its_status),
        cmocka_unit_test(method_and_body_are_those_of_a_get),
        cmocka_unit_test(the_first_of_our_protocols_that_is_offered_is_chosen),
        cmocka_unit_test(protocols_that_break_the_grammar_are_refused),
        cmocka_unit_test(each_offer_has_its_answer),
        cmocka_unit_test(several_fields_are_one_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
