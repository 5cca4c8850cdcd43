/* What the files of the asynchronous host share: one record per engine, one object per request.
 *
 * Process: a worker. Thread: the main one, which runs the event loop and, inside its selector or
 * from a reader, the engine. Requests are coroutines in tasks of the loop; a request's first step
 * is run by the engine's handler directly, before the loop hears of it.
 */
#ifndef SAOLA_HOST_PYTHON_AIO_H
#define SAOLA_HOST_PYTHON_AIO_H

#include <saola/websocket.h>

#include "../engine/engine.h"
#include <string.h>

/* Interned texts: field, text. */
#define SL_AIO_TEXTS(ROW)                                                                          \
    ROW(type, "type")                                                                              \
    ROW(asgi, "asgi")                                                                              \
    ROW(http, "http")                                                                              \
    ROW(http_version, "http_version")                                                              \
    ROW(server, "server")                                                                          \
    ROW(client, "client")                                                                          \
    ROW(scheme, "scheme")                                                                          \
    ROW(method, "method")                                                                          \
    ROW(root_path, "root_path")                                                                    \
    ROW(path, "path")                                                                              \
    ROW(raw_path, "raw_path")                                                                      \
    ROW(query_string, "query_string")                                                              \
    ROW(headers, "headers")                                                                        \
    ROW(state, "state")                                                                            \
    ROW(extensions, "extensions")                                                                  \
    ROW(status, "status")                                                                          \
    ROW(body, "body")                                                                              \
    ROW(more_body, "more_body")                                                                    \
    ROW(trailers, "trailers")                                                                      \
    ROW(more_trailers, "more_trailers")                                                            \
    ROW(links, "links")                                                                            \
    ROW(v1_1, "1.1")                                                                               \
    ROW(v1_0, "1.0")                                                                               \
    ROW(https, "https")                                                                            \
    ROW(http_request, "http.request")                                                              \
    ROW(http_disconnect, "http.disconnect")                                                        \
    ROW(response_start, "http.response.start")                                                     \
    ROW(response_body, "http.response.body")                                                       \
    ROW(response_trailers, "http.response.trailers")                                               \
    ROW(response_pathsend, "http.response.pathsend")                                               \
    ROW(response_early_hint, "http.response.early_hint")                                           \
    ROW(response_informational, "http.response.informational")                                     \
    ROW(websocket, "websocket")                                                                    \
    ROW(ws, "ws")                                                                                  \
    ROW(wss, "wss")                                                                                \
    ROW(subprotocol, "subprotocol")                                                                \
    ROW(subprotocols, "subprotocols")                                                              \
    ROW(text, "text")                                                                              \
    ROW(bytes, "bytes")                                                                            \
    ROW(code, "code")                                                                              \
    ROW(reason, "reason")                                                                          \
    ROW(websocket_connect, "websocket.connect")                                                    \
    ROW(websocket_accept, "websocket.accept")                                                      \
    ROW(websocket_receive, "websocket.receive")                                                    \
    ROW(websocket_send, "websocket.send")                                                          \
    ROW(websocket_disconnect, "websocket.disconnect")                                              \
    ROW(websocket_close, "websocket.close")                                                        \
    ROW(denial_start, "websocket.http.response.start")                                             \
    ROW(denial_body, "websocket.http.response.body")                                               \
    ROW(call_soon, "call_soon")                                                                    \
    ROW(create_future, "create_future")                                                            \
    ROW(create_task, "create_task")                                                                \
    ROW(call_later, "call_later")                                                                  \
    ROW(cancel, "cancel")                                                                          \
    ROW(done, "done")                                                                              \
    ROW(set_result, "set_result")                                                                  \
    ROW(throw, "throw")                                                                            \
    ROW(close, "close")                                                                            \
    ROW(context, "context")                                                                        \
    ROW(task_factory, "_task_factory")                                                             \
    ROW(ready, "_ready")                                                                           \
    ROW(scheduled, "_scheduled")                                                                   \
    ROW(stopping, "_stopping")                                                                     \
    ROW(debug, "_debug")                                                                           \
    ROW(log_destroy_pending, "_log_destroy_pending")                                               \
    ROW(get, "GET")                                                                                \
    ROW(task_name, "saola-request")

