/* A streaming upload: counts the bytes of a body of any size, without keeping it, and answers with
 * their number and sum; GET /stream/N streams N bytes down.
 *
 *     cc -shared -fPIC $(pkg-config --cflags saola) upload.c -o upload.so && saola ./upload.so
 *
 * Shows: a body that is taken as it comes and a response that is given as the client takes it, in
 * class sync, where no thread waits for either.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <saola/app.h>

struct transfer {
    struct sl_response *res;
    unsigned long long bytes, sum; /* received; or left to send */
    int sending;
};

/* SL_OK when all is done, SL_PENDING when there is more to come, negative when it ended. */
static int
receive(struct transfer *transfer, struct sl_request *req)
{
    for (;;) {
        const char *data;
        size_t len;
        while ((len = sl_request_body(req, &data)) > 0) {
            for (size_t i = 0; i < len; i++)
                transfer->sum += (unsigned char)data[i];
            transfer->bytes += len;
            sl_request_consume(req, len);
        }
        if (sl_request_body_done(req))
            return SL_OK;
        int rc = sl_request_more(req);
        if (rc == SL_EAGAIN)
            return SL_PENDING;
        if (rc != SL_OK)
            return rc;
    }
}

static int
report(struct transfer *transfer)
{
    char text[80];
    int len = snprintf(text, sizeof text, "%llu bytes, sum %llu\n", transfer->bytes, transfer->sum);
    return sl_response_send(transfer->res, 200, "text/plain", text, (size_t)len);
}

static int
give(struct transfer *transfer)
{
    static const char block[16384];
    while (transfer->bytes > 0) {
        size_t len = transfer->bytes < sizeof block ? (size_t)transfer->bytes : sizeof block;
        transfer->bytes -= len;
        int rc = sl_response_write(transfer->res, block, len, 0);
        if (rc == SL_EFULL)
            return SL_PENDING; /* until SL_ON_ROOM */
        if (rc != SL_OK)
            return rc;
    }
    return SL_OK;
}

static int
step(struct transfer *transfer, struct sl_request *req)
{
    int rc = transfer->sending ? give(transfer) : receive(transfer, req);
    return rc == SL_OK && !transfer->sending ? report(transfer) : rc;
}

static int
begin(void *state, struct sl_request *req, struct sl_response *res)
{
    (void)state;
    struct transfer now = {.res = res};
    if (req->path.len > 8 && memcmp(req->path.ptr, "/stream/", 8) == 0) {
        now.sending = 1;
        for (size_t i = 8; i < req->path.len && req->path.ptr[i] >= '0' && req->path.ptr[i] <= '9';
             i++)
            now.bytes = now.bytes * 10 + (unsigned long long)(req->path.ptr[i] - '0');
        int rc = sl_response_start_code(res, 200);
        if (rc != SL_OK)
            return rc;
    }
    int rc = step(&now, req);
    if (rc != SL_PENDING)
        return rc;
    struct transfer *kept = malloc(sizeof *kept);
    if (kept == NULL)
        return SL_ENOMEM;
    *kept = now;
    req->host_data = kept;
    return SL_PENDING;
}

/* What has come since, or room for more. */
static int
event(void *state, struct sl_request *req, unsigned what)
{
    (void)state;
    struct transfer *transfer = req->host_data;
    int rc = what & SL_ON_CLOSED ? SL_ECLOSED : step(transfer, req);
    if (rc == SL_PENDING)
        return SL_PENDING;
    if (rc < 0 && !(what & SL_ON_CLOSED))
        sl_response_fail(transfer->res, 400, "the body did not arrive");
    free(transfer);
    req->host_data = NULL;
    return rc;
}

SL_APP(app) = {.abi = SL_APP_ABI, .name = "upload", .request = begin, .event = event};
