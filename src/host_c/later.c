/* Answers that come later, from any thread: the exchange waits as one that is pending in the
 * engine; whoever has the answer posts it to the main thread.
 */
#include <stdlib.h>
#include "host_c.h"

struct sl_later {
    struct sl_worker *worker;
    struct sl_request *req; /* main thread only */
    struct sl_response *res;
    sl_later_fn fn;
    void *arg;
    _Atomic bool gone;
    bool closed; /* req and res are not valid any more */
};

/* host_data of a request that is kept: the address with its lowest bit set, so that nothing of an
 * application's, which would be even, is looked into. */
static void *
mark(struct sl_later *later)
{
    return (void *)((uintptr_t)later | 1);
}

static struct sl_later *
find_later(const struct sl_request *req)
{
    uintptr_t address = (uintptr_t)req->host_data;
    return (address & 1) != 0 ? (struct sl_later *)(address & ~(uintptr_t)1) : NULL;
}

struct sl_later *
sl_request_later(struct sl_worker *worker, struct sl_request *req, struct sl_response *res)
{
    struct sl_later *later = worker->serving_sync ? calloc(1, sizeof *later) : NULL;
    if (later == NULL)
        return NULL;
    later->worker = worker;
    later->req = req;
    later->res = res;
    req->host_data = mark(later);
    return later;
}

bool
sl_later_gone(const struct sl_later *later)
{
    return atomic_load(&later->gone);
}

bool
sl_later_event(struct sl_request *req, unsigned what)
{
    struct sl_later *later = find_later(req);
    if (later == NULL)
        return false;
    if (what & (SL_ON_GONE | SL_ON_CLOSED))
        atomic_store(&later->gone, true);
    if (what & SL_ON_CLOSED)
        later->closed = true;
    return true;
}

/* On the main thread. */
static void
answer(void *arg)
{
    struct sl_later *later = arg;
    later->fn(later->arg, later->closed ? NULL : later->req, later->closed ? NULL : later->res);
    if (!later->closed) {
        later->req->host_data = NULL;
        sl_request_finish(later->req);
    }
    free(later);
}

int
sl_later_finish(struct sl_later *later, sl_later_fn fn, void *arg)
{
    later->fn = fn;
    later->arg = arg;
    return sl_worker_post(later->worker, answer, later);
}
