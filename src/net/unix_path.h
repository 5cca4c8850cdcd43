/* The file of a unix socket: when it may be replaced, and whose it is. For listener.c,
 * and for proc when two arbiters serve one socket. */
#ifndef SL_NET_UNIX_PATH_H
#define SL_NET_UNIX_PATH_H

#include <net/listener.h>

/* Locks the directory of path so that two servers do not clear and bind it at the same time. Best
 * effort: -1 (no lock) when the directory cannot be opened or is locked for long. close()
 * unlocks. */
int sl_unix_path_lock(const char *path);

/* Removes a socket file that nobody serves. SL_OK if the path is free now; SL_EBUSY (served),
 * SL_EINVAL (another kind of file), SL_ENOENT (no such directory), SL_ESYS. */
int sl_unix_path_clear(const struct sockaddr *sa, socklen_t len, struct sl_error *err);

/* Fills file, device and inode of listener from the socket file at path. SL_ENOENT, SL_ENOMEM. */
int sl_unix_path_identify(const char *path, struct sl_listener *listener);

#endif
