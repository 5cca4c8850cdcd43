/* Hints to the compiler about how often a function runs.
 *
 * Between two requests the kernel's code passes through the processor's caches, so what a request
 * costs here is largely how many bytes of code it touches. Hot functions are kept small: what they
 * seldom do is apart. */
#ifndef SL_BASE_HINTS_H
#define SL_BASE_HINTS_H

/* Not inlined: its callers stay small, and their frames need no room (and no canary) for it. */
#define SL_APART __attribute__((noinline))

/* Hardly ever runs: apart, and out of the way of what does. Branches to it count as unlikely. */
#define SL_COLD __attribute__((cold, noinline))

/* What is nearly always, and hardly ever, true: the usual way through a function then lies in one
 * straight row. For what each request passes; error codes, which are negative, and calls of SL_COLD
 * functions the compiler knows by itself. */
#define SL_LIKELY(condition) __builtin_expect(!!(condition), 1)
#define SL_UNLIKELY(condition) __builtin_expect(!!(condition), 0)

#endif
