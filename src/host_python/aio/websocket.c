/* A WebSocket of an ASGI application: what the client sends becomes messages in an inbox, so that
 * pings are answered and a close is seen whether or not the application is in receive(). The inbox
 * is short; when it is full, what the client sends stays in its socket.
 *
 *     CONNECTING --accept--> open --close (either side)--> closing --> over
 *          |  `--http.response.start--> denying --body--> over
 *          `--close: 403, or the application ended: 500--> over
 */
#include "../clock.h"
#include "websocket.h"

enum {
    INBOX_MESSAGES = 16,
    INBOX_BYTES = 65536,    /* more is not taken in until the application has received some */
    CLOSE_WITHIN_MS = 5000, /* the client has to answer our close */
    LEAVE_WITHIN_MS = 1000, /* ... when the worker leaves */
    REST_AFTER_MS = 5000,   /* of silence */
};

static uint64_t
now_ms(void)
{
    return sl_py_clock_ns(CLOCK_MONOTONIC_COARSE) / 1000000;
}

/* ---- life ---------------------------------------------------------------------------------- */

static void
unlink_socket(struct sl_asgi_socket *s)
{
    struct sl_aio *aio = s->request->aio;
    if (s->prev != NULL)
        s->prev->next = s->next;
    else if (aio->sockets == s)
        aio->sockets = s->next;
    if (s->next != NULL)
        s->next->prev = s->prev;
    s->prev = s->next = NULL;
}

bool
sl_asgi_socket_open(struct sl_asgi_request *r)
{
    struct sl_aio *aio = r->aio;
    const char *sentence = NULL;
    struct sl_asgi_socket *s = PyMem_Calloc(1, sizeof *s);
    struct sl_ws_handshake *handshake = PyMem_Calloc(1, sizeof *handshake);
    int status = 503;
    if (s != NULL && handshake != NULL)
        status = sl_ws_handshake(r->req, &aio->websocket, handshake, &sentence);
    if (status != 0) {
        PyMem_Free(s);
        PyMem_Free(handshake);
        if (sentence != NULL)
            (void)sl_ws_refuse(r->res, status, sentence);
        else
            sl_response_fail(r->res, status, NULL);
        return false;
    }
    s->handshake = handshake;
    s->request = r;
    s->next = aio->sockets;
    if (s->next != NULL)
        s->next->prev = s;
    aio->sockets = s;
    r->socket = s;
    return true;
}

/* In the middle of an event of the engine no request may end: it does in the loop's next step. */
static void
end_later(struct sl_asgi_request *r)
{
    PyObject *end = PyObject_GetAttrString((PyObject *)r, "_end");
    PyObject *handle =
        end ? PyObject_CallMethodOneArg(r->aio->loop, r->aio->text_call_soon, end) : NULL;
    if (handle == NULL)
        PyErr_WriteUnraisable((PyObject *)r);
    Py_XDECREF(handle);
    Py_XDECREF(end);
}

void
sl_asgi_socket_end(struct sl_asgi_request *r)
{
    struct sl_asgi_socket *s = r->socket;
    if (s->over)
        return;
    s->over = true;
    unlink_socket(s);
    sl_ws_free(s->ws);
    s->ws = NULL;
    PyMem_Free(s->handshake);
    s->handshake = NULL;
    r->full = false;
    if (r->req == NULL)
        return; /* the engine has dropped it */
    if (r->aio->telling)
        end_later(r);
    else
        sl_asgi_end_exchange(r);
}

void
sl_asgi_socket_free(struct sl_asgi_request *r)
{
    struct sl_asgi_socket *s = r->socket;
    if (s == NULL)
        return;
    r->socket = NULL;
    unlink_socket(s);
    sl_ws_free(s->ws);
    PyMem_Free(s->handshake);
    Py_CLEAR(s->inbox);
    Py_CLEAR(s->farewell);
    PyMem_Free(s);
}

/* ---- what the application will hear -----------------------------------------------------------
 */

static void
set_farewell(struct sl_asgi_request *r, unsigned code, const char *reason, size_t len)
{
    struct sl_asgi_socket *s = r->socket;
    if (s->farewell != NULL)
        return;
    s->farewell = sl_asgi_disconnect_message(r->aio, code, reason, len);
    if (s->farewell == NULL)
        PyErr_WriteUnraisable((PyObject *)r);
}

/* Not the application's doing: it hears of it, and shall come to its end. */
static void
leave(struct sl_asgi_request *r, unsigned code, const char *reason, size_t len)
{
    struct sl_asgi_socket *s = r->socket;
    set_farewell(r, code, reason, len);
    if (s->closed)
        return;
    s->left = true;
    r->gone = true;
    sl_asgi_start_grace(r);
}

static void
lose(struct sl_asgi_request *r)
{
    leave(r, 1006, NULL, 0);
    sl_asgi_socket_end(r);
}

