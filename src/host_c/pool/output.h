/* What output.c (arbiter and workers) and collector.c (the process that reads) share. */
#ifndef SL_HOST_C_POOL_OUTPUT_H
#define SL_HOST_C_POOL_OUTPUT_H

#include <stdbool.h>
#include <sys/types.h>
#include <saola/host.h>
#include "../log.h"

enum { SL_STREAMS = 2 }; /* standard output and error */

/* The streams of a place in a pool. */
struct sl_pool_streams {
    struct sl_pool_streams *next;
    char group[SL_GROUP_NAME];
    int place;
    int read_fds[SL_STREAMS], write_fds[SL_STREAMS];
    struct sl_worker *workers; /* whose place it is: one, in a reload two */
    bool known;                /* to the collector */
    bool torn;                 /* a worker has left, and the collector does not know */
    bool given_up;             /* nobody comes any more; it goes when the collector knows all */
    bool full;                 /* when it was looked at last */
};

struct sl_pool_output {
    struct sl_pool_streams *places;
    int control[2];  /* the arbiter's end, the collector's */
    pid_t collector; /* 0: there is none */
    bool reopen;     /* the log file, and the collector does not know */
    long long forked_ms, looked_ms;
};

enum sl_collector_word { SL_COLLECTOR_NEW, SL_COLLECTOR_TORN, SL_COLLECTOR_REOPEN };

/* From the arbiter to the collector; with SL_COLLECTOR_NEW the reading ends come along. */
struct sl_collector_message {
    enum sl_collector_word word;
    int place;
    char group[SL_GROUP_NAME];
};

/* The collector's life: reads all places' streams until nobody can write into them, and the arbiter
 * has closed its end. Returns its exit status. */
int sl_collector_run(const struct sl_pool_output *output, struct sl_errlog *log);

#endif
