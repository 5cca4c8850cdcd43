/* Verdicts of our parser with gunicorn's defaults, except that names with underscores are kept. */
#include <string.h>

#include "http/chunked.h"
#include "http/head.h"
#include "stream.h"

enum { FIELDS = 100 };

static const struct sl_http_limits limits = {.request_line = 4094,
                                             .fields = FIELDS,
                                             .field_size = 8190,
                                             .header_map = SL_HEADER_MAP_DANGEROUS};

static struct sl_head_rules rules;

static char *body;
static size_t body_len;

/* 1: complete, *ret_used bytes; 0: not yet; -1: *ret_sentence. */
static int
read_chunks(char *data, size_t len, size_t *ret_used, const char **ret_sentence)
{
    struct sl_chunked decoder;
    sl_chunked_init(&decoder);
    size_t at = 0, used, piece_len, count;
    const char *piece;
    enum sl_chunked_event event;
    while ((event = sl_chunked_next(&decoder, data + at, len - at, &used, &piece, &piece_len,
                                    ret_sentence)) == SL_CHUNKED_DATA) {
        memcpy(body + body_len, piece, piece_len);
        body_len += piece_len;
        at += used;
    }
    at += used;
    if (event != SL_CHUNKED_TRAILERS)
        return event == SL_CHUNKED_MORE ? 0 : -1;
    struct sl_header trailers[FIELDS];
    uint64_t resume = 0;
    int n = sl_head_parse_trailers(trailers, FIELDS, &count, data + at, len - at, &resume, &rules,
                                   ret_sentence);
    *ret_used = at + (size_t)(n > 0 ? n : 0);
    return n > 0 ? 1 : n < 0 ? -1 : 0;
}

static int
read_body(const struct sl_request *req, char *data, size_t len, size_t *ret_used,
          const char **ret_sentence)
{
    body_len = 0;
    if (req->body == SL_BODY_CHUNKED)
        return read_chunks(data, len, ret_used, ret_sentence);
    if (len < req->content_length)
        return 0;
    body_len = (size_t)req->content_length;
    memcpy(body, data, body_len);
    *ret_used = body_len;
    return 1;
}

static void
judge(char *data, size_t len)
{
    struct sl_request req = {0};
    struct sl_header fields[FIELDS];
    struct sl_head head = {&req, fields, FIELDS, NULL};
    uint64_t resume = 0;
    const char *sentence = "";
    size_t used = 0;
    int n = sl_head_parse(&head, data, len, &resume, &rules, false, &sentence);
    int rc = n <= 0 ? n : read_body(&req, data + n, len - (size_t)n, &used, &sentence);
    if (rc < 0) {
        printf("reject\t%s\n", sentence);
        return;
    }
    if (rc == 0) {
        puts("wait");
        return;
    }
    put_field("accept\t", req.method.ptr, req.method.len);
    put_field("\t", req.target.ptr, req.target.len);
    printf("\t%u.%u\t%zu", req.version_major, req.version_minor, (size_t)n + used);
    put_field("\t", body, body_len);
    for (size_t i = 0; i < req.header_count; i++) {
        put_field("\t", fields[i].name.ptr, fields[i].name.len);
        put_field("=", fields[i].value.ptr, fields[i].value.len);
    }
    putchar('\n');
}

int
main(void)
{
    size_t len;
    sl_head_rules_init(&rules, &limits, NULL);
    for (char *data; (data = read_request(&len)) != NULL; free(data)) {
        body = realloc(body, len + 1);
        if (body == NULL)
            abort();
        judge(data, len);
    }
    free(body);
    return 0;
}