enum {
    SL_AIO_HEADERS = 256, /* slots of the caches; powers of two */
    SL_AIO_PATHS = 128,
    SL_AIO_CLIENTS = 256,
    SL_AIO_BLOCKS = 64,
    SL_AIO_BLOCK_MAX = 8192,    /* longest block of fields that is kept */
    SL_AIO_TEMPLATES = 16,      /* listeners times schemes */
    SL_AIO_SPARES = 64,         /* objects that receive() and send() return are kept */
    SL_AIO_CACHED_MAX = 1024,   /* longest header, path or query that is kept for reuse */
    SL_AIO_MESSAGE_MAX = 65536, /* most bytes of a body in one http.request */
};

struct sl_asgi_request;
struct sl_asgi_socket;
struct sl_aiohttp;

/* (name, value) as bytes, and the name as received. */
struct sl_aio_field {
    PyObject *pair; /* NULL: slot is empty */
    uint8_t len;
    char raw[48];
};

/* The fields of a request. */
struct sl_aio_block {
    PyObject *key; /* bytes as received; NULL: they are not kept */
    size_t count;
    bool trusted;
    PyObject *fields;  /* tuple of pairs: ASGI's; aiohttp's raw_headers */
    PyObject *headers; /* aiohttp's */
    bool plain;        /* nothing in them asks for more than a plain exchange; aiohttp */
};

struct sl_aio_blocks {
    struct sl_aio_block slots[SL_AIO_BLOCKS];
    struct sl_aio_block passing; /* one that is not kept */
    struct sl_aio_block *last;   /* of the request before; or NULL */
};

struct sl_aio_path {
    PyObject *raw;  /* bytes with root_path */
    PyObject *text; /* str, decoded */
    PyObject *sent; /* bytes as received: the key */
};

struct sl_aio_template {
    const char *local;
    uint16_t port;
    bool https;
    PyObject *dict;
    const struct sl_aio_path *path; /* that is in it, as long as its raw is this one */
    PyObject *raw;
};

/* The scope of the request before or of this one; scope.c. But for fields all are borrowed from
 * dict.
 */
struct sl_aio_scope {
    PyObject *dict; /* NULL: there is none */
    const struct sl_aio_template *from;
    PyObject *path, *client, *method, *query, *version, *asgi, *state, *extensions, *headers;
    PyObject *fields; /* tuple: what is in headers */
    uint64_t tag, asgi_tag, state_tag, extensions_tag, app_state_tag; /* as they were left */
};

/* A task that was constructed and has not begun; standby.c. All NULL: there is none. */
struct sl_aio_standby {
    PyObject *task;
    PyObject *step, *context; /* begins it, in that context */
    PyObject *entry;          /* its reference for the set of all tasks */
};

struct sl_aio {
    struct sl_py_state *state;
    PyObject *owner;     /* the AsyncEngine; borrowed */
    PyObject *app;       /* the ASGI application */
    PyObject *on_error;  /* on_error(exception, method, path): logs */
    PyObject *give_away; /* give_away(fd, bytes): takes handshakes of WebSocket; or NULL */
    PyObject *on_fault;  /* on_fault(text, method, path): the application broke the protocol */
    PyObject *app_state; /* dict: lifespan state, copied for each request */
    PyObject *root_path; /* str */
    PyObject *root_raw;  /* bytes */
    PyObject *asgi, *extensions; /* dicts, copied for each request */
    PyObject *socket_extensions; /* the same for WebSocket */
    PyObject *empty_bytes;
    /* of the loop; set by set_loop() */
    PyObject *loop;
    PyObject *loop_dict; /* of our own loop; else NULL */
    PyObject *task_type, *task_kwargs;
    PyObject *base_context, *create_future;
    bool eager;   /* the first step is run at once */
    bool factory; /* somebody has set a task factory: tasks are what it makes. Known for one turn */
    bool debug;   /* the loop's. The same */
    /* before 3.12, on our own loop: */
    PyObject *hook, *all_dict; /* what hook.c puts in the place of functions of asyncio's */
    bool making;               /* a task is being constructed, whose parts come here: */
    struct sl_aio_standby made;
    PyObject *current_tasks; /* asyncio's dict, loop to task; NULL: no task stands by */
    PyObject *get_must_cancel, *get_callbacks, *get_name; /* descriptors of asyncio.Task */
    double grace;    /* seconds until a request is cancelled whose client has gone; < 0: never */
    unsigned limit;  /* most requests at once; 0: any */
    unsigned active; /* applications that run */
    struct sl_asgi_request *first; /* ... */
    struct sl_ws_options websocket;
    uint64_t ping_after_ms, pong_within_ms; /* 0: never; no limit */
    struct sl_asgi_socket *sockets;         /* all that are open */
    bool leaving;                           /* ... were told that the worker leaves */
    bool telling;                           /* the engine tells of an event: no request may end */
#define ROW(field, text) PyObject *text_##field;
    SL_AIO_TEXTS(ROW)
#undef ROW
    struct sl_aio_field fields[SL_AIO_HEADERS];
    struct sl_aio_blocks blocks;
    struct sl_aio_scope scope;
    struct sl_aio_path paths[SL_AIO_PATHS];
    PyObject *queries[SL_AIO_PATHS]; /* bytes */
    PyObject *methods[16];           /* str */
    struct {
        uint16_t port;
        PyObject *pair; /* (host, port) */
    } clients[SL_AIO_CLIENTS];
    struct sl_aio_template templates[SL_AIO_TEMPLATES];
    unsigned template_count;
    PyObject *seen_start, *seen_body; /* the last texts that were types of messages */
    struct sl_asgi_request *spare;    /* with its receive, send and task */
    void *spare_calls[SL_AIO_SPARES]; /* memory of objects that receive() and send() return */
    unsigned spare_call_count;
    struct sl_aiohttp *aiohttp; /* the application is aiohttp's; NULL: ASGI */
};

