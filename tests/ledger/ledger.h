/* The ledger: clients that send requests and write down what became of each. One thread, one epoll
 * set.
 *
 * A connection's way (enum conn_state):
 *
 *   CLOSED --due--> CONNECTING --> BUSY --all answered--> THINKING --due--> BUSY
 *      ^                |            |                       |
 *      |                |            | "Connection: close"   | the server has closed: a remark
 *      |                v            v                       |
 *      +--- failed <----+---------  ENDING --end of stream---+--> CLOSED
 *
 * No request is ever sent twice. */
#ifndef SL_TEST_LEDGER_LEDGER_H
#define SL_TEST_LEDGER_LEDGER_H

#include "answer.h"
#include "tally.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <netinet/in.h>

enum { DEPTH = 8, UPLOAD_BYTES = 65536, TARGETS = 8 };
static const uint64_t never_ns = UINT64_MAX;

struct target {
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_un un;
    } addr;
    socklen_t len;
    enum via via;
};

struct options {
    struct target targets[TARGETS];
    size_t targets_len;
    size_t clients[KINDS];
    uint64_t requests; /* at least so many, and until the end of stdin */
    uint64_t rate;     /* requests a second at most; 0: as fast as it goes */
    uint64_t timeout_ns;
    uint64_t seed;
    unsigned piece_ms; /* an upload's mean pause between two of its 16 pieces */
    bool plain;        /* the server only echoes the path: no pauses, sizes and sums to check */
};

struct request {
    uint64_t seq, sent_ns;
    size_t start, end; /* in the connection's stream of bytes */
    unsigned ms, size;
    bool upload;
    uint32_t sum;
};

enum conn_state { CONN_CLOSED, CONN_CONNECTING, CONN_BUSY, CONN_THINKING, CONN_ENDING };

struct conn {
    enum conn_state state;
    enum kind kind;
    const struct target *target;
    bool hasty; /* no pause between two requests */
    int fd;
    uint64_t id, seq, opened_ns, due_ns, limit_ns;
    char local[32];
    uint64_t inode;
    unsigned pid;
    struct request queue[DEPTH];
    size_t first, count;
    char *out; /* bytes to send; written counts all that the socket took since it was opened */
    size_t out_len, out_sent, written;
    size_t body_left; /* of an upload, not yet in out */
    uint64_t piece_ns;
    char *in;
    size_t in_len;
    struct answer answer;
};

struct ledger {
    struct options opt;
    struct tally tally;
    int epoll;
    uint64_t now_ns, start_ns, random, next_id, begun;
    bool stopping;
    struct conn *conns;
    size_t conns_len;
};

/* Returns 0 or -1 (memory, errno). */
int conns_init(struct ledger *ledger);
void conns_release(struct ledger *ledger);
/* The socket has something to tell. */
void conn_event(struct ledger *ledger, struct conn *conn);
/* Does what is due; returns when to be called again at the latest. */
uint64_t conns_due(struct ledger *ledger);
/* No connection is open and none will be opened. */
bool conns_all_closed(const struct ledger *ledger);

/* Appends the request to conn->out and conn->queue. */
void request_add(struct ledger *ledger, struct conn *conn);
/* Appends the next piece of an upload's body. */
void request_piece(struct ledger *ledger, struct conn *conn);
/* What is wrong with a whole answer to the request, or NULL. */
const char *request_check(const struct ledger *ledger, const struct conn *conn,
                          const struct request *request, unsigned *ret_pid);

uint64_t random_below(struct ledger *ledger, uint64_t limit);

#endif
