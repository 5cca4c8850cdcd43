/* What the files of the WSGI host share: one record per engine, one recycled record per request.
 *
 * Process: a worker. Thread: everything here is touched with the interpreter's lock held, so a pool
 * of threads may share one struct sl_wsgi; a struct sl_wsgi_call belongs to the thread that serves
 * its request.
 */
#ifndef SAOLA_HOST_PYTHON_WSGI_H
#define SAOLA_HOST_PYTHON_WSGI_H

#include "../engine/engine.h"

/* Keys of environ that every request may set: field, text. Interned and hashed once. */
#define SL_WSGI_KEYS(ROW)                                                                          \
    ROW(request_method, "REQUEST_METHOD")                                                          \
    ROW(query_string, "QUERY_STRING")                                                              \
    ROW(raw_uri, "RAW_URI")                                                                        \
    ROW(server_protocol, "SERVER_PROTOCOL")                                                        \
    ROW(path_info, "PATH_INFO")                                                                    \
    ROW(script_name, "SCRIPT_NAME")                                                                \
    ROW(remote_addr, "REMOTE_ADDR")                                                                \
    ROW(remote_port, "REMOTE_PORT")                                                                \
    ROW(server_name, "SERVER_NAME")                                                                \
    ROW(server_port, "SERVER_PORT")                                                                \
    ROW(content_type, "CONTENT_TYPE")                                                              \
    ROW(content_length, "CONTENT_LENGTH")                                                          \
    ROW(url_scheme, "wsgi.url_scheme")                                                             \
    ROW(input, "wsgi.input")                                                                       \
    ROW(early_hints, "wsgi.early_hints")                                                           \
    ROW(proxy_protocol, "PROXY_PROTOCOL")                                                          \
    ROW(proxy_addr, "PROXY_ADDR")                                                                  \
    ROW(proxy_port, "PROXY_PORT")

/* Constant values. */
#define SL_WSGI_TEXTS(ROW)                                                                         \
    ROW(empty, "")                                                                                 \
    ROW(get, "GET")                                                                                \
    ROW(http_1_1, "HTTP/1.1")                                                                      \
    ROW(http_1_0, "HTTP/1.0")                                                                      \
    ROW(close, "close")

enum {
    SL_WSGI_NAME_MAX = 48,    /* longest header name that is cached */
    SL_WSGI_VALUE_MAX = 1024, /* longest header value that is kept for reuse */
    SL_WSGI_HEADERS = 256,    /* slots of the header cache; a power of two */
    SL_WSGI_STRINGS = 128,    /* slots of the cache of paths, addresses, ...; a power of two */
    SL_WSGI_PORTS = 256,      /* slots of the cache of peer ports; a power of two */
    SL_WSGI_TEMPLATES = 8,    /* environ templates of one call: listeners times schemes */
    SL_WSGI_HOT_FIELDS = 24,  /* most header fields of a request whose environ becomes hot */
    SL_WSGI_HOT_AFTER = 3,    /* equal requests in a row that make it so */
    SL_WSGI_COLD_AFTER = 6,   /* other requests in a row that end it */
    SL_WSGI_RAW_MAX = 1536,   /* bytes of header fields that are known again as a whole */
};

/* What a header name means to WSGI. */
enum sl_wsgi_name_kind {
    SL_WSGI_NAME_PLAIN,
    SL_WSGI_NAME_ENTITY, /* Content-Type and Content-Length: no HTTP_ prefix */
    SL_WSGI_NAME_HOST,
    SL_WSGI_NAME_SCRIPT, /* SCRIPT_NAME from a trusted proxy */
};

struct sl_wsgi_name {
    PyObject *key;   /* "HTTP_ACCEPT", interned; NULL: slot is empty */
    PyObject *value; /* the last value of this header, reused when equal; may be NULL */
    uint8_t kind;
    uint8_t len;
    char raw[SL_WSGI_NAME_MAX]; /* name as received */
};