enum sl_asgi_came { SL_ASGI_CAME_NOT, SL_ASGI_CAME_FUTURE, SL_ASGI_CAME_END, SL_ASGI_CAME_ERROR };

/* A request, its application's coroutine as the task sees it (it notices the end without a
 * callback) and what receive() and send() work on. */
struct sl_asgi_request {
    PyObject_HEAD struct sl_aio *aio;
    PyObject *receive, *send;      /* while the handler runs and while it is spare */
    struct sl_aio_standby standby; /* ... its task, if one stands by */
    PyObject *owner;               /* keeps aio alive; from here on all is zero in a spare one */
    struct sl_request *req;        /* NULL once the exchange is over */
    struct sl_response *res;
    PyObject *inner;               /* the application's coroutine; NULL once it has ended */
    PyObject *task;                /* while the application runs */
    PyObject *context;             /* the application's within the task's; NULL: the same */
    PyObject *come;                /* what came of the first step and its task does not know yet */
    uint8_t came;                  /* ... enum sl_asgi_came */
    PyObject *method, *path;       /* for logs */
    PyObject *waiters;             /* list of futures of receive() and send(), or NULL */
    PyObject *timer;               /* of the grace period */
    PyObject *trailers;            /* list of headers so far, or NULL */
    struct sl_asgi_socket *socket; /* WebSocket; NULL: HTTP */
    struct sl_asgi_request *prev, *next; /* aio->first */
    bool listed;
    bool inside;  /* the engine's handler runs: its return ends the exchange */
    bool pending; /* the handler returned SL_PENDING; the engine holds a reference */
    bool started, complete, wants_trailers;
    bool body_given; /* the last http.request was delivered */
    bool broken;     /* the request body was malformed or late: answered by us */
    bool gone;       /* a send() met the end of the connection */
    bool full;       /* the client is slow: send() waits for room */
    /* aiohttp's: */
    PyObject *protocol; /* ours for this request; goes back to the pool */
    PyObject *payload;  /* StreamReader while the body is not all there */
    bool reading_paused;
};

/* What a WebSocket has besides. It stays until the request is over, the application may have ended
 * before: the closing handshake goes on without it. */
struct sl_asgi_socket {
    struct sl_asgi_request *request;
    struct sl_asgi_socket *prev, *next; /* aio->sockets */
    struct sl_ws *ws;                   /* once accepted, until the connection is over */
    struct sl_ws_handshake *handshake;  /* until it is answered */
    PyObject *inbox;                    /* list of messages for receive(), or NULL */
    size_t inbox_bytes;
    PyObject *farewell; /* the message websocket.disconnect, once it is known */
    uint64_t heard_ms, busy_ms, pinged_ms, closing_ms;
    bool connected; /* websocket.connect was delivered */
    bool denying;   /* websocket.http.response.start came */
    bool closed;    /* by the application */
    bool left;      /* ... by somebody else: the application is to end */
    bool dry;       /* nothing more was there to be received */
    bool over;      /* nothing more will happen on the connection */
    bool resting;   /* its spare memory was given back */
};

