/* Time. Monotonic for everything that is measured or waited for, wall clock for what people
 * read. */
#ifndef SL_BASE_CLOCK_H
#define SL_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

enum { SL_NS_PER_MS = 1000000 };

/* Nanoseconds of CLOCK_MONOTONIC: the same in every process of the machine, so the arbiter can
 * compare it with what a worker wrote. Async-signal-safe. */
static inline uint64_t
sl_clock_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* The same in whole milliseconds. */
static inline uint64_t
sl_clock_ms(void)
{
    return sl_clock_ns() / SL_NS_PER_MS;
}

#endif
