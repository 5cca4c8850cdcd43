/* What the files of the engine share: a connection, a thread's workspace, the engine itself.
 *
 * Who may touch what. The engine (lists, counters, the batch of events) belongs to the thread that
 * owns it; only the fields marked "any thread" are for others. A connection belongs to the engine's
 * owner too, but while its `away` is set it belongs to the thread that runs its handler, together
 * with that thread's workspace. Code that runs inside a handler therefore touches connection and
 * workspace only.
 *
 * Life of a connection:
 *
 *     accept --> READING --> (handler) --> READING ... idle between requests
 *                           `-- pending set: the host answers later, on the engine's thread --'
 *                  |             |
 *                  |             +--> WRITING   the client is slow: output waits. Input is read
 * only |             |              where nobody wants it; then READING or as below
 *                  +-------------+--> LINGERING we have closed our side and wait for the client's
 *                                +--> gone
 *
 * Edges. The socket is edge-triggered but for LINGERING. Whoever stops before EAGAIN or a short
 * receive, or changes the state, either comes back by himself (a connection that returns from
 * another thread is read to its end) or asks for the edge again with sl_conn_rearm().
 */
#ifndef SL_HTTP_SESSION_H
#define SL_HTTP_SESSION_H

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <saola/engine.h>

#include "base/buffer.h"
#include "base/hints.h"
#include "base/list.h"
#include "http/access_log.h"
#include "http/chunked.h"
#include "http/head.h"
#include "http/output.h"
#include "net/cidr.h"
#include "net/loop.h"

enum {
    SL_SCRATCH_SIZE = 64 * 1024, /* one receive */
    SL_BODY_BUFFER = 64 * 1024,  /* bodies up to this are received before the handler runs */
    SL_DRAIN_MAX =
        256 * 1024,        /* unread rest of a body that is worth reading to keep a connection */
    SL_RECEIVE_ROUNDS = 8, /* receives of one connection before it is another's turn */
    SL_OUT_DIRECT = 16 * 1024, /* body parts from this size on are not copied */
    SL_OUT_HIGH = 256 * 1024,  /* more than this waiting for the client: SL_EFULL */
    SL_UNSENT_MAX = 64 * 1024, /* in the kernel beyond what is on its way: its memory for TCP is one
                                  for all, and thousands of slow readers would have it */
    SL_OUT_BATCH = 64 * 1024,  /* pipelined answers are sent when this much has gathered */
    SL_FAST_MS = 100,          /* who makes room within this time is no slow reader */
    SL_LINGER_MS = 2000,       /* how long we wait for a silent client to see our close */
    SL_LINGER_MAX_MS = 30000,  /* ... and for one that goes on sending */
    SL_STOP_LINGER_MS = 500,   /* idle connections live this long after sl_engine_stop() */
    SL_STOP_FIN_MS = 100,      /* ... and so long half closed */
    SL_EVENT_BATCH = 64,
};

enum sl_conn_state { SL_CONN_READING, SL_CONN_WRITING, SL_CONN_LINGERING };

/* How far a request body has come. */
struct sl_body {
    uint64_t left;            /* SL_BODY_LENGTH: bytes not consumed yet */
    struct sl_chunked chunks; /* SL_BODY_CHUNKED */
    enum sl_body_kind kind;
    bool done;
};

