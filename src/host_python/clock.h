/* The machine's clocks. */
#ifndef SL_HOST_PYTHON_CLOCK_H
#define SL_HOST_PYTHON_CLOCK_H

#include <stdint.h>
#include <time.h>

/* Nanoseconds; CLOCK_MONOTONIC_COARSE costs a third and is some milliseconds late. */
static inline uint64_t
sl_py_clock_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

#endif
