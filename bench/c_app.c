/* The application of the benchmark in C: the same paths as app.py, without /sleep. */
#include <string.h>
#include <saola/app.h>

static char ten[10240];

static int
start(struct sl_worker *worker, void *data, void **ret_state, struct sl_error *err)
{
    (void)worker;
    (void)data;
    (void)ret_state;
    (void)err;
    memset(ten, 'x', sizeof ten);
    return SL_OK;
}

static int
request(void *state, struct sl_request *req, struct sl_response *res)
{
    (void)state;
    if (req->path.len == 1)
        return sl_response_send(res, 200, "text/plain", "Hello, World!", 13);
    if (req->path.len == 4 && memcmp(req->path.ptr, "/10k", 4) == 0)
        return sl_response_send(res, 200, "text/plain", ten, sizeof ten);
    if (req->path.len == 5 && memcmp(req->path.ptr, "/echo", 5) == 0) {
        const char *body;
        size_t len = sl_request_body(req, &body);
        int rc = sl_response_send(res, 200, "text/plain", body, len);
        sl_request_consume(req, len);
        return rc;
    }
    return sl_response_send(res, 404, NULL, "", 0);
}

SL_APP(app) = {.abi = SL_APP_ABI, .start = start, .request = request};
