/* Memory that is given piece by piece and taken back all at once. */
#ifndef SL_BASE_ARENA_H
#define SL_BASE_ARENA_H

#include <stdbool.h>
#include <stddef.h>

struct sl_arena_block;

/* Private but for failed: set once an allocation could not be served and cleared by reset, so that
 * a builder of many small things can look once at the end. Not thread-safe. */
struct sl_arena {
    struct sl_arena_block *blocks; /* the current one first */
    char *at, *end;                /* free room in the current block */
    size_t block_size;
    bool failed;
};

/* block_size: bytes that one block holds; taken from malloc when first needed. */
void sl_arena_init(struct sl_arena *arena, size_t block_size);

/* Frees every block. NULL is accepted; usable again afterwards. */
void sl_arena_release(struct sl_arena *arena);

/* Takes back every piece but keeps one block for the next round, so that a steady state calls no
 * malloc. */
void sl_arena_reset(struct sl_arena *arena);

/* Uninitialised memory aligned for any type; size 0 gives a valid pointer. NULL without memory. */
void *sl_arena_alloc(struct sl_arena *arena, size_t size);

/* The same, zeroed, for count elements; NULL also when the product overflows. */
void *sl_arena_zalloc(struct sl_arena *arena, size_t count, size_t size);

/* Copy of s[0..len) with a NUL behind it. */
char *sl_arena_strndup(struct sl_arena *arena, const char *s, size_t len);

#endif