/* Slot of a cache for these bytes. */
static inline uint32_t
sl_aio_mix(const char *ptr, size_t len)
{
    uint64_t a = 0, b = 0;
    if (len >= 8) {
        memcpy(&a, ptr, 8);
        memcpy(&b, ptr + len - 8, 8);
    } else if (len > 0) {
        a = (unsigned char)ptr[0] | (uint64_t)(unsigned char)ptr[len / 2] << 8 |
            (uint64_t)(unsigned char)ptr[len - 1] << 16;
    }
    uint64_t h = (a ^ (uint64_t)len << 56) * 0x9e3779b97f4a7c15u;
    h ^= (b + (h >> 29)) * 0xbf58476d1ce4e5b9u;
    return (uint32_t)(h >> 32);
}

static inline bool
sl_aio_same_bytes(PyObject *bytes, const char *ptr, size_t len)
{
    return (size_t)PyBytes_GET_SIZE(bytes) == len &&
           memcmp(PyBytes_AS_STRING(bytes), ptr, len) == 0;
}

/* ---- engine.c ------------------------------------------------------------------------------ */

extern PyType_Spec sl_aio_engine_spec;
/* The record inside an AsyncEngine; NULL with TypeError. */
struct sl_aio *sl_aio_of(PyObject *engine);
/* stream (a Stream) hears of its descriptor from now on, and is kept as long: enum sl_watch; 0 ends
 * it. 0, or -1 with an exception. */
int sl_aio_watch(struct sl_aio *aio, int fd, unsigned flags, PyObject *stream);

/* ---- stream.c ------------------------------------------------------------------------------ */

extern PyType_Spec sl_aio_stream_spec;
/* Its descriptor is ready: enum sl_watch. */
void sl_aio_stream_ready(PyObject *stream, unsigned flags);

/* ---- options.c ----------------------------------------------------------------------------- */

/* Takes key out of options, if it is there. 0, or -1 with an exception. */
int sl_aio_take_number(PyObject *options, const char *key, double *ret_value);
/* The same for all that aio knows. */
int sl_aio_take_options(struct sl_aio *aio, PyObject *options);

/* ---- types.c ------------------------------------------------------------------------------- */

/* asyncio takes our coroutines for such, and its CancelledError is known. 0 or -1. */
int sl_aio_types_meet_asyncio(struct sl_py_state *state);

/* ---- scope.c ------------------------------------------------------------------------------- */

int sl_aio_texts_init(struct sl_aio *aio);
void sl_aio_release(struct sl_aio *aio);
/* Objects from the caches; new references. client: None on a unix socket. */
PyObject *sl_aio_method(struct sl_aio *aio, const struct sl_str *method);
PyObject *sl_aio_client(struct sl_aio *aio, const struct sl_peer *peer);
/* The scope of a request; sets its method and path. NULL with an exception. */
PyObject *sl_asgi_scope_new(struct sl_asgi_request *request);
/* The application has ended with its handler: the scope stays for the next if it can. */
void sl_asgi_scope_settle(struct sl_aio *aio);
void sl_asgi_scope_forget(struct sl_aio *aio);

/* ---- path.c -------------------------------------------------------------------------------- */

/* The objects of a path, until another one is looked for; NULL with an exception. */
struct sl_aio_path *sl_aio_path_find(struct sl_aio *aio, const char *ptr, size_t len);

/* ---- fields.c ------------------------------------------------------------------------------ */

/* Makes the objects of a block that is empty but for count and trusted. 0, or -1 with an exception.
 */
typedef int (*sl_aio_block_fn)(void *ctx, struct sl_aio_block *block, const struct sl_request *req);
/* The block of a request, until the next one is looked for; made by make if it is not known. NULL
 * with an exception. */
struct sl_aio_block *sl_aio_block_find(struct sl_aio_blocks *blocks, const struct sl_request *req,
                                       sl_aio_block_fn make, void *ctx);
void sl_aio_blocks_clear(struct sl_aio_blocks *blocks);

/* ---- request.c ----------------------------------------------------------------------------- */