struct sl_wsgi {
    struct sl_py_state *state;
    struct sl_py_engine *engine; /* the Engine; borrowed */
    PyObject *app;               /* the WSGI application */
    PyObject *base;              /* dict: constants of environ, without listener, input and hints */
    PyObject *on_error;          /* on_error(exception, method, uri): logs */
    PyObject *observer;          /* hooks and access log; NULL when nobody asked for them */
    PyObject *file_range;  /* file_range(file) -> (fd, offset, length) or None; NULL: no sendfile */
    PyObject *script_name; /* str, from os.environ */
    struct sl_wsgi_call *free_calls;
#define ROW(field, text) PyObject *key_##field;
    SL_WSGI_KEYS(ROW)
#undef ROW
#define ROW(field, text) PyObject *text_##field;
    SL_WSGI_TEXTS(ROW)
#undef ROW
    struct sl_wsgi_name names[SL_WSGI_HEADERS];
    PyObject *strings[SL_WSGI_STRINGS];
    struct {
        uint16_t number;
        PyObject *text;
    } ports[SL_WSGI_PORTS];
};

/* The header fields of a request as objects. */
struct sl_wsgi_fields {
    unsigned count;
    PyObject *keys[SL_WSGI_HOT_FIELDS]; /* references */
    PyObject *values[SL_WSGI_HOT_FIELDS];
};

/* A value that a hot environ holds, and the one of the request before (compared only, no
 * reference). */
struct sl_wsgi_hot_value {
    PyObject *there, *last;
};

/* The bytes of a request's header fields, first name to last value, and where each of them stands,
 * counted from the first. Equal bytes at equal places are equal fields. */
struct sl_wsgi_raw {
    size_t len; /* 0: nothing is kept */
    struct {
        size_t name, name_len, value, value_len;
    } places[SL_WSGI_HOT_FIELDS];
    char bytes[SL_WSGI_RAW_MAX];
};

/* environ without what differs from request to request, for one listener and scheme. Clients that
 * send the very same header fields again and again (a service, a proxy's health check, a browser on
 * one page) make it hot: it then has a second dict with these fields in it, too. */
struct sl_wsgi_template {
    const char *local;
    uint16_t port;
    bool https;
    uint8_t streak; /* requests in a row that had the fields in seen */
    uint8_t misses; /* ... that had not */
    PyObject *dict;
    PyObject *hot; /* dict plus seen; NULL until seen was met often enough */
    struct sl_wsgi_hot_value uri, path, addr;
    struct sl_wsgi_fields seen;
    PyObject *host, *script; /* while hot: which of seen->values routes, or NULL; borrowed */
    struct sl_wsgi_raw raw;  /* while hot: what seen looked like on the wire */
};

/* One request in progress. The four objects that the application sees are made once and used again
 * for the next request unless the application has kept a reference; then they are cut off (their
 * call becomes NULL) and replaced. */
struct sl_wsgi_call {
    struct sl_wsgi *wsgi;
    struct sl_wsgi_call *next;
    struct sl_request *req; /* NULL between requests */
    struct sl_response *res;
    PyObject *start_response, *write, *input, *early_hints;
    PyObject *status, *headers; /* what start_response got; kept for an observer only */
    uint64_t content_length;    /* of the response, when has_length */
    bool has_length;
    bool client_gone; /* a read or write met the end of the connection */
    bool reading;     /* a thread is inside wsgi.input */
    int read_error;   /* status of an error page for a body that broke off, or 0 */
    unsigned template_count;
    unsigned dict_count; /* of all templates: each holds input and early_hints */
    struct sl_wsgi_template *templates[SL_WSGI_TEMPLATES];
};

/* Every object the application gets from us and that works on a call. */
struct sl_wsgi_part {
    PyObject_HEAD vectorcallfunc vectorcall;
    struct sl_wsgi_call *call; /* NULL once the request is over and the object was kept */
};

/* ---- wsgi.c -------------------------------------------------------------------------------- */

/* Fills wsgi (zeroed by the caller) with references to its arguments. 0, or -1 with an exception.
 */
int sl_wsgi_init(struct sl_wsgi *wsgi, struct sl_py_engine *engine, struct sl_py_state *state,
                 PyObject *app, PyObject *base);
