/* What became of every request: counts by class, times, and one line for each that failed. */
#ifndef SL_TEST_LEDGER_TALLY_H
#define SL_TEST_LEDGER_TALLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Every request ends in exactly one of these. */
enum verdict {
    V_OK,
    V_REFUSED,    /* connect() was refused */
    V_RESET,      /* reset before the first byte of its answer */
    V_EOF,        /* end of stream before the first byte of its answer */
    V_TRUNCATED,  /* end or reset inside its answer */
    V_WRONG,      /* not the answer to this request, or no HTTP */
    V_TIMEOUT,    /* no whole answer in time */
    V_UNANSWERED, /* stood behind the request that was answered with "Connection: close" */
    VERDICTS
};

/* What no request suffered from, counted all the same. */
enum remark {
    R_CONNECTIONS, /* opened */
    R_CLOSED_IDLE, /* the server ended a connection with nothing in flight and without a word */
    R_RESET_IDLE,  /* ... by a reset */
    R_RESET_AFTER, /* reset instead of an end of stream, behind the last answer */
    R_NOT_ENDED,  /* "Connection: close" was answered and the stream did not end within the limit */
    R_QUEUE_FULL, /* connect() to the unix socket had to be repeated: its queue was full */
    R_OUT_OF_PORTS, /* ours: no local port left, connect() repeated */
    REMARKS
};

enum kind { K_CLOSE, K_KEEPALIVE, K_PIPELINE, K_UPLOAD, KINDS };
enum via { VIA_TCP, VIA_UNIX, VIAS };

enum { BUCKETS = 40 * 16, PIDS = 4096 };

struct histogram {
    uint64_t count[BUCKETS], total, max_ns;
};

struct tally {
    uint64_t verdicts[KINDS][VIAS][VERDICTS], remarks[REMARKS], done, failed;
    struct histogram quiet, busy; /* latencies; busy: while a signal is being worked off */
    bool is_busy;
    uint64_t last_ok_ns, gap_ns; /* the longest time in which nothing was answered */
    uint32_t pids[PIDS];         /* a hash table of those who answered; 0 is free */
    size_t pids_len;
    uint64_t lines; /* failures printed */
};

/* A request that failed, for its line. */
struct failure {
    enum verdict verdict;
    enum kind kind;
    enum via via;
    uint64_t conn, seq, opened_ns, sent_ns, now_ns;
    size_t sent;       /* bytes of the request that were written */
    const char *local; /* our TCP address and port, or "" */
    uint64_t inode;    /* of our unix socket, or 0 */
    unsigned pid;      /* who answered on this connection before, or 0 */
    const char *why;   /* static, or "" */
    int err;           /* errno, or 0 */
};

void tally_ok(struct tally *tally, enum kind kind, enum via via, uint64_t sent_ns, uint64_t now_ns,
              unsigned pid);
/* Prints the failure, unless 10,000 have been printed. */
void tally_failed(struct tally *tally, const struct failure *failure);
/* Prints everything as one line of JSON. */
void tally_report(const struct tally *tally, uint64_t elapsed_ns);

#endif
