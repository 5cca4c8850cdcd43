/* The head of a plain aiohttp response (web.Response with bytes, nothing to compress, no cookies,
 * no hooks), formatted in one go: what Response.prepare() does in several steps, of which each
 * takes as long as this. The self-test at the start compares the result with aiohttp's own.
 */
#include "aiohttp.h"
#include <string.h>
#include <strings.h>
#include <time.h>

struct head {
    char *ptr;
    size_t len, size;
    bool full; /* it does not fit */
};

static void
add(struct head *head, const char *text, size_t len)
{
    if (len > head->size - head->len) {
        head->full = true;
        return;
    }
    memcpy(head->ptr + head->len, text, len);
    head->len += len;
}

/* Whether one of eight characters is below 0x20 or is 0x7f; one behind such a one may be told of,
 * too. */
static bool
has_control(const char *eight)
{
    const uint64_t ones = 0x0101010101010101u, tops = ones << 7;
    uint64_t x;
    memcpy(&x, eight, sizeof x);
    uint64_t deleted = x ^ ones * 0x7f;
    return (((x - ones * 0x20) & ~x) | ((deleted - ones) & ~deleted)) & tops;
}

/* No character that has no place in a head. */
static bool
is_clean(const char *bytes, size_t len)
{
    size_t i = 0;
    while (i + 8 <= len && !has_control(bytes + i))
        i += 8;
    for (; i < len; i++) {
        unsigned char c = (unsigned char)bytes[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return false;
    }
    return true;
}

/* False: it is no str, or not clean. */
static bool
add_text(struct head *head, PyObject *text)
{
    Py_ssize_t len;
    const char *bytes = PyUnicode_Check(text) ? PyUnicode_AsUTF8AndSize(text, &len) : NULL;
    if (bytes == NULL) {
        PyErr_Clear();
        return false;
    }
    if (!is_clean(bytes, (size_t)len))
        return false;
    add(head, bytes, (size_t)len);
    return true;
}

static void
add_number(struct head *head, size_t number)
{
    char digits[24];
    size_t at = sizeof digits;
    do
        digits[--at] = (char)('0' + number % 10);
    while ((number /= 10) != 0);
    add(head, digits + at, sizeof digits - at);
}

enum field { FIELD_OTHER, FIELD_TYPE, FIELD_DATE, FIELD_SERVER, FIELD_SPECIAL };

static enum field
field_of(const char *name, size_t len)
{
    switch (len) {
    case 4:
        return strncasecmp(name, "date", 4) == 0 ? FIELD_DATE : FIELD_OTHER;
    case 6:
        return strncasecmp(name, "server", 6) == 0 ? FIELD_SERVER : FIELD_OTHER;
    case 10:
        return strncasecmp(name, "connection", 10) == 0 ? FIELD_SPECIAL : FIELD_OTHER;
    case 12:
        return strncasecmp(name, "content-type", 12) == 0 ? FIELD_TYPE : FIELD_OTHER;
    case 14:
        return strncasecmp(name, "content-length", 14) == 0 ? FIELD_SPECIAL : FIELD_OTHER;
    case 17:
        return strncasecmp(name, "transfer-encoding", 17) == 0 ? FIELD_SPECIAL : FIELD_OTHER;
    default:
        return FIELD_OTHER;
    }
}

/* 1, 0: out of the ordinary, -1 with an exception. seen: a bit for each enum field. */
static int
add_fields(struct head *head, struct sl_aiohttp *web, PyObject *headers, unsigned *seen)
{
    PyObject *items = PyObject_CallMethodNoArgs(headers, web->text_items);
    PyObject *iterator = items ? PyObject_GetIter(items) : NULL;
    Py_XDECREF(items);
    if (iterator == NULL)
        return -1;
    int rc = 1;
    PyObject *pair;
    while (rc == 1 && (pair = PyIter_Next(iterator)) != NULL) {
        size_t name = head->len;
        if (!PyTuple_Check(pair) || PyTuple_GET_SIZE(pair) != 2 ||
            !add_text(head, PyTuple_GET_ITEM(pair, 0)))
            rc = 0;
        if (rc == 1) {
            enum field field = field_of(head->ptr + name, head->len - name);
            *seen |= 1u << field;
            add(head, ": ", 2);
            if (field == FIELD_SPECIAL || !add_text(head, PyTuple_GET_ITEM(pair, 1)))
                rc = 0;
            add(head, "\r\n", 2);
        }
        Py_DECREF(pair);
    }
    Py_DECREF(iterator);
    return PyErr_Occurred() ? -1 : rc;
}

static int
add_date(struct head *head, struct sl_aiohttp *web)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    if (web->date_text == NULL || web->date_second != now.tv_sec) {
        PyObject *text = PyObject_CallNoArgs(web->date);
        if (text == NULL)
            return -1;
        Py_XSETREF(web->date_text, text);
        web->date_second = now.tv_sec;
    }
    add(head, "Date: ", 6);
    if (!add_text(head, web->date_text))
        return 0;
    add(head, "\r\n", 2);
    return 1;
}

