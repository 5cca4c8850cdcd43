/* The engine: the HTTP machinery of one worker. Accepts, parses, buffers, writes, times out.
 *
 * Process: one worker. Thread: the owner's (with SL threads > 0 ownership moves between the pool's
 * threads; sl_engine_stop() and sl_engine_wake() may be called from any thread or signal handler).
 */
#ifndef SAOLA_ENGINE_H
#define SAOLA_ENGINE_H

#include <saola/http.h>
#include <saola/status.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default) /* what the library shows */

struct sl_access_log;
struct sl_engine;
struct sl_slot;

/* Name and expected value of one secure_scheme_headers row, e.g. X-FORWARDED-PROTO, https. */
struct sl_scheme_header {
    const char *name, *value;
};

enum sl_header_map { SL_HEADER_MAP_DROP, SL_HEADER_MAP_REFUSE, SL_HEADER_MAP_DANGEROUS };

/* Parser switches and limits; gunicorn's names and meaning (reference of settings). */
struct sl_http_limits {
    uint32_t request_line; /* bytes without CRLF; 0 = the parser's own maximum */
    uint32_t fields;       /* number of header fields */
    uint32_t field_size;   /* bytes of one field line; 0 = the parser's own maximum */
    uint32_t head;         /* bytes of a whole head, or of trailers; 0 = the parser's own maximum */
    bool permit_obsolete_folding;
    bool strip_header_spaces;
    bool permit_unconventional_method;
    bool permit_unconventional_version;
    bool casefold_method;
    enum sl_header_map header_map;
    const char *const *forwarder_headers; /* NULL-terminated, upper case; "*" = all */
};

/* Answers in front of the handler, or in its place: see <saola/files.h>. */
struct sl_front {
    /* Called for each request on the engine's thread; must not wait for the client. 0: answered;
     * SL_ENOENT: not his, nothing was done; other negative codes: the response is failed. NULL:
     * none are his. */
    int (*serve)(void *ctx, struct sl_request *req, struct sl_response *res);
    /* Called in place of the body of a response that has an X-Sendfile header, on the handler's
     * thread: path is its value, the other headers are there already. What it returns does not
     * matter: a response that it does not answer is an error. NULL: the header is one like any
     * other. */
    void (*send_file)(void *ctx, struct sl_request *req, struct sl_response *res, const char *path,
                      size_t len);
    void *ctx;
};

struct sl_engine_options {
    const int *listener_fds; /* non-blocking listening sockets; stay the caller's */
    size_t listener_count;
    struct sl_http_limits limits;
    uint32_t keepalive_ms;      /* idle time between requests; 0 = close after each response */
    uint32_t retire_linger_ms;  /* idle connections live this long (at least half a second) after
                                   sl_engine_stop() while the service goes on without this worker */
    uint32_t header_timeout_ms; /* first byte of a head to its end; 0 = none */
    uint32_t body_timeout_ms;   /* longest pause inside a request body or while sending; 0 = none */
    uint32_t min_body_rate;     /* bytes a second that a body must come with, on average over each
                                   body_timeout_ms of waiting; 0 = one byte is enough */
    uint32_t min_response_rate; /* the same of what clients take of responses */
    uint64_t max_body;          /* longer bodies are refused with 413; 0 = no limit */
    uint64_t body_buffer;     /* a body up to this is here before the handler runs, in a file where
                                 it is large; at least 64 KiB */
    uint64_t response_buffer; /* up to this of an answer that the client is too slow for goes to a
                                 file, so that a handler that answers before it returns need not
                                 wait */
    const char *spool_dir;    /* of these files; NULL: there are none, 256 KiB of an answer wait at
                                 most, and a body of more than 64 KiB is the handler's from its
                                 first byte on */
    uint64_t spool_limit;     /* bytes of all these files together; 0 = no limit. Beyond, a body is
                                 refused with 503, and handlers wait for their clients. One body
                                 takes at most half of it before its handler is called */
    uint32_t max_connections; /* accepted at once; at the limit those idle between requests are
                                 closed, else no more are accepted; 0 = no limit */
    uint64_t max_requests;    /* on_limit is called when this many were begun; 0 = never */
    bool own_listeners;       /* reuse_port: nobody else accepts from TCP ones with SO_REUSEPORT */
    bool multiple_workers;    /* others accept from the same sockets: accept one at a time */
    const char *server_name;  /* value of the Server header */
    uint8_t proxy_protocol;   /* 0 off, 1, 2, or 3 = either */
    const char *const *proxy_allow;                /* NULL-terminated addresses and CIDR; "*" */
    const char *const *forwarded_allow;            /* the same */
    const struct sl_scheme_header *scheme_headers; /* ends with name NULL */

