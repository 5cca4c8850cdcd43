/* Hooks in C: a table with a function for each row of hooks.def, `--hooks ./hooks.so[:NAME]` (the
 * default NAME is hooks), or in the options of sl_run().
 *
 * Each runs in the process that its row names. It returns 0, or a negative code: it has failed, and
 * the row says what comes of that. call->worker is a struct sl_worker *, or NULL. Order and
 * moments: docs/lifecycle.md.
 *
 * worker_abort (signal): runs in the handler of SIGABRT, on whichever thread that came, when the
 * worker hangs: only what is async-signal-safe, and within a second. The process dies behind it.
 */
#ifndef SAOLA_HOOKS_H
#define SAOLA_HOOKS_H

#include <saola/worker.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SL_HOOKS_ABI 0x534c4801u

typedef int (*sl_hook_fn)(const struct sl_hook_call *call);

struct sl_hooks {
    unsigned abi; /* SL_HOOKS_ABI */
#define SL_HOOK(name, arity, process, on_failure, moment) sl_hook_fn name;
#include <saola/hooks.def>
#undef SL_HOOK
};

/* Defines the table: SL_HOOKS(hooks) = {.abi = SL_HOOKS_ABI, .when_ready = ready}; */
#ifdef __cplusplus
#define SL_HOOKS(NAME)                                                                             \
    extern const struct sl_hooks NAME __attribute__((visibility("default")));                      \
    const struct sl_hooks NAME
#else
#define SL_HOOKS(NAME)                                                                             \
    __attribute__((visibility("default"))) extern const struct sl_hooks NAME;                      \
    const struct sl_hooks NAME
#endif

#ifdef __cplusplus
}
#endif
#endif