static bool
add_status(struct head *head, const struct sl_request *req, long status, PyObject *reason)
{
    add(head, req->version_minor == 0 ? "HTTP/1.0 " : "HTTP/1.1 ", 9);
    add_number(head, (size_t)status);
    add(head, " ", 1);
    bool good = add_text(head, reason);
    add(head, "\r\n", 2);
    return good;
}

static void
add_connection(struct head *head, const struct sl_request *req, bool keep_alive)
{
    if (keep_alive && req->version_minor == 0)
        add(head, "Connection: keep-alive\r\n", 24);
    else if (!keep_alive && req->version_minor != 0)
        add(head, "Connection: close\r\n", 19);
}

static bool
has_body(const struct sl_request *req, long status)
{
    bool head = req->method.len == 4 && memcmp(req->method.ptr, "HEAD", 4) == 0;
    return !head && status >= 200 && status <= 999 && status != 204 && status != 304;
}

Py_ssize_t
sl_aiohttp_plain_head(struct sl_asgi_request *r, PyObject *const *args, char *buffer, size_t size)
{
    struct sl_aiohttp *web = r->aio->aiohttp;
    struct head head = {.ptr = buffer, .size = size};
    PyObject *body = args[3];
    unsigned seen = 0;
    long status = PyLong_AsLong(args[0]);
    if (status == -1 && PyErr_Occurred())
        return -1;
    if (web->server == Py_None || !has_body(r->req, status) ||
        !add_status(&head, r->req, status, args[1]))
        return 0;
    int rc = add_fields(&head, web, args[2], &seen);
    if (rc != 1)
        return rc;
    size_t len = body == Py_None ? 0 : (size_t)PyBytes_GET_SIZE(body);
    add(&head, "Content-Length: ", 16);
    add_number(&head, len);
    add(&head, "\r\n", 2);
    if (len > 0 && !(seen & 1u << FIELD_TYPE))
        add(&head, "Content-Type: application/octet-stream\r\n", 40);
    if (!(seen & 1u << FIELD_DATE) && (rc = add_date(&head, web)) != 1)
        return rc;
    if (!(seen & 1u << FIELD_SERVER)) {
        add(&head, "Server: ", 8);
        if (!add_text(&head, web->server))
            return 0;
        add(&head, "\r\n", 2);
    }
    bool keep_alive = args[4] == Py_None ? r->req->keep_alive : PyObject_IsTrue(args[4]) == 1;
    add_connection(&head, r->req, keep_alive && !sl_response_is_last(r->res));
    add(&head, "\r\n", 2);
    return head.full ? 0 : (Py_ssize_t)head.len;
}

/* ---- heads of aiohttp's own --------------------------------------------------------------------
 */

/* The value of Connection in a head; len 0: it has none. */
static struct sl_str
connection_of(const char *head, size_t len)
{
    const char *end = head + len, *line = memchr(head, '\n', len);
    while (line != NULL && end - ++line > 11) {
        if ((*line | 32) == 'c' && strncasecmp(line, "connection:", 11) == 0) {
            const char *value = line + 11, *stop = memchr(value, '\r', (size_t)(end - value));
            while (value < end && *value == ' ')
                value++;
            if (stop != NULL && stop > value)
                return (struct sl_str){value, (size_t)(stop - value)};
            return (struct sl_str){NULL, 0};
        }
        line = memchr(line, '\n', (size_t)(end - line));
    }
    return (struct sl_str){NULL, 0};
}

static bool
says(const struct sl_str *value, const char *word)
{
    return value->len == strlen(word) && strncasecmp(value->ptr, word, value->len) == 0;
}

/* The connection ends as the head says it does; RFC 9112 section 9.3. */
bool
sl_aiohttp_ends_connection(const struct sl_request *req, const char *head, size_t len)
{
    struct sl_str value = connection_of(head, len);
    return req->version_minor == 0 ? !says(&value, "keep-alive") : says(&value, "close");
}

int
sl_aiohttp_status(PyObject *line)
{
    Py_ssize_t len;
    const char *text = PyUnicode_AsUTF8AndSize(line, &len);
    if (text == NULL)
        return -1;
    if (len < 12 || memcmp(text, "HTTP/1.", 7) != 0) {
        PyErr_Format(PyExc_ValueError, "malformed status line %R", line);
        return -1;
    }
    return (text[9] - '0') * 100 + (text[10] - '0') * 10 + (text[11] - '0');
}
