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

#endif
