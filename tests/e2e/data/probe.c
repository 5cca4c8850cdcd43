/* probe.py in C. */
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>
#include <saola/app.h>

enum { COUNT = 4, LARGEST = 70000, WAIT_US = 2000, WAITS = 30000 };

static const size_t sizes[COUNT] = {1, 100, 20000, LARGEST};

static bool
path_is(const struct sl_request *req, const char *path)
{
    return req->path.len == strlen(path) && memcmp(req->path.ptr, path, req->path.len) == 0;
}

/* Until the file is there that the query and the name say. */
static int
wait_for(const struct sl_request *req, const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "%.*s/%s", (int)req->query.len, req->query.ptr, name);
    for (int i = 0; i < WAITS; i++) {
        if (access(path, F_OK) == 0)
            return SL_OK;
        usleep(WAIT_US);
    }
    return SL_EHOST;
}

static int
stream(struct sl_request *req, struct sl_response *res)
{
    static const char letters[COUNT] = "abcd";
    char data[LARGEST], name[2] = "0";
    sl_response_start_code(res, 200);
    if (path_is(req, "/stream_length"))
        sl_response_header(res, "Content-Length", 14, "90101", 5);
    if (path_is(req, "/stream_head")) {
        sl_response_write(res, "", 0, SL_WRITE_HEAD | SL_WRITE_FLUSH);
        if (wait_for(req, "head") < 0)
            return SL_EHOST;
    }
    for (int i = 0; i < COUNT; i++) {
        memset(data, letters[i], sizes[i]);
        int rc = sl_response_write(res, data, sizes[i], SL_WRITE_FLUSH);
        if (rc == SL_EFULL)
            rc = sl_response_wait(res);
        name[0] = (char)('0' + i);
        if (rc < 0 || wait_for(req, name) < 0)
            return SL_EHOST;
    }
    if (path_is(req, "/stream_trailers")) {
        static const struct sl_header host = {{"Host", 4}, {"x", 1}}, sum = {{"sum", 3}, {"42", 2}};
        if (sl_response_end_trailers(res, &host, 1) != SL_EINVAL)
            return SL_EHOST;
        return sl_response_end_trailers(res, &sum, 1);
    }
    return sl_response_end(res);
}

/* What the tests send needs no escapes. */
static int
report(struct sl_request *req, struct sl_response *res)
{
    char text[8192];
    const struct sl_peer *peer = req->peer;
    int at = snprintf(text, sizeof text,
                      "{\"remote_addr\": \"%s\", \"remote_port\": \"%u\", \"scheme\": \"%s\", "
                      "\"headers\": {",
                      peer->addr, peer->port, req->https ? "https" : "http");
    for (size_t i = 0; i < req->header_count; i++) {
        if (req->headers[i].name.len + req->headers[i].value.len + 20 > sizeof text - (size_t)at)
            break;
        const struct sl_header *h = &req->headers[i];
        at += snprintf(text + at, sizeof text - (size_t)at, "%s\"", i > 0 ? ", " : "");
        for (size_t k = 0; k < h->name.len; k++)
            text[at++] =
                (char)(h->name.ptr[k] == '_'                            ? '-'
                       : h->name.ptr[k] >= 'A' && h->name.ptr[k] <= 'Z' ? h->name.ptr[k] | 32
                                                                        : h->name.ptr[k]);
        at += snprintf(text + at, sizeof text - (size_t)at, "\": \"%.*s\"", (int)h->value.len,
                       h->value.ptr);
    }
    at += snprintf(text + at, sizeof text - (size_t)at, "}}");
    return sl_response_send(res, 200, "application/json", text, (size_t)at);
}

static int
status(struct sl_request *req, struct sl_response *res)
{
    int code = req->query.len == 3 ? (req->query.ptr[0] - '0') * 100 +
                                         (req->query.ptr[1] - '0') * 10 + req->query.ptr[2] - '0'
                                   : 0;
    return sl_response_send(res, code, "text/plain", "a body", 6);
}

static int
request(void *state, struct sl_request *req, struct sl_response *res)
{
    (void)state;
    if (path_is(req, "/status"))
        return status(req, res);
    bool streams = req->path.len >= 7 && memcmp(req->path.ptr, "/stream", 7) == 0;
    return streams ? stream(req, res) : report(req, res);
}

SL_APP(app) = {.abi = SL_APP_ABI, .name = "probe", .request = request};