/* What each request touches stands at the front. */
struct sl_conn {
    int fd;             /* -1: record is free */
    uint8_t state;      /* enum sl_conn_state */
    bool away;          /* a handler runs for it on some thread, or it waits for one */
    bool dead;          /* broken while away: drop it when it comes back */
    bool draining;      /* body says what the client still sends and nobody wants */
    bool close_after;   /* close once the output is sent */
    bool linger;        /* ... and wait for the client first */
    bool abort;         /* ... with a reset: nothing else shows that the body is cut */
    bool scanning;      /* body.chunks looks for the end of a buffered chunked body in `in` */
    bool pipelined;     /* the client has sent ahead of an answer */
    bool first;         /* no request was begun yet */
    bool proxy_pending; /* a PROXY header is allowed now */
    bool undelimited;   /* its answer ends with the connection: until then a close is a reset */
    bool sent_continue; /* for the request that is being buffered */
    bool unread;        /* an edge may have passed: the socket may have more than was received */
    bool hung_up;       /* the client has closed its side at least */
    bool no_spool;      /* its body could not be put into a file */
    bool fast;          /* the kernel may hold more than SL_UNSENT_MAX for it */
    struct sl_workspace *pending; /* of the request that a host answers later */
    uint64_t active_ms;           /* last progress, engine time */
    uint64_t resume;              /* of the head parser in `in` */
    size_t need;                  /* `in` is not worth looking at before it has this many bytes */
    struct sl_buf in;             /* received and not served yet */
    uint64_t rate_ms;             /* a body or an answer is on its way: the interval over which its
                                     rate is judged began; 0: none is */
    size_t scanned; /* bytes of `in` that the chunk scan has passed, or that were drained */
    struct sl_peer peer;
    struct sl_list link;  /* engine->conns or ->spare; the owner's even while away */
    struct sl_conn *next; /* in one of the pool's queues */
    uint64_t linger_ms;   /* LINGERING: since when */
    uint64_t rate_mark;   /* at rate_ms: bytes behind (a body) or ahead (an answer) */
    size_t head_len;      /* scanning: where the body starts */
    struct sl_body body;  /* scan or drain */
    struct sl_out out;    /* WRITING: what the client has not taken */
};

struct sl_workspace;

struct sl_response {
    struct sl_workspace *ws;
    uint64_t length; /* declared Content-Length */
    uint64_t sent;   /* body bytes given to the client */
    int status;
    bool started, committed, ended;
    bool whole; /* its head was made with its body at hand */
    bool has_length, chunked, no_body;
    bool sealed;      /* its body is complete: what else the handler gives is dropped */
    bool substituted; /* ... because a file takes its place: ws->substitute */
    bool close;       /* this is the connection's last response */
    bool failed;      /* cut: the client must see that it is incomplete */
    bool upgraded, trailed;
    bool raw;      /* the host formats it */
    bool detached; /* the connection is the host's */
};

/* The exchange in progress on a thread. */
struct sl_exchange {
    struct sl_request req; /* first: the API's pointers are cast back */
    struct sl_response res;
    struct sl_body body;
    struct sl_conn *conn;
    char *view; /* received bytes after the head, not consumed */
    size_t view_len;
    const char *slice; /* decoded body data at the front of the view */
    size_t slice_len;
    struct sl_buf spill; /* body bytes received while the handler runs */
    uint64_t resume;     /* of the trailer parser at the view */
    size_t trailer_count;
    uint64_t began_ns; /* handler called; for the access log */
    bool broken;       /* peer gone or protocol error: no more input */
    int error;
    uint64_t received; /* decoded bytes of a chunked body */
    uint32_t
        waited_ms;  /* for the client, in the handler: the interval over which rates are judged */
    uint64_t moved; /* ... and bytes that came or went in it */
    struct sl_header trailers[16]; /* last: hardly ever touched */
};

/* A field in sl_workspace.headers: where it ends, and how long its name is. */
enum { SL_FIELDS_KEPT = 16 };
struct sl_kept_field {
    size_t end, name_len;
};

/* The head of the response before, all but Content-Length and the empty line. Valid as long as
 * status, date and the text of the fields are the same. */
struct sl_last_head {
    uint32_t len; /* 0: none */
    uint8_t kind;
    size_t fields_len; /* of sl_workspace.headers */
    char text[512];
};

/* What a thread needs to serve: nothing here is shared. What each request touches stands together:
 * after each system call it must be had from the second cache again. */
