/* The arbiter's listening sockets: which are open, and which of them each generation serves.
 *
 * A socket belongs to every set that names it, so a reload opens only the addresses that are new
 * and drops only those that are gone. Process: arbiter. Thread: the main one.
 */
#ifndef SAOLA_PROC_BINDS_H
#define SAOLA_PROC_BINDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <net/listener.h>

struct sl_config;

/* One socket and the text that asked for it. */
struct sl_bind {
    struct sl_bind *next;
    struct sl_listener listener;
    char *spec;      /* as in the setting; "systemd:N" for activated ones */
    unsigned sets;   /* that hold it */
    bool foreign;    /* somebody else opened it: its file is not ours to remove */
    bool each_opens; /* reuse_port: bound here, every worker listens on its own */
};

/* The file of a unix socket that was closed while another arbiter served it. */
struct sl_bind_file {
    struct sl_bind_file *next;
    int fd; /* O_PATH: keeps the inode's number from being used again */
    char *path;
};

struct sl_binds {
    struct sl_bind *all;
    struct sl_bind_file *left;
    bool keep_files; /* another arbiter serves the same unix sockets */
};

/* What one generation serves, in the order of its configuration. */
struct sl_bind_set {
    struct sl_bind **items;
    int *fds;
    const char **names;
    size_t count;
};

/* Takes over what the service manager (LISTEN_FDS) or the arbiter before (SAOLA_FD, GUNICORN_FD)
 * gave and removes those variables. Once, before the first set is opened. */
int sl_binds_inherit(struct sl_binds *binds, struct sl_error *err);

/* Opens what config names. All or nothing; the sentence names the address. */
int sl_binds_open(struct sl_binds *binds, const struct sl_config *config,
                  struct sl_bind_set *ret_set, struct sl_error *err);

/* Lets go of a set; sockets that no other set holds are closed, their files removed. */
void sl_binds_drop(struct sl_binds *binds, struct sl_bind_set *set);

/* Which sockets of set nobody serves any more once its workers have left, bit N for the Nth (the
 * first 64): those that no other set holds, or, ends: all; but none that belongs to somebody else
 * as well (foreign, another arbiter). */
uint64_t sl_binds_ending(const struct sl_binds *binds, const struct sl_bind_set *set, bool ends);

/* Closes inherited sockets that no set took. */
void sl_binds_forget(struct sl_binds *binds);

/* At the end, when no worker is left: removes the files of sockets that were closed while another
 * arbiter served them, unless somebody still does. */
void sl_binds_finish(struct sl_binds *binds);

/* (worker) With reuse_port: replaces the bound sockets of set, at their descriptors, by bound ones
 * of this process, which listens on them when it is ready. Closes what other sets hold. */
int sl_binds_enter_worker(struct sl_binds *binds, struct sl_bind_set *set, struct sl_error *err);

/* (forked child before exec) Marks the sockets to survive and puts them into the environment. */
int sl_binds_export(struct sl_binds *binds, struct sl_error *err);

/* "http://127.0.0.1:8000,unix:/tmp/x" */
void sl_bind_set_print(const struct sl_bind_set *set, char *buf, size_t size);

#endif