/* The application has ended; exception: what left it, or NULL. */
void sl_asgi_app_ended(struct sl_asgi_request *request, PyObject *exception);
/* The exception that is set has left the application. True: it goes on to the task. */
bool sl_asgi_app_raised(struct sl_asgi_request *request);
/* Its application runs no more. */
void sl_asgi_request_unlist(struct sl_asgi_request *request);
/* The engine's handler; the lock is held. */
int sl_asgi_handle(struct sl_aio *aio, struct sl_request *req, struct sl_response *res);
void sl_asgi_event(struct sl_request *req, unsigned what);
/* The response is complete or broken off: the connection goes on. */
void sl_asgi_end_exchange(struct sl_asgi_request *request);
/* Everything that waits in receive() or send() looks again. */
void sl_asgi_wake(struct sl_asgi_request *request);
/* Cancels the tasks of all requests; their number. */
Py_ssize_t sl_asgi_cancel_all(struct sl_aio *aio);

/* Starts the clock after which the task of a client that has gone is cancelled. */
void sl_asgi_start_grace(struct sl_asgi_request *request);
/* Logs: the application broke the protocol; an exception left it. */
void sl_asgi_fault(struct sl_asgi_request *request, const char *sentence);

/* ---- coroutine.c --------------------------------------------------------------------------- */

extern PyType_Spec sl_asgi_request_spec;
/* The object for a request, a spare one or a new one. NULL with an exception. */
struct sl_asgi_request *sl_asgi_request_new(struct sl_aio *aio, struct sl_request *req,
                                            struct sl_response *res);
/* The handler is over, and with it the caller's reference. */
void sl_asgi_request_give_back(struct sl_aio *aio, struct sl_asgi_request *request);
void sl_asgi_spare_free(struct sl_aio *aio);
/* Lets go of what refers to it: its functions and its task. */
void sl_asgi_request_disband(struct sl_asgi_request *request);
/* One step of the application, in its context. */
PySendResult sl_asgi_request_step(struct sl_asgi_request *request, PyObject *value,
                                  PyObject **ret_result);
/* coroutine.close() */
PyObject *sl_asgi_request_close(PyObject *request, PyObject *ignored);

/* ---- websocket.c --------------------------------------------------------------------------- */

/* The handler's part before the application is called: makes request->socket. False: answered, the
 * handshake is wrong or memory is short. */
bool sl_asgi_socket_open(struct sl_asgi_request *request);
void sl_asgi_socket_event(struct sl_asgi_request *request, unsigned what);
/* The application has ended; failed: by an exception, cancelled: because it was. */
void sl_asgi_socket_abandon(struct sl_asgi_request *request, bool failed, bool cancelled);
/* As sl_asgi_receive_message(). */
PyObject *sl_asgi_socket_receive(struct sl_asgi_request *request);
/* Accepted: frames are exchanged from now on. */
void sl_asgi_socket_begin(struct sl_asgi_request *request, struct sl_ws *ws);
/* Gives out what is to be sent. 0; 1: the client is slow; -1: it has gone. */
int sl_asgi_socket_flush(struct sl_asgi_request *request);
/* Our close is in the output, or the handshake was refused: receive() tells the application. */
void sl_asgi_socket_closing(struct sl_asgi_request *request, unsigned code, const char *reason,
                            size_t len);
/* The connection goes its way, the application may still run. */
void sl_asgi_socket_end(struct sl_asgi_request *request);
void sl_asgi_socket_free(struct sl_asgi_request *request);
/* Once a second or so: pings, those that do not answer, memory. */
void sl_asgi_sockets_tend(struct sl_aio *aio);
/* Begins the closing handshake of all with that code; their number. */
Py_ssize_t sl_asgi_sockets_close(struct sl_aio *aio, unsigned code);

/* ---- message_file.c ------------------------------------------------------------------------- */

/* http.response.pathsend: the file at "path" as the body. As sl_asgi_send_message(). */
int sl_asgi_send_path(struct sl_asgi_request *request, PyObject *type, PyObject *message);
/* http.response.zerocopysend without more_body: "count" bytes of the open "file" from "offset", for
 * wsgi.file_wrapper. As sl_asgi_send_message(). */
int sl_asgi_send_open_file(struct sl_asgi_request *request, PyObject *type, PyObject *message);

/* ---- websocket_message.c ------------------------------------------------------------------- */