struct sl_workspace {
    struct sl_engine *engine;
    char *scratch;                  /* SL_SCRATCH_SIZE */
    struct sl_header *fields;       /* capacity engine->head_rules.max_fields */
    struct sl_access_desk *desk;    /* the engine's; of a pool's thread: own_desk */
    unsigned record;                /* of this thread in the scoreboard */
    unsigned kept_next, kept_count; /* of kept: x has so many; there are so many */
    bool wants_body, wants_room;    /* a pending request's */
    struct sl_known_host known_host;
    time_t date_second;
    char *fixed; /* "\r\nServer: ...\r\nDate: ...\r\nConnection: " */
    size_t fixed_len, fixed_date;
    struct sl_buf headers; /* formatted response fields of x */
    struct sl_out out;     /* output of the connection being served */
    struct sl_last_head last_head;
    size_t status_len;
    char status_text[128];
    struct sl_exchange x;
    struct sl_kept_field kept[SL_FIELDS_KEPT]; /* fields of x, then of the exchange before */
    struct sl_buf substitute;                  /* X-Sendfile of x */
    uint64_t ticket;                           /* pool.c: this thread's handler call */
    struct sl_workspace *next;                 /* engine->spare_ws */
    struct sl_access_desk own_desk;
};

struct sl_pool;

/* A listening socket and what its connections have in common. First byte apart from a connection:
 * the loop's data pointer is compared with the array's bounds. */
struct sl_listen_point {
    int fd;
    int family;
    uint16_t port;
    bool own;        /* reuse_port: nobody else accepts from it */
    bool left;       /* stopping: its queue is others' business */
    char local[112]; /* numeric address or unix path */
};

/* Who serves those that wait in the queues of the listening sockets when the engine stops; drain.c.
 */
enum sl_queue {
    SL_QUEUE_OTHERS,   /* others accept from them, or they are empty */
    SL_QUEUE_SERVED,   /* we do, and more may come */
    SL_QUEUE_FILTERED, /* we do, and no more come */
};

struct sl_engine {
    struct sl_engine_options opt;
    /* what each turn touches */
    struct sl_loop *loop;
    struct sl_workspace *ws;        /* the inline executor's; another one after each SL_PENDING */
    struct sl_pool *pool;           /* NULL: inline */
    struct sl_conn *returned;       /* came back from other threads, not looked at yet */
    struct sl_listen_point *points; /* opt.listener_count of them */
    int event_next, event_count;
    uint64_t now_ms;
    uint64_t swept_ms, beat_ms; /* last time of each */
    uint64_t handed_ms;         /* last time what is on the desk went to the log's writer */
    enum sl_queue queue;
    bool listening; /* the points are in the loop */
    bool draining;  /* stopping was noticed */
    bool turning;
    bool timed_log; /* opt.access_log tells how long requests took */
    bool fine_log;  /* ... and fractions of the second in which they ended */

    /* any thread */
    atomic_bool stopping; /* asked for */
    atomic_bool woken;    /* somebody wants the next turn not to sleep */
    atomic_bool limit_reached;
    atomic_bool cut; /* closed with threads still inside handlers: no answer leaves any more */
    atomic_uint connections;
    _Atomic uint64_t requests;
    _Atomic uint64_t asked_ms; /* when the stop was asked for; before stopping is set */

    struct sl_head_rules head_rules;
    struct sl_access_desk desk;
    struct sl_list conns;
    struct sl_list spare; /* free connection records */
    unsigned spare_count;
    struct sl_cidr *forwarded, *proxy;
    size_t forwarded_count, proxy_count;
    uint64_t accept_after_ms;      /* out of descriptors: no accept before */
    uint64_t accepted_ms;          /* last connection; 0: none yet */
    uint64_t stop_ms;              /* when stopping was noticed */
    uint64_t linger_ms;            /* how long idle connections live now */
    uint64_t filtered_ms;          /* SL_QUEUE_FILTERED: since when */
    uint64_t handshake_ms;         /* ... and for how long at least */
    struct sl_workspace *spare_ws; /* without scratch */
    unsigned spare_ws_count;
    unsigned waiting,
        waiting_peak;          /* requests that are answered later; most since the last sweep */
    struct sl_spool spool;     /* any thread */
    struct sl_out_store store; /* of connections that wait in WRITING; any thread */
    struct sl_loop_event events[SL_EVENT_BATCH];
};

