/* Who already listens on a TCP port: for the message that people search the web for otherwise. */
#ifndef SL_NET_HOLDER_H
#define SL_NET_HOLDER_H

#include <sys/socket.h>
#include <sys/types.h>

struct sl_holder {
    pid_t pid;        /* the lowest pid that has the socket open */
    char command[64]; /* its name as in /proc/PID/comm, control characters replaced */
};

/* Finds the process whose listening socket is in the way of binding sa. Best effort, from /proc:
 * SL_OK, or SL_ENOENT when there is none or it belongs to a user whose descriptors we may not see.
 * Reads /proc/PID/fd of every process; for error paths only. */
int sl_listener_holder(const struct sockaddr *sa, struct sl_holder *ret_holder);

#endif
