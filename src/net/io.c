/* System calls without the C library's wrappers around them. */
#include "net/io.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Sanitizers know what is read, and what happens before what, by the C library's functions; some
 * architectures have only socketcall(). */
#ifndef __has_feature /* clang's way to tell, where gcc has __SANITIZE_... */
#define __has_feature(name) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer) ||                           \
    defined(__SANITIZE_THREAD__) || __has_feature(thread_sanitizer) || !defined(SYS_recvfrom) ||   \
    !defined(SYS_sendto) || !defined(SYS_epoll_pwait)
#define DIRECT 0
#else
#define DIRECT 1
#endif

ssize_t
sl_io_recv(int fd, void *out, size_t size, int flags)
{
#if DIRECT
    return (ssize_t)syscall(SYS_recvfrom, fd, out, size, flags, NULL, NULL);
#else
    return recv(fd, out, size, flags);
#endif
}

ssize_t
sl_io_send(int fd, const void *data, size_t len, int flags)
{
#if DIRECT
    return (ssize_t)syscall(SYS_sendto, fd, data, len, flags, NULL, 0);
#else
    return send(fd, data, len, flags);
#endif
}

int
sl_io_epoll_wait(int epoll_fd, struct epoll_event *events, int max, int timeout_ms)
{
#if DIRECT
    return (int)syscall(SYS_epoll_pwait, epoll_fd, events, max, timeout_ms, NULL, (size_t)0);
#else
    return epoll_wait(epoll_fd, events, max, timeout_ms);
#endif
}