void sl_wsgi_release(struct sl_wsgi *wsgi);
int sl_wsgi_traverse(struct sl_wsgi *wsgi, visitproc visit, void *arg);

/* Answers one request; the lock is held. 0, or negative: the engine answers 500. */
int sl_wsgi_handle(struct sl_wsgi *wsgi, struct sl_request *req, struct sl_response *res);

/* Gives body bytes to the client and waits, without the lock, while it is slow. 0, or -1 when the
 * client is gone (call->client_gone; no exception). */
int sl_wsgi_send(struct sl_wsgi_call *call, const char *data, size_t len, unsigned flags);

/* ---- call.c -------------------------------------------------------------------------------- */

struct sl_wsgi_call *sl_wsgi_call_begin(struct sl_wsgi *wsgi, struct sl_request *req,
                                        struct sl_response *res);
void sl_wsgi_call_end(struct sl_wsgi_call *call);
void sl_wsgi_call_free(struct sl_wsgi_call *call);
/* A part of the given type that works on call. */
PyObject *sl_wsgi_part_new(PyTypeObject *type, vectorcallfunc vectorcall,
                           struct sl_wsgi_call *call);
void sl_wsgi_part_dealloc(PyObject *self);
/* The call of a part, or NULL with RuntimeError when its request is over. */
struct sl_wsgi_call *sl_wsgi_part_call(PyObject *self, const char *name);

/* ---- environ.c ------------------------------------------------------------------------------- */

/* A new environ for the call. NULL with an exception. */
PyObject *sl_wsgi_environ_new(struct sl_wsgi_call *call);
void sl_wsgi_templates_release(struct sl_wsgi_call *call);

/* ---- headers.c ----------------------------------------------------------------------------- */

/* Key, kind and value of one request header; key and value are new references. */
int sl_wsgi_header_objects(struct sl_wsgi *wsgi, const struct sl_header *header, PyObject **ret_key,
                           PyObject **ret_value, enum sl_wsgi_name_kind *ret_kind);
/* latin-1 text as str, from the cache of recent strings. New reference. */
PyObject *sl_wsgi_string(struct sl_wsgi *wsgi, const char *ptr, size_t len);
/* The same for the decimal text of a port. */
PyObject *sl_wsgi_port(struct sl_wsgi *wsgi, uint16_t number);
void sl_wsgi_headers_release(struct sl_wsgi *wsgi);

/* ---- observe.c ----------------------------------------------------------------------------- */

/* latin-1 text as a new str. */
PyObject *sl_wsgi_text(const struct sl_str *s);
/* What the observer makes of the request: new reference, or NULL with an exception. */
PyObject *sl_wsgi_observe_request(struct sl_wsgi_call *call);
/* What it makes of the response, after it was ended: new reference, or NULL without exception. */
PyObject *sl_wsgi_observe_response(struct sl_wsgi_call *call, PyObject *view, PyObject *env,
                                   uint64_t began);
void sl_wsgi_observe_after(struct sl_wsgi_call *call, PyObject *view, PyObject *env,
                           PyObject *response);

/* ---- start_response.c ------------------------------------------------------------------------ */

extern PyType_Spec sl_wsgi_start_response_spec, sl_wsgi_write_spec, sl_wsgi_early_hints_spec;
PyObject *sl_wsgi_start_response_call(PyObject *self, PyObject *const *args, size_t nargsf,
                                      PyObject *kwnames);
PyObject *sl_wsgi_write_call(PyObject *self, PyObject *const *args, size_t nargsf,
                             PyObject *kwnames);
PyObject *sl_wsgi_early_hints_call(PyObject *self, PyObject *const *args, size_t nargsf,
                                   PyObject *kwnames);

/* ---- input.c, filewrapper.c --------------------------------------------------------------------
 */

extern PyType_Spec sl_wsgi_input_spec;

extern PyType_Spec sl_wsgi_file_wrapper_spec;
/* The file inside a FileWrapper; borrowed. */
PyObject *sl_wsgi_file_wrapper_file(PyObject *self);

/* ---- engine.c ------------------------------------------------------------------------------ */

extern PyType_Spec sl_py_engine_spec;

#endif
