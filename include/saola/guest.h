/* Pools in C below another host's arbiter: it makes the process and keeps its output, user and
 * slot; what a worker does from start() to stop() is here.
 */
#ifndef SAOLA_GUEST_H
#define SAOLA_GUEST_H

#include <saola/config.h>
#include <saola/pool.h>
#include <saola/status.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default) /* what the library shows */

/* (arbiter) Files that are watched, with the setting reload: who loads shared objects looks between
 * two turns of the arbiter, and sends it HUP. */
struct sl_reloader;
/* One more file, which is known as it is now and need not be there. Makes *reloader if that is
 * NULL: from now on the arbiter's loop is woken several times a second. SL_ENOMEM, SL_ESYS with a
 * sentence. */
int sl_reloader_watch(struct sl_reloader **reloader, const char *path, struct sl_error *err);
/* Looks, unless it has just done so. A file that has changed and is at rest again, or NULL; valid
 * until the next look. */
const char *sl_reloader_look(struct sl_reloader *reloader);
void sl_reloader_free(struct sl_reloader *reloader); /* NULL is accepted */

struct sl_guest_pool;

/* (arbiter) Loads "PATH.so[:NAME]" and checks its table; config is copied. settings: "NAME=VALUE"
 * of those that the table declares, ended by NULL; NULL: of the setting app_settings those count
 * that it declares. One sentence on failure. */
int sl_guest_pool_new(const struct sl_config *config, const char *text, const char *const *settings,
                      struct sl_guest_pool **ret_pool, struct sl_error *err);
/* Constant, and never unloaded: two pools of the same code have the same. */
const struct sl_pool *sl_guest_pool_table(const struct sl_guest_pool *pool);
/* (arbiter) Calls open() of the table, if there is one; the caller knows whether that was done. */
int sl_guest_pool_open(struct sl_guest_pool *pool, struct sl_error *err);
void sl_guest_pool_free(struct sl_guest_pool *pool); /* NULL is accepted */

/* (worker) Opens the log that sl_worker_log() writes to, by the settings errorlog and loglevel;
 * where standard error leads now, if it goes there. */
int sl_guest_pool_enter(struct sl_guest_pool *pool, struct sl_error *err);
/* (worker) Takes the signals TERM, INT, QUIT and USR1 and calls start(). info and its group live as
 * long as the process. When start() has failed main() may be called all the same (setting reload):
 * then it only waits to be stopped. */
int sl_guest_pool_start(struct sl_guest_pool *pool, const struct sl_worker_info *info, int place,
                        struct sl_error *err);
/* (worker) Calls main(), once or at its times; returns the exit status. */
int sl_guest_pool_main(struct sl_guest_pool *pool);
/* (worker) Calls stop(), unless start() has failed. */
void sl_guest_pool_stop(struct sl_guest_pool *pool);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