void
sl_asgi_socket_closing(struct sl_asgi_request *r, unsigned code, const char *reason, size_t len)
{
    r->socket->closing_ms = now_ms();
    set_farewell(r, code, reason, len);
}

int
sl_asgi_socket_flush(struct sl_asgi_request *r)
{
    struct sl_asgi_socket *s = r->socket;
    int rc = sl_ws_flush(s->ws, r->res);
    s->busy_ms = now_ms();
    s->resting = false;
    if (rc == SL_OK)
        return 0;
    if (rc == SL_EFULL) {
        r->full = true;
        return 1;
    }
    return -1;
}

/* ---- what arrives -----------------------------------------------------------------------------
 */

static bool
inbox_is_full(const struct sl_asgi_socket *s)
{
    return s->inbox != NULL &&
           (s->inbox_bytes >= INBOX_BYTES || PyList_GET_SIZE(s->inbox) >= INBOX_MESSAGES);
}

static void
deliver(struct sl_asgi_request *r, const struct sl_ws_event *event)
{
    struct sl_asgi_socket *s = r->socket;
    if (r->inner == NULL)
        return; /* nobody is left to read it */
    PyObject *message = sl_asgi_data_message(r->aio, event);
    if (message != NULL && s->inbox == NULL)
        s->inbox = PyList_New(0);
    if (message == NULL || s->inbox == NULL || PyList_Append(s->inbox, message) < 0)
        PyErr_WriteUnraisable((PyObject *)r);
    else
        s->inbox_bytes += event->len;
    Py_XDECREF(message);
}

static void
take(struct sl_asgi_request *r, const struct sl_ws_event *event)
{
    switch (event->kind) {
    case SL_WS_TEXT:
    case SL_WS_BINARY:
        deliver(r, event);
        break;
    case SL_WS_CLOSE:
        leave(r, event->code, event->data, event->len);
        break;
    case SL_WS_ERROR:
        leave(r, event->code, event->sentence, strlen(event->sentence));
        break;
    default:
        break;
    }
}

/* Takes in what has come, as far as there is room. May end the exchange. */
static void
pump(struct sl_asgi_request *r)
{
    struct sl_asgi_socket *s = r->socket;
    uint64_t now = now_ms();
    while (s->ws != NULL && !s->dry && !r->full &&
           (sl_ws_state(s->ws) != SL_WS_OPEN || !inbox_is_full(s))) {
        struct sl_ws_event event;
        int rc = sl_ws_receive(s->ws, r->req, now, &event);
        if (rc == SL_EAGAIN) {
            s->dry = true;
            return;
        }
        if (rc != SL_OK) {
            lose(r);
            return;
        }
        s->heard_ms = now;
        take(r, &event);
        if (sl_asgi_socket_flush(r) < 0)
            lose(r);
        else if (sl_ws_state(s->ws) == SL_WS_CLOSED)
            sl_asgi_socket_end(r);
    }
}

void
sl_asgi_socket_begin(struct sl_asgi_request *r, struct sl_ws *ws)
{
    struct sl_asgi_socket *s = r->socket;
    PyMem_Free(s->handshake);
    s->handshake = NULL;
    s->ws = ws;
    s->heard_ms = s->busy_ms = now_ms();
    pump(r); /* from here on the engine tells of more */
}

static PyObject *
take_from_inbox(struct sl_asgi_request *r)
{
    struct sl_asgi_socket *s = r->socket;
    if (s->inbox == NULL || PyList_GET_SIZE(s->inbox) == 0)
        return NULL;
    PyObject *message = Py_NewRef(PyList_GET_ITEM(s->inbox, 0));
    PyObject *data = PyDict_GetItemWithError(message, r->aio->text_bytes);
    if (data == NULL)
        data = PyDict_GetItemWithError(message, r->aio->text_text);
    bool last = PyList_GET_SIZE(s->inbox) == 1;
    if (data == NULL || PyList_SetSlice(s->inbox, 0, 1, NULL) < 0) {
        Py_DECREF(message);
        return NULL;
    }
    /* A text's bytes were counted as they came; its characters are at most as many. */
    size_t size = (size_t)PyObject_Length(data);
    s->inbox_bytes = last || size > s->inbox_bytes ? 0 : s->inbox_bytes - size;
    if (last)
        Py_CLEAR(s->inbox); /* most connections are idle most of the time */
    return message;
}

PyObject *
sl_asgi_socket_receive(struct sl_asgi_request *r)
{
    struct sl_asgi_socket *s = r->socket;
    if (!s->connected) {
        s->connected = true;
        return sl_asgi_connect_message(r->aio);
    }
    PyObject *message = take_from_inbox(r);
    if (message == NULL && PyErr_Occurred())
        return NULL;
    pump(r);
    if (message == NULL)
        message = take_from_inbox(r);
    if (message != NULL || PyErr_Occurred())
        return message;
    return s->farewell != NULL ? PyDict_Copy(s->farewell) : NULL;
}

