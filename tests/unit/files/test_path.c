/* Which paths of requests name a file, and of what type that is. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <saola/status.h>

#include "files/media_type.h"
#include "files/path.h"

/* From memory of exactly its size, so that a sanitizer sees a read beyond it. */
static int
decode(const char *path, size_t len, char *out, size_t *ret_len)
{
    char *copy = malloc(len > 0 ? len : 1);
    assert_non_null(copy);
    memcpy(copy, path, len);
    int rc = sl_file_path_decode(copy, len, out, ret_len);
    free(copy);
    return rc;
}

static void
test_plain_paths_are_decoded_once(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"/", "/"},
        {"/a", "/a"},
        {"/a/", "/a/"},
        {"/a/b.css", "/a/b.css"},
        {"/%61%2Ecss", "/a.css"},
        {"/a%20b", "/a b"},
        {"/a%252fb", "/a%2fb"}, /* once: the name has a percent sign */
        {"/\xc3\xa9", "/\xc3\xa9"},
        {"/%c3%A9", "/\xc3\xa9"},
        {"/a..b/c.", "/a..b/c."},
        {"/.well-known/acme", "/.well-known/acme"},
        {"/.well-known", "/.well-known"},
        {"/%2ewell-known/x", "/.well-known/x"},
        {"/a\\..\\b", "/a\\..\\b"}, /* no separator here */
    };
    char out[SL_FILE_PATH_MAX];
    size_t len;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(decode(cases[i][0], strlen(cases[i][0]), out, &len), SL_OK);
        assert_string_equal(out, cases[i][1]);
        assert_int_equal(len, strlen(cases[i][1]));
    }
}

static void
test_others_name_nothing(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "",
        "a",
        "*",
        "//",
        "//evil.example/",
        "/a//b",
        "/a//",
        "/.",
        "/..",
        "/../a",
        "/a/..",
        "/a/../b",
        "/a/./b",
        "/%2e%2e/a",
        "/.%2e/a",
        "/%2E./a",
        "/a/%2e",
        "/...",
        "/.git/x",
        "/a/.env",
        "/%2egit",
        "/a%2fb",
        "/a%2Fb",
        "/a%00",
        "/a%00.css",
        "/%",
        "/a%2",
        "/a%zz",
        "/a%2g",
        "/x/.well-known/a",
        "/.well-knownx",
        "/.WELL-KNOWN/a",
    };
    char out[SL_FILE_PATH_MAX];
    size_t len;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (decode(cases[i], strlen(cases[i]), out, &len) != SL_ENOENT)
            fail_msg("%s was taken", cases[i]);
}

static void
test_the_length_is_limited(void **state)
{
    (void)state;
    static char path[SL_FILE_PATH_MAX + 1];
    char out[SL_FILE_PATH_MAX];
    size_t len;
    memset(path, 'a', sizeof path);
    path[0] = '/';
    assert_int_equal(decode(path, SL_FILE_PATH_MAX - 1, out, &len), SL_OK);
    assert_int_equal(len, SL_FILE_PATH_MAX - 1);
    assert_int_equal(decode(path, SL_FILE_PATH_MAX, out, &len), SL_ENOENT);
}

static void
test_types(void **state)
{
    (void)state;
    static const struct sl_media_type more[] = {
        {"md", "text/x-mine"}, {"xyz", "a/b"}, {NULL, NULL}};
    static const struct {
        const char *name, *type;
        bool compressible;
    } cases[] = {
        {"a.css", "text/css; charset=utf-8", true},
        {"a.CSS", "text/css; charset=utf-8", true},
        {"x/y.js", "text/javascript; charset=utf-8", true},
        {"a.7z", "application/x-7z-compressed", false},
        {"a.zst", "application/zstd", false},
        {"a.svg", "image/svg+xml", true},
        {"a.png", "image/png", false},
        {"a.tar.gz", "application/gzip", false},
        {"a", "application/octet-stream", false},
        {"a.b/c", "application/octet-stream", false},
        {"a.", "application/octet-stream", false},
        {"a.unknown", "application/octet-stream", false},
        {"a.md", "text/x-mine", true},
        {"a.xyz", "a/b", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bool compressible;
        assert_string_equal(sl_media_type_of(cases[i].name, more, &compressible), cases[i].type);
        assert_int_equal(compressible, cases[i].compressible);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain_paths_are_decoded_once),
        cmocka_unit_test(test_others_name_nothing),
        cmocka_unit_test(test_the_length_is_limited),
        cmocka_unit_test(test_types),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
