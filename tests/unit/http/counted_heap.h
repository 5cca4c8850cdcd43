/* Counts the blocks of memory that are in use, and makes allocations fail: for programs linked with
 * --wrap of malloc, calloc, realloc and free. What libc allocates for itself is not seen. */
#ifndef COUNTED_HEAP_H
#define COUNTED_HEAP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

static atomic_long heap_blocks;
static bool (*heap_fails)(void); /* NULL: never */

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void __real_free(void *ptr);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
void __wrap_free(void *ptr);

static void *
count_new(void *ptr)
{
    heap_blocks += ptr != NULL;
    return ptr;
}

void *
__wrap_malloc(size_t size)
{
    if (heap_fails != NULL && heap_fails())
        return NULL;
    return count_new(__real_malloc(size));
}

void *
__wrap_calloc(size_t count, size_t size)
{
    if (heap_fails != NULL && heap_fails())
        return NULL;
    return count_new(__real_calloc(count, size));
}

void *
__wrap_realloc(void *old, size_t size)
{
    if (heap_fails != NULL && heap_fails())
        return NULL;
    void *ptr = __real_realloc(old, size);
    return old == NULL ? count_new(ptr) : ptr;
}

void
__wrap_free(void *ptr)
{
    heap_blocks -= ptr != NULL;
    __real_free(ptr);
}

#endif
