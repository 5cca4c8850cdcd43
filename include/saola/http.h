/* One HTTP exchange as a host or a C application sees it: the request, and the response it makes.
 *
 * Ownership: both structs belong to the engine and live until the handler returns. Slices point
 * into the receive buffer and live as long as the request. Thread: all functions are called on the
 * thread that runs the handler. They touch this exchange and its connection only, never the engine,
 * so several exchanges may run on several threads. Blocking: only the two *_wait functions block.
 * Call them without holding an interpreter's lock. Terms: RFC 9110, RFC 9112.
 */
#ifndef SAOLA_HTTP_H
#define SAOLA_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default) /* what the library shows */

/* Bytes somewhere else; not NUL-terminated. */
struct sl_str {
    const char *ptr;
    size_t len;
};

struct sl_header {
    struct sl_str name;  /* a token, case as received */
    struct sl_str value; /* without leading and trailing white space */
};

/* Who is at the other end of a connection and where it came in. Constant for the connection's life.
 */
struct sl_peer {
    int family;          /* AF_INET, AF_INET6 or AF_UNIX */
    uint16_t port;       /* of the peer; 0 for AF_UNIX */
    uint16_t local_port; /* of the listener; 0 for AF_UNIX */
    bool trusted;        /* the address is in forwarded_allow_ips, or is a unix socket */
    uint8_t proxied;     /* 0, or the version (1, 2) of the PROXY header that gave addr and port */
    char addr[46];       /* numeric; "" for AF_UNIX */
    char proxy_addr[46]; /* the proxy's own address when proxied */
    uint16_t proxy_port;
    uint16_t
        dest_port; /* with dest_addr: where the client connected to, as the PROXY header says */
    char dest_addr[46]; /* or, when it does not say, the listener's address */
    const char *local;  /* numeric address or unix path of the listener; lives as long as it */
};

enum sl_body_kind {
    SL_BODY_NONE,
    SL_BODY_LENGTH,  /* Content-Length */
    SL_BODY_CHUNKED, /* Transfer-Encoding: chunked */
    SL_BODY_RAW,     /* after sl_response_upgrade(): whatever the client sends */
};

struct sl_request {
    struct sl_str method; /* as received */
    struct sl_str target; /* the whole request target */
    struct sl_str path;   /* percent-encoded, without query; "*" for the asterisk form */
    struct sl_str query;  /* without '?'; ptr is NULL when there was no '?' */
    const struct sl_header *headers;
    size_t header_count;
    uint64_t content_length; /* with SL_BODY_LENGTH */
    enum sl_body_kind body;
    uint8_t version_major, version_minor;
    bool keep_alive;      /* the client allows the connection to stay */
    bool expect_continue; /* Expect: 100-continue, not answered yet */
    bool https;           /* by TLS or by a trusted peer's secure_scheme_headers */
    bool first;           /* first request of its connection */
    const struct sl_peer *peer;
    void *host_data; /* the host's, for the life of the request; NULL at the start */
};

struct sl_response;

/* ---- request body -------------------------------------------------------------------------- */

/* Body bytes that have arrived and are not consumed yet (decoded from chunks). Returns their number
 * and sets *ret_data; 0 when none is here now. Never blocks. */
size_t sl_request_body(struct sl_request *req, const char **ret_data);

/* Marks the first n bytes that sl_request_body() gave as read. */
void sl_request_consume(struct sl_request *req, size_t n);

/* True once the whole body was received and consumed. */
bool sl_request_body_done(const struct sl_request *req);

/* Blocks until more body bytes are here. Sends "100 Continue" first if the client waits for it.
 * Returns SL_OK (look again), SL_ECLOSED (the client went away: body is incomplete), SL_ETIMEOUT or
 * SL_EPROTO (bad chunk); after an error the connection will be closed. */
int sl_request_wait(struct sl_request *req);

/* The same without blocking, for handlers that answer later (SL_PENDING): receives what is here
 * now. SL_EAGAIN: nothing, and the engine's on_event tells of more (SL_ON_BODY). Nothing is
 * received unless it is called, so a host that does not ask slows the client down. */
