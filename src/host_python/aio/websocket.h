/* The WebSocket of an ASGI application: websocket.c is its life, websocket_message.c its messages.
 *
 * Process, thread: as in aio.h.
 */
#ifndef SAOLA_HOST_PYTHON_WEBSOCKET_H
#define SAOLA_HOST_PYTHON_WEBSOCKET_H

#include "aio.h"

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

#endif