    const struct sl_front *front; /* outlives the engine; NULL = none */
    unsigned threads;             /* 0: handlers run inline; n: up to n at once on a pool */
    sl_handler_fn handle;
    void *ctx;
    /* Around every place where the engine's thread may sleep, and around a pool thread's life (the
     * interpreter's lock lives here). All may be NULL. */
    void (*sleep_begin)(void *ctx);
    void (*sleep_end)(void *ctx);
    void (*thread_begin)(void *ctx);
    void (*thread_end)(void *ctx);
    /* A request was refused before it reached the handler: status, what is wrong in one sentence.
     * head_seen: method/target in req are valid. For logs. */
    void (*on_bad_request)(void *ctx, const struct sl_request *req, const struct sl_peer *peer,
                           int status, const char *sentence);
    /* max_requests was reached; called once, on the thread that runs the last request, before its
     * response ends. The usual answer is sl_engine_stop(). */
    void (*on_limit)(void *ctx);
    /* Gets a line of each request that reached the handler or was refused after its request line;
     * outlives the engine. NULL: none. */
    struct sl_access_log *access_log;
    struct sl_slot *slot; /* scoreboard slot for beats and counters; NULL = none */

    /* ---- for a host with an event loop of its own (threads == 0) ---- */
    /* Something happened to a request for which handle() returned SL_PENDING: enum sl_on. It may
     * call everything that does not block but sl_request_finish(). */
    void (*on_event)(void *ctx, struct sl_request *req, unsigned what);
    /* A descriptor of sl_engine_watch() is ready: enum sl_watch. */
    void (*on_ready)(void *ctx, int fd, unsigned flags);
    bool expect_to_host; /* a request with Expect: 100-continue reaches the handler before its body,
                            whatever its size: the host says 100, or not */
    bool accept_later;   /* nothing is accepted before sl_engine_accept() */
    bool lent;           /* turns go on when a stopped engine is empty: they wait for descriptors of
                            sl_engine_watch() as before, and return SL_ECLOSED */
};

/* Options are copied; strings and arrays must outlive the engine. With threads, requests may be
 * served before it returns: *ret_engine is set before the first of them. On failure it is NULL.
 * Process: SIGPIPE is ignored from now on if it had its default action. */
int sl_engine_open(const struct sl_engine_options *options, struct sl_engine **ret_engine,
                   struct sl_error *err);

/* One turn: waits at most timeout_ms (-1: for ever) for events, serves all of them. SL_OK,
 * SL_EAGAIN if a signal interrupted the wait, SL_ECLOSED once a stopped engine has no connection
 * left. With threads > 0 the pool turns the engine by itself and this only waits. */
int sl_engine_turn(struct sl_engine *engine, int timeout_ms);

/* Pollable: readable when sl_engine_turn() has something to do (any event loop can watch it). */
int sl_engine_fd(const struct sl_engine *engine);

/* How long at most until the engine wants a turn even if nothing happens, in ms; -1: no limit. For
 * loops that watch sl_engine_fd(). */
int sl_engine_patience(const struct sl_engine *engine);

/* Begins to accept, after accept_later. */
void sl_engine_accept(struct sl_engine *engine);

enum sl_watch { SL_WATCH_READ = 1, SL_WATCH_WRITE = 2, SL_WATCH_ERROR = 4 };

/* Watches a foreign descriptor in the engine's own set (level-triggered), so that one wait serves
 * both; flags READ and WRITE, 0 ends it. on_ready gets ERROR besides when the kernel says so, asked
 * for or not. SL_OK, SL_EINVAL (cannot be polled: a regular file), SL_ENOENT (to end: not watched),
 * SL_ENOMEM, SL_ESYS (errno). The engine's thread. */
int sl_engine_watch(struct sl_engine *engine, int fd, unsigned flags);

/* Cuts every connection at once; pending requests get SL_ON_CLOSED. The engine's thread. */
void sl_engine_cut(struct sl_engine *engine);

/* Makes a blocked sl_engine_turn() return. Async-signal-safe. */
void sl_engine_wake(struct sl_engine *engine);

/* Graceful: answers what is in progress, the last on each connection with "Connection: close", lets
 * idle connections go half a second later. Accepting ends at once where others accept from the same
 * sockets, else (own_listeners, sl_slot_ending_listeners()) when their queues are empty; sockets of
 * ours alone are then shut down, their descriptors stay the caller's. Turns go on until SL_ECLOSED.
 * Async-signal-safe. */
void sl_engine_stop(struct sl_engine *engine);

/* Requests begun since it was opened; connections open now. Any thread. */
uint64_t sl_engine_requests(const struct sl_engine *engine);
unsigned sl_engine_connections(const struct sl_engine *engine);

/* Cuts every connection and frees everything. Pool threads are joined first; threads still inside
 * the handler after wait_ms are abandoned (SL_ETIMEOUT; the caller should end the process), and
 * nothing that they answer is sent. */
int sl_engine_close(struct sl_engine *engine, unsigned wait_ms);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
