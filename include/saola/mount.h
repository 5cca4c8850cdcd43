/* Applications in C below paths, in front of another host's handler: setting mount of a server
 * whose applications are in another language.
 *
 * Process: a worker. Thread: the one that opens; requests are answered on the engine's threads. A
 * mounted application has no loop (timers, descriptors, posts, later answers: SL_EUNAVAILABLE), and
 * must answer before request() returns.
 */
#ifndef SAOLA_MOUNT_H
#define SAOLA_MOUNT_H

#include <saola/config.h>
#include <saola/engine.h>
#include <saola/status.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default) /* what the library shows */

struct sl_mounts;

/* Loads, load()s and start()s what the settings mount and app_settings of config name; config is
 * copied. next (may be NULL, outlives this) is asked for requests that are not below a mount. Lines
 * that applications log go to the setting errorlog. One sentence on failure. */
int sl_mounts_open(const struct sl_config *config, const struct sl_front *next,
                   struct sl_mounts **ret_mounts, struct sl_error *err);

/* For sl_engine_options.front; lives as long as mounts. */
const struct sl_front *sl_mounts_front(const struct sl_mounts *mounts);

/* Opens the file that lines of the applications go to anew. */
void sl_mounts_reopen_logs(struct sl_mounts *mounts);

/* stop() and exit() of the applications, once: no request of theirs is in progress, and none may
 * come. */
void sl_mounts_end(struct sl_mounts *mounts);

/* After the engine was closed. Ends them if nobody has. NULL is accepted. */
void sl_mounts_close(struct sl_mounts *mounts);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