/* Turns the scope of an HTTP request into that of its WebSocket. 0 or -1. */
int sl_asgi_socket_scope(struct sl_asgi_request *request, PyObject *scope);
/* As sl_asgi_send_message(). */
int sl_asgi_socket_send(struct sl_asgi_request *request, PyObject *type, PyObject *message);
/* Messages for receive(); NULL with an exception. */
PyObject *sl_asgi_connect_message(struct sl_aio *aio);
PyObject *sl_asgi_data_message(struct sl_aio *aio, const struct sl_ws_event *event);
PyObject *sl_asgi_disconnect_message(struct sl_aio *aio, unsigned code, const char *reason,
                                     size_t len);

/* ---- awaitable.c: of coroutines in C ------------------------------------------------------- */

/* An awaitable that is done, any number of times. */
extern PyType_Spec sl_aio_done_spec;
/* send() and __next__() by am_send. */
PyObject *sl_aio_coroutine_send(PyObject *self, PyObject *value);
PyObject *sl_aio_coroutine_next(PyObject *self);
/* Raises the arguments of throw(). */
void sl_aio_raise_thrown(PyObject *args);

#define SL_AIO_COROUTINE_METHODS                                                                   \
    {                                                                                              \
        "send", sl_aio_coroutine_send, METH_O, NULL                                                \
    }
#define SL_AIO_COROUTINE_SLOTS(send)                                                               \
    {Py_tp_iter, (void *)(uintptr_t)PyObject_SelfIter},                                            \
        {Py_tp_iternext, (void *)(uintptr_t)sl_aio_coroutine_next},                                \
        {Py_am_await, (void *)(uintptr_t)PyObject_SelfIter},                                       \
    {                                                                                              \
        Py_am_send, (void *)(uintptr_t)send                                                        \
    }

/* ---- task.c -------------------------------------------------------------------------------- */

int sl_aio_set_loop(struct sl_aio *aio, PyObject *loop, bool own);
/* Lets go of it. */
void sl_aio_leave_loop(struct sl_aio *aio);
/* The timer of our own loop that is due first, borrowed; NULL: there is none. Only to be compared.
 */
const void *sl_aio_first_timer(struct sl_aio *aio);
/* True: our own loop has nothing to do; it would only come back to wait, for as long as before.
 * first: what sl_aio_first_timer() was then. */
bool sl_aio_loop_rests(struct sl_aio *aio, const void *first);
/* A turn begins: looks what kind of tasks the loop makes. */
void sl_aio_look_at_loop(struct sl_aio *aio);
/* Starts the request in a task of its own, in a copy of the base context; its first step has been
 * run where that is possible. New reference to the task, or NULL with an exception. */
PyObject *sl_aio_start_task(struct sl_aio *aio, struct sl_asgi_request *request);
/* Constructs a task. New reference, or NULL with an exception. */
PyObject *sl_aio_make_task(struct sl_aio *aio, PyObject *coroutine, PyObject *context);

/* ---- hook.c: asyncio's functions before CPython 3.12 --------------------------------------- */

/* get_debug() of the loop in C. 0 or -1. */
int sl_aio_hasten_debug(PyObject *loop_dict);
int sl_aio_hook_loop(struct sl_aio *aio);
void sl_aio_unhook(struct sl_aio *aio);
/* Puts the entry of a task into the set of all, takes it out. 0 or -1. */
int sl_aio_list_task(struct sl_aio *aio, PyObject *entry);
int sl_aio_unlist_task(struct sl_aio *aio, PyObject *entry);

/* ---- standby.c ----------------------------------------------------------------------------- */

/* Looks for what it needs of asyncio; without it, aio->current_tasks stays NULL. */
void sl_aio_standby_init(struct sl_aio *aio);
void sl_aio_standby_clear(struct sl_aio_standby *standby);
/* sl_aio_start_task() before 3.12 on our own loop. */
PyObject *sl_aio_standby_start(struct sl_aio *aio, struct sl_asgi_request *request);

/* ---- aiohttp.c: requests for aiohttp's own application object -----------------------------------
 */

extern PyType_Spec sl_aiohttp_writer_spec;
/* What aiohttp.web offers, as the attributes of bridge (saola.aio.web.Bridge). */
int sl_aiohttp_new(struct sl_aio *aio, PyObject *bridge);
void sl_aiohttp_free(struct sl_aio *aio);
int sl_aiohttp_traverse(struct sl_aio *aio, visitproc visit, void *arg);
/* The connection goes to taker(fd, bytes, peer), peer as aiohttp wants it or None. Result of
 * handle(). */
