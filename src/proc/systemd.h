/* What systemd and a service tell each other: inherited sockets and notifications, without
 * libsystemd. */
#ifndef SL_PROC_SYSTEMD_H
#define SL_PROC_SYSTEMD_H

#include <stdbool.h>
#include <stddef.h>
#include <saola/status.h>

enum { SL_SYSTEMD_FIRST_FD = 3 };

struct sl_systemd_sockets {
    unsigned count; /* descriptors 3 .. 3 + count - 1 */
    char *names;    /* LISTEN_FDNAMES, "a:b"; NULL if not given */
};

/* Reads LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES (sd_listen_fds(3)), sets close-on-exec on the
 * descriptors, and with unset removes the variables from the environment of this process. count is
 * 0 when the sockets are not meant for this process. SL_EINVAL (numbers that are none), SL_ESYS (a
 * descriptor is not open), SL_ENOMEM. */
int sl_systemd_sockets_take(bool unset, struct sl_systemd_sockets *ret_sockets,
                            struct sl_error *err);

/* Copies the name of socket index (0 ..) to out; "unknown" as systemd when there is none. */
void sl_systemd_sockets_name(const struct sl_systemd_sockets *sockets, unsigned index, char *out,
                             size_t size);

/* Frees the names; descriptors stay open. */
void sl_systemd_sockets_release(struct sl_systemd_sockets *sockets);

/* Sends state ("READY=1\nSTATUS=...", sd_notify(3)) to $NOTIFY_SOCKET; waits at most a second.
 * SL_OK, SL_ENOENT (nobody wants to know), SL_EINVAL (address or state too long), SL_EUNAVAILABLE
 * (another kind of address), SL_ESYS (errno). */
int sl_systemd_notify(const char *state);

#endif