enum sl_step {
    SL_STEP_DONE, /* go on with the next event */
    SL_STEP_LOST, /* another thread owns the engine now: touch it no more */
};

/* session.c */
enum sl_step sl_session_event(struct sl_workspace *ws, struct sl_conn *conn, unsigned flags);
enum sl_step sl_session_resume(struct sl_workspace *ws, struct sl_conn *conn);
/* Serves the request at the front of conn->in on a pool thread and gives the connection back. */
void sl_session_run_away(struct sl_workspace *ws, struct sl_conn *conn);
/* After the answer: what happens to the rest of the request body and to the connection. Returns how
 * many bytes of buf[0..len) are used up. */
size_t sl_session_conclude(struct sl_workspace *ws, struct sl_conn *conn, const char *buf,
                           size_t len);
/* Keeps what is behind the exchange in the workspace as conn->in. */
void sl_session_stash(struct sl_workspace *ws, struct sl_conn *conn, const char *buf, size_t pos,
                      size_t len, bool own);

/* upload.c: the owner's, for a request that has a body. */
/* Decides whether the handler may run: of the body `have` bytes are here, and it is complete or too
 * large to be awaited. Else conn->need says how many bytes to wait for. */
bool sl_upload_is_ready(struct sl_workspace *ws, struct sl_conn *conn, const struct sl_request *req,
                        const char *body, size_t have, size_t head_len);
/* More of a chunked body that is awaited (conn->scanning); request[0..len) starts with its head,
 * which is not parsed again for each piece. False while the end is not here. */
bool sl_upload_is_over(const struct sl_engine *engine, struct sl_conn *conn, const char *request,
                       size_t len);
/* What will be in a file of a body of known length fits into the spool, as things are. */
bool sl_upload_has_place(const struct sl_engine *engine, const struct sl_conn *conn,
                         const struct sl_request *req);
/* Room for the next receive behind what waits already. SL_OK; SL_EFULL: there is no place for the
 * body; SL_ENOMEM. */
int sl_upload_room(struct sl_workspace *ws, struct sl_conn *conn, char **ret_room,
                   size_t *ret_space);

/* pending.c: for the thread that owns the engine. */
/* The handler will answer later: its workspace and its bytes buf[pos..len) become the connection's,
 * the engine goes on with another workspace. */
void sl_pending_begin(struct sl_workspace *ws, struct sl_conn *conn, char *buf, size_t pos,
                      size_t len, bool own);
void sl_pending_event(struct sl_conn *conn, unsigned flags);
/* The host or the client takes too long. */
void sl_pending_expire(struct sl_engine *engine, struct sl_conn *conn);
/* The engine drops the connection. */
void sl_pending_drop(struct sl_conn *conn);
/* Once a sweep: frees workspaces that so many requests as lately do not need. */
void sl_pending_trim(struct sl_engine *engine);
void sl_pending_release(struct sl_engine *engine);

/* connection.c: for the thread that owns the engine; only sl_conn_end() is for any that has the
 * connection. */
/* Nothing more is looked at; closes once the output is sent. linger: and after the client did. */
void sl_conn_end(struct sl_conn *conn, bool linger);
/* The same, and tells the client and the log why. */
SL_COLD void sl_conn_refuse(struct sl_workspace *ws, struct sl_conn *conn, int status,
                            const char *sentence, const struct sl_request *req);
/* Sends what was answered; keeps what the client does not take. May close. */
void sl_conn_send(struct sl_workspace *ws, struct sl_conn *conn);
/* The output is sent and close_after is set: closes, or begins to linger. */
void sl_conn_finish(struct sl_engine *engine, struct sl_conn *conn);
/* Moves the workspace's output to the connection, which waits in WRITING. */
void sl_conn_keep(struct sl_workspace *ws, struct sl_conn *conn);
/* The client has taken `moved` more bytes of an output that waited since active_ms. One that takes
 * them at once may have as much of the kernel's memory as the kernel gives: that is faster. */
