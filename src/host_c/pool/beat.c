/* The heartbeat of a worker whose main() computes for as long as it likes: a thread (worker). */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "../host_c.h"

struct sl_pool_beat {
    pthread_t thread;
    struct sl_slot *slot;
    int end_fd;
    int period_ms;
};

static void *
beat(void *opaque)
{
    struct sl_pool_beat *heart = opaque;
    struct pollfd end = {.fd = heart->end_fd, .events = POLLIN};
    while (poll(&end, 1, heart->period_ms) <= 0)
        sl_slot_beat(heart->slot);
    return NULL;
}

/* Signals are for the main thread. */
static int
create(struct sl_pool_beat *heart)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&heart->thread, NULL, beat, heart);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

int
sl_pools_beat_start(struct sl_worker *worker)
{
    enum { PERIOD_MAX_MS = 5000 };
    const struct sl_pool *table = worker->pool->table;
    long long timeout_ms = sl_pools_timeout_ms(table);
    if (table->watch_main || table->worker->main == NULL || timeout_ms == 0)
        return SL_OK;
    struct sl_pool_beat *heart = calloc(1, sizeof *heart);
    if (heart == NULL)
        return SL_ENOMEM;
    heart->slot = worker->info.slot;
    heart->period_ms = timeout_ms / 4 < PERIOD_MAX_MS ? (int)timeout_ms / 4 : PERIOD_MAX_MS;
    heart->end_fd = eventfd(0, EFD_CLOEXEC);
    if (heart->end_fd < 0 || create(heart) != 0) {
        if (heart->end_fd >= 0)
            close(heart->end_fd);
        free(heart);
        return SL_ESYS;
    }
    worker->heart = heart;
    return SL_OK;
}

void
sl_pools_beat_stop(struct sl_worker *worker)
{
    struct sl_pool_beat *heart = worker->heart;
    if (heart == NULL)
        return;
    worker->heart = NULL;
    (void)!write(heart->end_fd, &(uint64_t){1}, sizeof(uint64_t));
    pthread_join(heart->thread, NULL);
    close(heart->end_fd);
    free(heart);
}
