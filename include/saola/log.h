/* Log levels and the sink a host gives to the core. Library rooms (base, config, net, http) return
 * errors and never log; the arbiter, workers and hosts do. */
#ifndef SAOLA_LOG_H
#define SAOLA_LOG_H

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default) /* what the library shows */

enum sl_log_level {
    SL_LOG_DEBUG,
    SL_LOG_INFO,
    SL_LOG_WARNING,
    SL_LOG_ERROR,
    SL_LOG_CRITICAL,
};

/* message has no line end. Called in the process and thread that logs. Must not fail. */
typedef void (*sl_log_fn)(void *ctx, enum sl_log_level level, const char *message);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
