/* The fields of requests as objects. Clients send the same ones again and again, so a whole block
 * of them is known by its bytes.
 */
#include "aio.h"

/* Where the fields of a request begin, and how far they go. */
static struct sl_str
extent(const struct sl_request *req)
{
    if (req->header_count == 0)
        return (struct sl_str){"", 0};
    const char *begin = req->headers[0].name.ptr;
    const struct sl_header *last = &req->headers[req->header_count - 1];
    const char *end =
        last->value.len > 0 ? last->value.ptr + last->value.len : last->name.ptr + last->name.len;
    return (struct sl_str){begin, (size_t)(end - begin)};
}

/* All of them count: what differs between clients is somewhere in the middle. */
static uint64_t
mix_all(const char *ptr, size_t len)
{
    uint64_t h = len * 0x9e3779b97f4a7c15u, word = 0;
    for (; len >= 8; ptr += 8, len -= 8) {
        memcpy(&word, ptr, 8);
        h = (h ^ word) * 0xbf58476d1ce4e5b9u;
        h ^= h >> 29;
    }
    word = 0;
    memcpy(&word, ptr, len);
    h = (h ^ word) * 0xbf58476d1ce4e5b9u;
    return h ^ h >> 32;
}

/* Which of the fields are dropped depends on who is trusted. */
static bool
is_block(const struct sl_aio_block *block, const struct sl_request *req, const struct sl_str *bytes)
{
    return block->key != NULL && (size_t)PyBytes_GET_SIZE(block->key) == bytes->len &&
           block->count == req->header_count && block->trusted == req->peer->trusted &&
           memcmp(PyBytes_AS_STRING(block->key), bytes->ptr, bytes->len) == 0;
}

static void
clear_block(struct sl_aio_block *block)
{
    Py_CLEAR(block->key);
    Py_CLEAR(block->fields);
    Py_CLEAR(block->headers);
}

static struct sl_aio_block *
fill(struct sl_aio_block *block, const struct sl_request *req, sl_aio_block_fn make, void *ctx)
{
    clear_block(block);
    block->count = req->header_count;
    block->trusted = req->peer->trusted;
    return make(ctx, block, req) == 0 ? block : NULL;
}

struct sl_aio_block *
sl_aio_block_find(struct sl_aio_blocks *blocks, const struct sl_request *req, sl_aio_block_fn make,
                  void *ctx)
{
    /* The authority of an absolute target is the value of Host, and lies elsewhere. */
    if (req->target.len == 0 || req->target.ptr[0] != '/')
        return fill(&blocks->passing, req, make, ctx);
    struct sl_str bytes = extent(req);
    if (blocks->last != NULL && is_block(blocks->last, req, &bytes))
        return blocks->last;
    if (bytes.len > SL_AIO_BLOCK_MAX)
        return fill(&blocks->passing, req, make, ctx);
    struct sl_aio_block *block =
        &blocks->slots[mix_all(bytes.ptr, bytes.len) & (SL_AIO_BLOCKS - 1)];
    if (!is_block(block, req, &bytes)) {
        blocks->last = NULL;
        if (fill(block, req, make, ctx) == NULL)
            return NULL;
        block->key = PyBytes_FromStringAndSize(bytes.ptr, (Py_ssize_t)bytes.len);
        if (block->key == NULL)
            return NULL;
    }
    blocks->last = block;
    return block;
}

void
sl_aio_blocks_clear(struct sl_aio_blocks *blocks)
{
    for (size_t i = 0; i < SL_AIO_BLOCKS; i++)
        clear_block(&blocks->slots[i]);
    clear_block(&blocks->passing);
    blocks->last = NULL;
}