int sl_request_more(struct sl_request *req);

/* The client has closed its side, or all of the connection: nobody may read the answer. */
bool sl_request_gone(const struct sl_request *req);

/* Takes the connection away from the engine, inside a handler that has not answered anything
 * (inline engines only): *ret_fd, non-blocking, is the caller's; *ret_data are all bytes received
 * from the first of this request on, valid until the handler returns, with 0. The engine forgets
 * the connection without a word. SL_EBUSY: answers to earlier requests wait to be sent; SL_ESYS
 * (errno).
 */
int sl_request_detach(struct sl_request *req, int *ret_fd, const char **ret_data, size_t *ret_len);

/* Whole trailer section of a chunked body once it is done: their number, which may be 0. They are
 * never among the headers; names that decide about framing, routing or trust were refused, and the
 * others are the client's word. */
size_t sl_request_trailers(const struct sl_request *req, const struct sl_header **ret_headers);

/* First header of that name (any case), or NULL. */
const struct sl_header *sl_request_header(const struct sl_request *req, const char *name);

/* ---- response ------------------------------------------------------------------------------ */

/* Starts the response head. status is "200 OK": three digits, a space, a reason without CR or LF,
 * at most 127 bytes. Until something was sent it may be called again and replaces status and
 * headers. SL_EINVAL if the text is malformed, SL_EBUSY if bytes were already sent. */
int sl_response_start(struct sl_response *res, const char *status, size_t len);

/* Replaces the status and keeps the headers; the same errors. */
int sl_response_set_status(struct sl_response *res, const char *status, size_t len);

/* The same with the usual reason of a status from 100 to 999. SL_EINVAL for others. */
int sl_response_start_code(struct sl_response *res, int status);

/* Adds a header. Name must be a token and value free of control characters (SL_EINVAL; nothing is
 * added). Connection-level fields that belong to the server (Connection, Keep-Alive,
 * Transfer-Encoding, TE, Upgrade, Proxy-*, Server, Date) are dropped; "Connection: close"
 * is honoured. A Content-Length must be one plain number. */
int sl_response_header(struct sl_response *res, const char *name, size_t name_len,
                       const char *value, size_t value_len);

enum sl_write_flags {
    SL_WRITE_LAST = 1,  /* no more body follows: Content-Length is added where none was given */
    SL_WRITE_FLUSH = 2, /* send what there is now: the application may be slow with the next part */
    SL_WRITE_HEAD = 4,  /* the head is on its way even if there are no bytes yet */
};

/* Gives body bytes; they are sent or copied before it returns. Bytes beyond Content-Length and
 * bodies where none is allowed (HEAD, 1xx, 204, 304) are dropped silently.
 * SL_OK; SL_EFULL: taken, but the client is slow: call sl_response_wait() before the next write
 * (a handler that answers later: wait for SL_ON_ROOM); SL_ECLOSED: the client is gone (the
 * application may stop). */
int sl_response_write(struct sl_response *res, const void *data, size_t len, unsigned flags);

/* Sends length bytes of a regular file from offset as the rest of the body, by sendfile(2), without
 * blocking the caller (but in a chunked response it waits, as sl_response_wait(), and more may
 * follow); file_fd is duplicated and its offset left alone. SL_OK, SL_EINVAL, SL_ECLOSED, SL_ESYS:
 * no descriptor is left, nothing of the body was sent. */
int sl_response_sendfile(struct sl_response *res, int file_fd, off_t offset, uint64_t length);

/* The same, and file_fd is the response's own from now on: it is closed here or when the file is
 * sent, also on failure. Small files are read at once, which a client takes in one packet. */
int sl_response_give_file(struct sl_response *res, int file_fd, off_t offset, uint64_t length);

/* Blocks until less than the high-water mark is waiting for the client. SL_OK, SL_ECLOSED or
 * SL_ETIMEOUT (the connection will be closed). */
int sl_response_wait(struct sl_response *res);

/* Ends the response: sends what is missing (head, last chunk). A body shorter than its
 * Content-Length closes the connection. Called once by the host; the engine calls it for a C
 * handler that returns 0. SL_EPROTO if nothing was ever started. */
