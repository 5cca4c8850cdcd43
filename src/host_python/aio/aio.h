/* What the files of the asynchronous host share: one record per engine, one object per request.
 *
 * Process: a worker. Thread: the main one, which runs the event loop and, inside its selector or
 * from a reader, the engine. Requests are coroutines in tasks of the loop; a request's first step
 * is run by the engine's handler directly, before the loop hears of it.
 */
#ifndef SAOLA_HOST_PYTHON_AIO_H
#define SAOLA_HOST_PYTHON_AIO_H

#include <saola/websocket.h>

#include "cache.h"

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

enum { SL_AIO_SPARES = 64 }; /* objects that receive() and send() return are kept */

struct sl_asgi_socket;
struct sl_aiohttp;

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

#endif
