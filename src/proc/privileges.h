/* Users, groups, and giving up root. */
#ifndef SL_PROC_PRIVILEGES_H
#define SL_PROC_PRIVILEGES_H

#include <stdbool.h>
#include <sys/types.h>
#include <saola/status.h>

/* Number or name to id. A number needs no entry in the user database. text NULL or "": the
 * effective id of this process. SL_ENOENT ("No such user: 'x'"), SL_ESYS. */
int sl_user_find(const char *text, uid_t *ret_uid, struct sl_error *err);
int sl_group_find(const char *text, gid_t *ret_gid, struct sl_error *err);

/* (worker) Becomes uid and gid for good: supplementary groups (those of the user database with
 * init_groups, else gid alone), then group, then user, and checks that it worked and that there is
 * no way back. Nothing happens when the process is both already and init_groups is false. The
 * parent-death signal, which the kernel drops at such a change, is set again; the caller checks
 * sl_orphan_check() afterwards. SL_ESYS: the process may be half changed and must end. */
int sl_privileges_drop(uid_t uid, gid_t gid, bool init_groups, struct sl_error *err);

/* (worker, before the change of user) No program that this process executes can get what it has not
 * (NoNewPrivs; as root the bounding set is emptied, too). SL_ESYS. */
int sl_privileges_seal(struct sl_error *err);

/* (worker, after it) No capability is left: permitted, effective, inheritable, ambient. SL_ESYS. */
int sl_privileges_clear(struct sl_error *err);

#endif