void sl_conn_note_taken(struct sl_engine *engine, struct sl_conn *conn, uint64_t moved);
/* WRITING from now on. What is possible already is told by an event. */
void sl_conn_await_client(struct sl_engine *engine, struct sl_conn *conn);
/* Asks for an event of what is there to be read or written already; false: had to drop it. */
bool sl_conn_rearm(struct sl_engine *engine, struct sl_conn *conn);
/* WRITING: reads what nobody wants (a client may send all of its request before it reads). */
void sl_conn_sink(struct sl_workspace *ws, struct sl_conn *conn);
/* draining: discards body bytes that nobody wants. Returns how many of them were its. */
size_t sl_conn_drain(struct sl_conn *conn, const char *data, size_t len);
/* LINGERING: reads what still comes; closes at its end. */
void sl_conn_discard(struct sl_workspace *ws, struct sl_conn *conn);
/* A close from now on is a reset: what was sent so far must not be taken for all (TCP). */
void sl_conn_set_reset(struct sl_conn *conn, bool on);
/* It waits for another request, and nothing of one is here. */
bool sl_conn_is_spare(const struct sl_conn *conn);
/* Ends the connection if its time is over. */
void sl_conn_expire(struct sl_workspace *ws, struct sl_conn *conn);

/* workspace.c */
/* scratch: with a receive buffer of its own. */
struct sl_workspace *sl_workspace_new(struct sl_engine *engine, bool scratch);
void sl_workspace_free(struct sl_workspace *ws);

/* engine.c */
/* The owner's next sleep, or the current one, ends at once. Async-signal-safe. */
void sl_engine_nudge(struct sl_engine *engine);
/* One turn by the owner; SL_ELOST (1) when ownership went away meanwhile. */
int sl_engine_serve(struct sl_engine *engine, struct sl_workspace *ws, int timeout_ms);
enum { SL_ELOST = 1 };

/* accept.c: the owner's. */
enum { SL_ACCEPT_PAUSE_MS = 100 }; /* after running out of descriptors */
/* Makes engine->points of the options' listening sockets, and listens unless that is for later. */
int sl_engine_open_points(struct sl_engine *engine, struct sl_error *err);
int sl_engine_listen_on(struct sl_engine *engine);
void sl_engine_listen_off(struct sl_engine *engine);
/* Some of those who wait, so that others have their turn. */
void sl_engine_accept_some(struct sl_engine *engine, const struct sl_listen_point *point);
/* At its limit of connections. */
bool sl_engine_full(const struct sl_engine *engine);
/* The oldest connection that is idle between requests, or NULL. */
struct sl_conn *sl_engine_find_spare(struct sl_engine *engine);
void sl_engine_drop(struct sl_engine *engine, struct sl_conn *conn);
/* Frees records of connections that are gone, but some for the next ones; all of them. */
void sl_engine_trim_spare(struct sl_engine *engine);
void sl_engine_free_spare(struct sl_engine *engine);

/* drain.c */
/* Any thread, for the exchange in its workspace: the server is leaving and this is the connection's
 * last answer. */
bool sl_drain_last_answer(const struct sl_exchange *x);
/* How long an idle connection lives after the stop. A reload ends none before its time; a stop does
 * not wait. */
uint64_t sl_drain_idle_ms(const struct sl_engine *engine);
/* Owner: the stop was noticed. */
void sl_drain_begin(struct sl_engine *engine);
/* Owner, each turn of a stopping engine: gives the queues up when they are empty. */
void sl_drain_tend(struct sl_engine *engine);

/* request.c */
/* Appends "100 Continue" (RFC 9110 section 15.2.1). SL_OK or SL_ENOMEM. */
int sl_out_continue(struct sl_out *out);
void sl_exchange_begin(struct sl_exchange *x, struct sl_conn *conn, char *view, size_t view_len);
/* In a handler: waits until the socket is ready for events. SL_ETIMEOUT after the body timeout, or
 * when x->moved shows less than rate bytes a second over that much waiting. */
