/* Texts of responses. The first byte chooses: date, error page, or token and value; each is
 * compared with a plain way to do the same. */
#include <string.h>
#include <time.h>
#include <saola/status.h>

#include "fuzz.h"
#include "http/text.h"

static void
check_date(const uint8_t *data, size_t size)
{
    int64_t when = 0;
    memcpy(&when, data, size < sizeof when ? size : sizeof when);
    char ours[SL_DATE_LEN + 1], theirs[64];
    sl_http_date((time_t)when, ours);
    DEMAND(strlen(ours) == SL_DATE_LEN);
    if (when < 0 || when > 253402300799)
        return;
    struct tm tm;
    DEMAND(gmtime_r(&(time_t){when}, &tm) != NULL);
    strftime(theirs, sizeof theirs, "%a, %d %b %Y %H:%M:%S GMT", &tm);
    DEMAND(strcmp(ours, theirs) == 0);
}

static void
check_page(const uint8_t *data, size_t size)
{
    if (size < 4)
        return;
    int status = 100 + data[0] * 2;
    size_t capacity = data[1] * 8u;
    char *sentence = strndup((const char *)data + 3, size - 3);
    char *page = malloc(capacity + 1);
    DEMAND(sentence != NULL && page != NULL);
    size_t len;
    int rc = sl_http_error_page(page, capacity, status, sentence, data[2] & 1, data[2] & 2, &len);
    DEMAND(rc == SL_OK || rc == SL_EINVAL);
    if (rc == SL_OK) {
        DEMAND(len <= capacity);
        const char *body = memmem(page, len, "\r\n\r\n", 4), *p;
        DEMAND(body != NULL);
        p = memmem(page, len, "Content-Length: ", 16);
        DEMAND(p != NULL && p < body);
        DEMAND((data[2] & 2) || atoi(p + 16) == (int)(page + len - body - 4));
        p = memmem(page, len, "<p>", 3);
        if (p != NULL) /* the sentence opens no element of its own */
            DEMAND(memchr(p + 3, '<', (size_t)(page + len - p - 3)) ==
                   memmem(p, (size_t)(page + len - p), "</p>", 4));
    }
    free(sentence);
    free(page);
}

static void
check_classes(const uint8_t *data, size_t size)
{
    bool token = size > 0, value = true;
    for (size_t i = 0; i < size; i++) {
        uint8_t c = data[i];
        token = token && c > 0x20 && c < 0x7f && strchr("\"(),/:;<=>?@[\\]{}", c) == NULL;
        value = value && (c == '\t' || (c >= 0x20 && c != 0x7f));
    }
    char *copy = malloc(size > 0 ? size : 1);
    DEMAND(copy != NULL);
    memcpy(copy, data, size);
    DEMAND(sl_http_is_token(copy, size) == token);
    DEMAND(sl_http_is_value(copy, size) == value);
    free(copy);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    switch (data[0]) {
    case 'd':
        check_date(data + 1, size - 1);
        break;
    case 'p':
        check_page(data + 1, size - 1);
        break;
    default:
        check_classes(data + 1, size - 1);
        break;
    }
    return 0;
}