int sl_aio_give_away(struct sl_aio *aio, PyObject *taker, struct sl_request *req,
                     struct sl_response *res);
/* True: the request is no plain one, and its connection was given to aiohttp's own protocol;
 * *ret_code is for the engine. */
bool sl_aiohttp_give_away(struct sl_aio *aio, struct sl_request *req, struct sl_response *res,
                          int *ret_code);
/* The coroutine that answers; NULL with an exception. */
PyObject *sl_aiohttp_call(struct sl_asgi_request *request);
/* Something happened to its connection: enum sl_on. */
void sl_aiohttp_event(struct sl_asgi_request *request, unsigned what);
/* Feeds what has arrived of the body to the application's reader. */
void sl_aiohttp_pump(struct sl_asgi_request *request);
/* The application has ended. */
void sl_aiohttp_end(struct sl_asgi_request *request);

/* ---- channel.c ----------------------------------------------------------------------------- */

extern PyType_Spec sl_asgi_op_spec;
void sl_asgi_calls_free(struct sl_aio *aio);
extern PyMethodDef sl_asgi_receive_def, sl_asgi_send_def;

/* ---- message.c ----------------------------------------------------------------------------- */

/* Carries out what the application sends. 0; 1: done, but the client is slow: wait for room; -1
 * with an exception. */
int sl_asgi_send_message(struct sl_asgi_request *request, PyObject *message);
/* What has arrived of the body, up to a limit; NULL without an exception: nothing. */
PyObject *sl_asgi_take_body(struct sl_request *req);
/* The body cannot be had (code): the client hears why if nothing was said yet. */
void sl_asgi_refuse_body(struct sl_asgi_request *request, int code);
/* The next message for the application; NULL without an exception: none yet. */
PyObject *sl_asgi_receive_message(struct sl_asgi_request *request);

/* ---- message_fields.c ---------------------------------------------------------------------- */

struct sl_asgi_bytes {
    const char *ptr;
    size_t len;
    Py_buffer view; /* obj NULL: not used */
};
/* What bytes or a buffer holds; what: its name in TypeError. 0 or -1; sl_asgi_drop_bytes() after
 * use. */
int sl_asgi_get_bytes(PyObject *object, const char *what, struct sl_asgi_bytes *ret);
void sl_asgi_drop_bytes(struct sl_asgi_bytes *bytes);
typedef int (*sl_asgi_field_fn)(void *ctx, const struct sl_header *field);
/* use for each of headers, an iterable of pairs; NULL is none. 0 or -1. */
int sl_asgi_each_field(PyObject *headers, sl_asgi_field_fn use, void *ctx);
/* For use: into a list of pairs; into a struct sl_asgi_fields. */
int sl_asgi_keep_field(void *ctx, const struct sl_header *field);
int sl_asgi_collect_field(void *ctx, const struct sl_header *field);

enum { SL_ASGI_FIELDS = 64 }; /* most of trailers, of interim responses and of an upgrade */
struct sl_asgi_fields {
    struct sl_header fields[SL_ASGI_FIELDS];
    size_t count;
};
/* headers, an iterable of pairs of bytes or NULL, as fields that point into *ret_keep. 0 or -1. */
int sl_asgi_fields_read(PyObject *headers, struct sl_asgi_fields *ret, PyObject **ret_keep);

/* ---- message.c, for WebSocket's messages --------------------------------------------------- */

/* What a message of a response has; borrowed, NULL: nothing. */
struct sl_asgi_message {
    PyObject *type, *status, *headers, *trailers, *body, *more_body;
};
/* message: a dict. 0, or -1 with an exception. */
int sl_asgi_message_read(const struct sl_aio *aio, PyObject *message, struct sl_asgi_message *ret);
int sl_asgi_send_start(struct sl_asgi_request *request, const struct sl_asgi_message *message);
int sl_asgi_send_body(struct sl_asgi_request *request, const struct sl_asgi_message *message);
/* The response is whole; 0. */
int sl_asgi_complete(struct sl_asgi_request *request);
/* -1 with an exception: RuntimeError; ConnectionResetError. */
int sl_asgi_unexpected(PyObject *message_type, const char *instead);
int sl_asgi_client_gone(struct sl_asgi_request *request);

#endif