void
sl_asgi_socket_event(struct sl_asgi_request *r, unsigned what)
{
    struct sl_asgi_socket *s = r->socket;
    r->aio->telling = true;
    s->dry = false;
    if (what & SL_ON_CLOSED) {
        r->req = NULL;
        r->res = NULL;
        r->pending = false;
        lose(r);
    } else if (s->ws == NULL && (what & SL_ON_GONE)) {
        leave(r, 1006, NULL, 0); /* the application is asked to end, which ends the exchange */
    } else {
        pump(r);
    }
    r->aio->telling = false;
    sl_asgi_wake(r);
    if (what & SL_ON_CLOSED)
        Py_DECREF(r);
}

/* ---- the end of the application ----------------------------------------------------------------
 */

void
sl_asgi_socket_abandon(struct sl_asgi_request *r, bool failed, bool cancelled)
{
    struct sl_asgi_socket *s = r->socket;
    if (s->over)
        return;
    if (s->ws == NULL) {
        if (!failed && !r->gone)
            sl_asgi_fault(r, "the ASGI application returned without accepting or closing its "
                             "WebSocket");
        sl_response_fail(r->res, 500, NULL);
        sl_asgi_socket_end(r);
        return;
    }
    Py_CLEAR(s->inbox);
    s->inbox_bytes = 0;
    if (sl_ws_state(s->ws) == SL_WS_OPEN) {
        unsigned code = cancelled ? 1012 : failed ? 1011 : 1000;
        if (sl_ws_close(s->ws, code, NULL, 0) == SL_OK)
            sl_asgi_socket_closing(r, code, NULL, 0);
        if (sl_asgi_socket_flush(r) < 0) {
            sl_asgi_socket_end(r);
            return;
        }
    }
    pump(r); /* the inbox may have been full */
}

/* ---- all of them --------------------------------------------------------------------------------
 */

static void
tend(struct sl_asgi_request *r, uint64_t now)
{
    struct sl_asgi_socket *s = r->socket;
    struct sl_aio *aio = r->aio;
    if (s->ws == NULL)
        return;
    if (sl_ws_state(s->ws) != SL_WS_OPEN) {
        if (now - s->closing_ms >= (aio->leaving ? LEAVE_WITHIN_MS : CLOSE_WITHIN_MS)) {
            sl_response_fail(r->res, 500, NULL); /* nobody listens: nothing more is waited for */
            sl_asgi_socket_end(r);
        }
        return;
    }
    if (!s->resting && now - s->busy_ms > REST_AFTER_MS && now - s->heard_ms > REST_AFTER_MS) {
        sl_ws_rest(s->ws);
        s->resting = true;
    }
    /* With a full inbox its pong cannot be seen; a slow client has the engine's own clock. */
    if (aio->ping_after_ms == 0 || r->full || inbox_is_full(s) ||
        now - s->heard_ms < aio->ping_after_ms)
        return;
    static const char late[] = "keepalive ping timeout";
    if (s->pinged_ms <= s->heard_ms) {
        s->pinged_ms = now;
        if (sl_ws_ping(s->ws, NULL, 0) == SL_OK && sl_asgi_socket_flush(r) < 0)
            lose(r);
    } else if (aio->pong_within_ms != 0 && now - s->pinged_ms >= aio->pong_within_ms) {
        if (sl_ws_close(s->ws, 1011, late, sizeof late - 1) == SL_OK)
            (void)sl_asgi_socket_flush(r);
        leave(r, 1006, late, sizeof late - 1);
        sl_asgi_socket_end(r);
    }
}

void
sl_asgi_sockets_tend(struct sl_aio *aio)
{
    uint64_t now = now_ms();
    for (struct sl_asgi_socket *s = aio->sockets, *next; s != NULL; s = next) {
        next = s->next;
        tend(s->request, now);
    }
}

Py_ssize_t
sl_asgi_sockets_close(struct sl_aio *aio, unsigned code)
{
    Py_ssize_t count = 0;
    aio->leaving = true;
    for (struct sl_asgi_socket *s = aio->sockets, *next; s != NULL; s = next) {
        struct sl_asgi_request *r = s->request;
        next = s->next;
        if (s->ws == NULL || sl_ws_state(s->ws) != SL_WS_OPEN)
            continue;
        count++;
        int rc = sl_ws_close(s->ws, code, NULL, 0);
        sl_asgi_socket_closing(r, code, NULL, 0);
        leave(r, code, NULL, 0);
        if (rc == SL_OK && sl_asgi_socket_flush(r) < 0)
            lose(r);
        sl_asgi_wake(r);
    }
    return count;
}
