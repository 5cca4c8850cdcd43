/* Verdicts of llhttp as it ships, nothing lenient. Its sources are no part of the tree; see
 * tools/fetch_llhttp.sh. */
#include <llhttp.h>
#include <stdbool.h>
#include <string.h>

#include "stream.h"

enum { FIELDS = 512 };

/* A span may come in several parts, all from one buffer: only its ends matter, unless a part is
 * left out (obsolete folding), when the gap is kept. */
struct span {
    const char *start, *end;
};

static struct {
    struct span target, names[FIELDS], values[FIELDS];
    size_t count;
    bool done;
    char *body;
    size_t body_len;
} seen;

static void
extend(struct span *span, const char *at, size_t len)
{
    if (span->start == NULL)
        span->start = at;
    span->end = at + len;
}

static int
on_url(llhttp_t *p, const char *at, size_t len)
{
    (void)p;
    extend(&seen.target, at, len);
    return 0;
}

static int
on_name(llhttp_t *p, const char *at, size_t len)
{
    if (p->flags & F_TRAILING)
        return 0;
    if (seen.count < FIELDS)
        extend(&seen.names[seen.count], at, len);
    return 0;
}

static int
on_value(llhttp_t *p, const char *at, size_t len)
{
    if (!(p->flags & F_TRAILING) && seen.count < FIELDS)
        extend(&seen.values[seen.count], at, len);
    return 0;
}

static int
on_value_complete(llhttp_t *p)
{
    if (!(p->flags & F_TRAILING) && seen.count < FIELDS)
        seen.count++;
    return 0;
}

static int
on_body(llhttp_t *p, const char *at, size_t len)
{
    (void)p;
    memcpy(seen.body + seen.body_len, at, len);
    seen.body_len += len;
    return 0;
}

static int
on_complete(llhttp_t *p)
{
    (void)p;
    seen.done = true;
    return HPE_PAUSED;
}

static void
put_span(const char *separator, const struct span *span)
{
    put_field(separator, span->start, (size_t)(span->end - span->start));
}

static void
judge(const llhttp_settings_t *settings, const char *data, size_t len)
{
    llhttp_t p;
    char *body = seen.body;
    memset(&seen, 0, sizeof seen);
    seen.body = body;
    llhttp_init(&p, HTTP_REQUEST, settings);
    llhttp_errno_t rc = llhttp_execute(&p, data, len);
    if (rc == HPE_OK && !seen.done) {
        puts("wait");
    } else if (!seen.done) {
        printf("reject\t%s %s\n", llhttp_errno_name(rc), llhttp_get_error_reason(&p));
    } else {
        const char *method = llhttp_method_name((llhttp_method_t)p.method);
        put_field("accept\t", method, strlen(method));
        put_span("\t", &seen.target);
        size_t used = (size_t)(llhttp_get_error_pos(&p) - data);
        printf("\t%u.%u\t%zu", p.http_major, p.http_minor, used);
        put_field("\t", seen.body, seen.body_len);
        for (size_t i = 0; i < seen.count; i++) {
            put_span("\t", &seen.names[i]);
            put_span("=", &seen.values[i]);
        }
        putchar('\n');
    }
}

int
main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--version") == 0) {
        printf("%d.%d.%d\n", LLHTTP_VERSION_MAJOR, LLHTTP_VERSION_MINOR, LLHTTP_VERSION_PATCH);
        return 0;
    }
    llhttp_settings_t settings;
    llhttp_settings_init(&settings);
    settings.on_url = on_url;
    settings.on_header_field = on_name;
    settings.on_header_value = on_value;
    settings.on_header_value_complete = on_value_complete;
    settings.on_body = on_body;
    settings.on_message_complete = on_complete;
    size_t len;
    for (char *data; (data = read_request(&len)) != NULL; free(data)) {
        seen.body = realloc(seen.body, len + 1);
        if (seen.body == NULL)
            abort();
        judge(&settings, data, len);
    }
    free(seen.body);
    return 0;
}
