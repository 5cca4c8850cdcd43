/* Bump allocator. Ordinary pieces come from blocks of one size; a piece larger than a block gets
 * one of its own, placed behind the current block so that the current block's room is not lost. */
#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <base/arena.h>

struct sl_arena_block {
    struct sl_arena_block *next;
    size_t size;
    alignas(max_align_t) char room[];
};

enum { ALIGN = alignof(max_align_t) };

void
sl_arena_init(struct sl_arena *arena, size_t block_size)
{
    *arena = (struct sl_arena){.block_size = block_size < ALIGN ? ALIGN : block_size};
}

static void
free_blocks(struct sl_arena_block *block)
{
    while (block != NULL) {
        struct sl_arena_block *next = block->next;
        free(block);
        block = next;
    }
}

void
sl_arena_release(struct sl_arena *arena)
{
    if (arena == NULL)
        return;
    free_blocks(arena->blocks);
    sl_arena_init(arena, arena->block_size);
}

void
sl_arena_reset(struct sl_arena *arena)
{
    struct sl_arena_block *keep = arena->at == NULL ? NULL : arena->blocks;
    free_blocks(keep == NULL ? arena->blocks : keep->next);
    sl_arena_init(arena, arena->block_size);
    if (keep == NULL)
        return;
    keep->next = NULL;
    arena->blocks = keep;
    arena->at = keep->room;
    arena->end = keep->room + keep->size;
}

static struct sl_arena_block *
new_block(size_t size)
{
    if (size > (size_t)PTRDIFF_MAX - sizeof(struct sl_arena_block))
        return NULL;
    struct sl_arena_block *block = malloc(sizeof *block + size);
    if (block == NULL)
        return NULL;
    block->size = size;
    block->next = NULL;
    return block;
}

/* A piece for which the current block (if any) has no room. */
static void *
alloc_slow(struct sl_arena *arena, size_t size)
{
    bool large = size > arena->block_size;
    struct sl_arena_block *block = new_block(large ? size : arena->block_size);
    if (block == NULL) {
        arena->failed = true;
        return NULL;
    }
    if (large && arena->at != NULL) {
        block->next = arena->blocks->next;
        arena->blocks->next = block;
        return block->room;
    }
    block->next = arena->blocks;
    arena->blocks = block;
    if (large)
        return block->room; /* at stays NULL: there is no current block yet */
    arena->at = block->room + size;
    arena->end = block->room + block->size;
    return block->room;
}

void *
sl_arena_alloc(struct sl_arena *arena, size_t size)
{
    if (size > (size_t)PTRDIFF_MAX - ALIGN) {
        arena->failed = true;
        return NULL;
    }
    size = (size + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    if (arena->at != NULL && size <= (size_t)(arena->end - arena->at)) {
        void *piece = arena->at;
        arena->at += size;
        return piece;
    }
    return alloc_slow(arena, size);
}

void *
sl_arena_zalloc(struct sl_arena *arena, size_t count, size_t size)
{
    size_t total;
    if (__builtin_mul_overflow(count, size, &total)) {
        arena->failed = true;
        return NULL;
    }
    void *piece = sl_arena_alloc(arena, total);
    if (piece != NULL)
        memset(piece, 0, total);
    return piece;
}

char *
sl_arena_strndup(struct sl_arena *arena, const char *s, size_t len)
{
    if (len == SIZE_MAX) {
        arena->failed = true;
        return NULL;
    }
    char *copy = sl_arena_alloc(arena, len + 1);
    if (copy == NULL)
        return NULL;
    if (len > 0)
        memcpy(copy, s, len);
    copy[len] = '\0';
    return copy;
}
