/* What the programs that make load have in common. */
#ifndef SAOLA_BENCH_LOAD_H
#define SAOLA_BENCH_LOAD_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static inline void
die(const char *what)
{
    perror(what);
    exit(1);
}

static inline uint64_t
now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

#endif
