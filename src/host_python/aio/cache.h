/* What is kept of requests for those that follow: the objects of their fields, paths and scopes.
 *
 * Process, thread: as in aio.h, which has one of each in its record.
 */
#ifndef SAOLA_HOST_PYTHON_CACHE_H
#define SAOLA_HOST_PYTHON_CACHE_H

#include "../engine/engine.h"
#include "../engine/mix.h"
#include <string.h>

struct sl_aio;
struct sl_asgi_request;

enum {
    SL_AIO_HEADERS = 256, /* slots of the caches; powers of two */
    SL_AIO_PATHS = 128,
    SL_AIO_CLIENTS = 256,
    SL_AIO_BLOCKS = 64,
    SL_AIO_BLOCK_MAX = 8192,  /* longest block of fields that is kept */
    SL_AIO_TEMPLATES = 16,    /* listeners times schemes */
    SL_AIO_CACHED_MAX = 1024, /* longest header, path or query that is kept for reuse */
};

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

static inline bool
sl_aio_same_bytes(PyObject *bytes, const char *ptr, size_t len)
{
    return (size_t)PyBytes_GET_SIZE(bytes) == len &&
           memcmp(PyBytes_AS_STRING(bytes), ptr, len) == 0;
}

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

#endif
