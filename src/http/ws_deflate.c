/* permessage-deflate with zlib: raw streams, flushed to a byte at the end of each message, from
 * which the sender drops the empty block's last four bytes (RFC 7692 sections 7.2.1 and 7.2.2). */
#include "http/ws_deflate.h"

#include <limits.h>
#include <stdlib.h>
#include <zlib.h>

struct sl_ws_deflater {
    z_stream z;
};

struct sl_ws_inflater {
    z_stream z;
};

enum { SMALLEST_ROOM = 256 };

bool
sl_ws_deflate_available(void)
{
    return true;
}

/* ---- deflate ------------------------------------------------------------------------------------
 */

static struct sl_ws_deflater *
new_deflater(const struct sl_ws_options *options, unsigned window_bits)
{
    struct sl_ws_deflater *context = calloc(1, sizeof *context);
    if (context != NULL &&
        deflateInit2(&context->z, options->deflate_level, Z_DEFLATED, -(int)window_bits,
                     options->deflate_memory_level, Z_DEFAULT_STRATEGY) != Z_OK) {
        free(context);
        return NULL;
    }
    return context;
}

/* Compresses what z has as input, and flushes it to a whole byte. */
static int
flush(z_stream *z, struct sl_buf *out)
{
    do {
        int rc = sl_buf_reserve(out, SMALLEST_ROOM);
        if (rc != SL_OK)
            return rc;
        size_t room = out->cap - out->len;
        room = room < UINT_MAX ? room : UINT_MAX;
        z->next_out = (Bytef *)out->ptr + out->len;
        z->avail_out = (uInt)room;
        (void)deflate(z, Z_SYNC_FLUSH); /* no progress is no error here */
        out->len += room - z->avail_out;
    } while (z->avail_out == 0);
    return SL_OK;
}

int
sl_ws_deflate(struct sl_ws_deflater **context, const struct sl_ws_options *options,
              const struct sl_ws_deflate *agreed, const char *data, size_t len, bool last,
              struct sl_buf *out)
{
    if (*context == NULL)
        *context = new_deflater(options, agreed->server_window_bits);
    if (*context == NULL)
        return SL_ENOMEM;
    z_stream *z = &(*context)->z;
    size_t before = out->len;
    int rc = sl_buf_reserve(out, len / 4);
    while (rc == SL_OK) {
        size_t n = len < UINT_MAX / 2 ? len : UINT_MAX / 2;
        z->next_in = (z_const Bytef *)data;
        z->avail_in = (uInt)n;
        rc = flush(z, out);
        len -= n;
        if (len == 0)
            break;
        data += n;
    }
    if (rc != SL_OK || !last)
        return rc;
    if (out->len - before >= SL_WS_TAIL_LEN) {
        out->len -= SL_WS_TAIL_LEN;
        return SL_OK;
    }
    /* Nothing was left to flush: the parts before ended with a whole empty block, and so does the
     * message; one more is its end (section 7.2.3.6). */
    out->len = before;
    return sl_buf_append(out, "", 1);
}

void
sl_ws_deflater_reset(struct sl_ws_deflater *context)
{
    if (context != NULL)
        (void)deflateReset(&context->z);
}

void
sl_ws_deflater_free(struct sl_ws_deflater *context)
{
    if (context == NULL)
        return;
    (void)deflateEnd(&context->z);
    free(context);
}

/* ---- inflate ------------------------------------------------------------------------------------
 */

static struct sl_ws_inflater *
new_inflater(unsigned window_bits)
{
    struct sl_ws_inflater *context = calloc(1, sizeof *context);
    if (context != NULL && inflateInit2(&context->z, -(int)window_bits) != Z_OK) {
        free(context);
        return NULL;
    }
    return context;
}

int
sl_ws_inflate(struct sl_ws_inflater **context, unsigned window_bits, const char *in, size_t *len,
              char *out, size_t *room)
{
    if (*context == NULL)
        *context = new_inflater(window_bits);
    if (*context == NULL) {
        *len = *room = 0;
        return SL_ENOMEM;
    }
    z_stream *z = &(*context)->z;
    uInt given = (uInt)(*len < UINT_MAX ? *len : UINT_MAX);
    uInt space = (uInt)(*room < UINT_MAX ? *room : UINT_MAX);
    z->next_in = (z_const Bytef *)in;
    z->avail_in = given;
    z->next_out = (Bytef *)out;
    z->avail_out = space;
    int rc = SL_OK, zrc;
    do {
        zrc = inflate(z, Z_SYNC_FLUSH);
        /* A block that calls itself the last ends the stream for zlib, but neither the message nor
         * the window (section 7.2.3.4). The documented way to keep the window copies all of it,
         * twice, for two bytes from the client. */
        if (zrc == Z_STREAM_END)
            (void)inflateResetKeep(z);
    } while (zrc == Z_STREAM_END && z->avail_in > 0 && z->avail_out > 0);
    if (zrc == Z_MEM_ERROR)
        rc = SL_ENOMEM;
    else if (zrc != Z_OK && zrc != Z_STREAM_END && zrc != Z_BUF_ERROR)
        rc = SL_EPROTO;
    else if (z->avail_out == 0 || given < *len)
        rc = SL_EFULL;
    *len = given - z->avail_in;
    *room = space - z->avail_out;
    return rc;
}

/* zlib.h, inflate(): 128 after the end of a block, plus the number of bits not used yet. */
bool
sl_ws_inflater_is_between_blocks(const struct sl_ws_inflater *context)
{
    return context != NULL && (context->z.data_type & 128) && (context->z.data_type & 31) == 0;
}

void
sl_ws_inflater_reset(struct sl_ws_inflater *context)
{
    if (context != NULL)
        (void)inflateReset(&context->z);
}

void
sl_ws_inflater_free(struct sl_ws_inflater *context)
{
    if (context == NULL)
        return;
    (void)inflateEnd(&context->z);
    free(context);
}