int sl_exchange_wait(struct sl_exchange *x, short events, uint32_t rate);

static inline bool
sl_body_too_long(const struct sl_engine_options *opt, uint64_t len)
{
    return opt->max_body != 0 && len > opt->max_body;
}

/* What must have moved in ms at rate bytes a second: something at least. */
static inline uint64_t
sl_rate_bytes(uint32_t rate, uint64_t ms)
{
    uint64_t bytes = rate * ms / 1000;
    return bytes > 0 ? bytes : 1;
}

/* The whole body was received and consumed: sl_request_body_done() without the call. */
static inline bool
sl_exchange_is_read(const struct sl_exchange *x)
{
    return x->body.done && x->slice_len == 0;
}

/* Discards what is left of the body in the view; true when the body is complete. */
bool sl_exchange_skip_body(struct sl_exchange *x);
/* Feeds received bytes to a body; returns the bytes that belong to it, or SIZE_MAX on bad chunks.
 */
size_t sl_body_skip(struct sl_body *body, const char *data, size_t len);

/* response.c */
void sl_response_init(struct sl_response *res, struct sl_workspace *ws);
/* No field of the response is there; the text of those before is left (response_field.c). */
static inline void
sl_response_rewind_fields(struct sl_workspace *ws)
{
    ws->headers.len = 0;
    ws->kept_next = 0;
}
/* Somebody writes fields that sl_response_header() does not know. */
static inline void
sl_response_forget_fields(struct sl_workspace *ws)
{
    ws->kept_count = 0;
    ws->last_head.len = 0;
}
/* response_head.c */
/* Formats the head. whole: the body has len bytes and is given at once. SL_OK or SL_ENOMEM. */
int sl_response_commit(struct sl_response *res, bool whole, size_t len);
/* Blocks until nothing waits for the client: as sl_response_wait(), but nothing goes to a file. */
int sl_response_drain(struct sl_response *res);
/* The client cannot be reached, or not be told the truth: SL_ECLOSED. */
SL_COLD int sl_response_gone(struct sl_response *res);
/* Completes the response after the handler; result is the handler's. */
void sl_response_settle(struct sl_response *res, int result);

/* pool.c */
int sl_pool_start(struct sl_engine *engine, struct sl_pool **ret_pool, struct sl_error *err);
/* Any thread: waits until the engine has drained (SL_ECLOSED), a signal came (SL_EAGAIN), somebody
 * told it to return or the time is over. */
int sl_pool_wait(struct sl_pool *pool, int timeout_ms);
void sl_pool_tell(struct sl_pool *pool);    /* async-signal-safe */
int sl_pool_fd(const struct sl_pool *pool); /* readable when sl_pool_wait() would return */
/* Ends and joins the threads and frees the pool; SL_ETIMEOUT if one is still inside a handler. */
int sl_pool_stop(struct sl_pool *pool, unsigned wait_ms);

/* Owner, around an inline handler. enter is false when the request should be queued instead; leave
 * is false when ownership was taken meanwhile. */
bool sl_pool_enter(struct sl_pool *pool, struct sl_workspace *ws);
bool sl_pool_leave(struct sl_pool *pool, struct sl_workspace *ws);
/* Owner: conn waits for a thread. */
void sl_pool_queue(struct sl_pool *pool, struct sl_conn *conn);
/* Thread that is not the owner: conn goes back to the engine. */
void sl_pool_return(struct sl_pool *pool, struct sl_conn *conn);
/* Owner: takes all returned connections, linked by ->next; still marked away. */
struct sl_conn *sl_pool_collect(struct sl_pool *pool);

static inline bool
sl_request_is_head(const struct sl_request *req)
{
    return req->method.len == 4 && memcmp(req->method.ptr, "HEAD", 4) == 0;
}

#endif