int sl_response_end(struct sl_response *res);

/* The same with trailer fields behind a chunked body (RFC 9112 section 7.1.2); where the body is
 * not chunked they are dropped. SL_EINVAL, nothing was done: a field is malformed, or its name is
 * one that is needed before the content (framing, routing, authentication, controls, format of the
 * content: RFC 9110 section 6.5.1). */
int sl_response_end_trailers(struct sl_response *res, const struct sl_header *trailers,
                             size_t trailer_count);

/* Sends a response that was started with status 101 and makes the connection the host's, with
 * protocol as the value of Upgrade (RFC 9110 section 7.8). From now on sl_request_body() and
 * sl_request_more() give what the client sends as it is, sl_response_write() sends as it is,
 * sl_response_end() ends the connection. SL_OK, SL_EINVAL (not 101, or committed), SL_ECLOSED. */
int sl_response_upgrade(struct sl_response *res, const char *protocol, size_t len);

/* The host formats the response itself: head (status line to empty line) is sent as it is, and from
 * now on sl_response_write() too, without framing; SL_WRITE_LAST and Content-Length mean nothing.
 * status is for the log. The host ends the connection, if it says so in the head or the body has no
 * other end, by sl_response_close(). SL_OK, SL_EINVAL (status), SL_EBUSY (something was sent),
 * SL_ECLOSED. */
int sl_response_raw(struct sl_response *res, int status, const void *head, size_t len);

/* For the head of sl_response_raw(): the connection ends after this response, because the client
 * wants it, the server leaves or the request is not whole. */
bool sl_response_is_last(const struct sl_response *res);

/* Replaces a response of which nothing was sent by an error page (status, sentence for the client;
 * NULL for none) and closes; if bytes were sent, cuts the connection so that the client sees the
 * truncation. */
void sl_response_fail(struct sl_response *res, int status, const char *sentence);

/* Interim response: 103 with headers, before sl_response_start(). No-op on HTTP/1.0. SL_EINVAL for
 * 101 (sl_response_upgrade() is for that) and for fields of framing or of the connection. */
int sl_response_interim(struct sl_response *res, int status, const struct sl_header *headers,
                        size_t header_count);

/* Asks for the connection to be closed after this response. */
void sl_response_close(struct sl_response *res);

int sl_response_status(const struct sl_response *res); /* 0 before start */
/* A header of that name (any case) was added by sl_response_header(). */
bool sl_response_has_header(const struct sl_response *res, const char *name);
bool sl_response_started(const struct sl_response *res);   /* sl_response_start() was called */
bool sl_response_committed(const struct sl_response *res); /* head is formatted for the wire */
bool sl_response_chunked(const struct sl_response *res);
bool sl_response_keep_alive(const struct sl_response *res);     /* the connection will stay open */
uint64_t sl_response_body_bytes(const struct sl_response *res); /* body bytes given to the client */

/* ---- handler ------------------------------------------------------------------------------- */

/* A handler's result: the answer comes later. */
enum { SL_PENDING = 1 };

/* Answers one request. 0, or negative: the response is failed with 500. Inline engines only:
 * SL_PENDING keeps req and res valid until sl_request_finish(); the engine serves others meanwhile,
 * and the functions above that do not block may be called on the engine's thread at any time,
 * inside other handlers too. */
typedef int (*sl_handler_fn)(void *ctx, struct sl_request *req, struct sl_response *res);

/* What on_event of the engine tells of a pending request. */
enum sl_on {
    SL_ON_BODY = 1,   /* call sl_request_more() again */
    SL_ON_ROOM = 2,   /* after SL_EFULL: the client has taken most of it */
    SL_ON_GONE = 4,   /* sl_request_gone() is true now. Answering still is allowed */
    SL_ON_CLOSED = 8, /* the engine has dropped the request: req and res are not valid any more */
};

/* Ends the exchange of a handler that returned SL_PENDING (sl_response_end() if that was not
 * called; 500 if nothing was started). req and res are invalid afterwards. The connection's next
 * request is served in the engine's next turn. */
void sl_request_finish(struct sl_request *req);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
