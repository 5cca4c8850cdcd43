/* Listening sockets: opened from an address, or inherited.
 *
 * Process: opened by the arbiter (by a worker with reuse_port), inherited by workers. Thread: the
 * main one; opening a unix socket changes the process's umask for a moment.
 */
#ifndef SL_NET_LISTENER_H
#define SL_NET_LISTENER_H

#include <net/address.h>
#include <net/holder.h>
#include <stdbool.h>
#include <sys/types.h>

struct sl_listener {
    int fd;            /* non-blocking, close-on-exec; -1 when closed */
    int family;        /* AF_INET, AF_INET6, AF_UNIX */
    uint16_t port;     /* the real one also when 0 was asked; 0 for AF_UNIX */
    bool inherited;    /* adopted, not opened here */
    char address[128]; /* numeric address, or "/path" or "@name" of a unix socket */
    char name[160];    /* "http://127.0.0.1:8000", "http://[::1]:8000", "unix:/path" */
    char *file;        /* absolute path of a unix socket's file; NULL: there is none */
    dev_t device;      /* identity of that file */
    ino_t inode;
};

struct sl_listener_options {
    int backlog;
    bool reuse_port;
    bool bind_only; /* TCP: reserve the address without listening on it */
    mode_t umask;   /* while a unix socket is bound; 0 makes it accessible for everybody */
    uid_t uid;      /* owner of a unix socket's file; (uid_t)-1 leaves it */
    gid_t gid;
};

/* Binds and listens. Of a name with several addresses the first that works is taken. FD addresses
 * are adopted. A unix socket that nobody serves is replaced; one that is served and any other kind
 * of file is not touched.
 * SL_EBUSY: in use, the sentence names the holder if it can be seen (try again later may help);
 * SL_EINVAL, SL_ENOENT (name, directory), SL_ENOMEM, SL_ESYS. */
int sl_listener_open(const struct sl_address *address, const struct sl_listener_options *options,
                     struct sl_listener *ret_listener, struct sl_error *err);

/* Takes over a descriptor (fd://N, systemd, re-exec): fd itself becomes the listener's, and is left
 * open on failure. A bound stream socket that does not listen yet is made to. SL_EINVAL. */
int sl_listener_adopt(int fd, int backlog, struct sl_listener *ret_listener, struct sl_error *err);

/* Removes the file of a unix socket if it still is the one of this listener. Call it before close:
 * the open socket keeps its inode number from being used again. True if it was removed. */
bool sl_listener_unlink(struct sl_listener *listener);

/* From now on the queue of a listening TCP socket gets no new connections: packets that begin one
 * are dropped, in all processes that share the socket and for as long as it lives; handshakes that
 * are under way still complete. Nothing happens to a unix socket. SL_OK or SL_ESYS. */
int sl_listener_filter(int fd);

/* True if the kernel gives what waits in the queue of this socket when it is shut down, handshakes
 * under way included, to another one that listens on the same port: SO_REUSEPORT with
 * net.ipv4.tcp_migrate_req. It does not say whether there is another one. */
bool sl_listener_migrates(int fd);

/* Closes the descriptor; the file stays. NULL and a closed one are accepted. */
void sl_listener_close(struct sl_listener *listener);

#endif
