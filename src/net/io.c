/* System calls without the C library's wrappers around them. */
#include "net/io.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/sanitizers.h"

/* Sanitizers know what is read, and what happens before what, by the C library's functions; some
 * architectures have only socketcall(). */
#if SL_ADDRESS_SANITIZER || SL_THREAD_SANITIZER || !defined(SYS_recvfrom) ||                       \
    !defined(SYS_sendto) || !defined(SYS_epoll_pwait)
#define DIRECT 0
#else
#define DIRECT 1
#endif

#ifdef SYS_epoll_wait
#define EPOLL_WAIT SYS_epoll_wait
#else /* newer architectures; without a signal mask it is the same */
#define EPOLL_WAIT SYS_epoll_pwait
#endif

#if DIRECT
/* syscall(2) of the C library, in place: its call, and moving all arguments by one register, cost
 * some 5 ns each time. */
static inline long
call(long number, long a, const void *b, long c, long d, long e, long f)
{
#if defined(__x86_64__) && defined(__LP64__)
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "0"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    if (result >= 0)
        return result;
    errno = (int)-result;
    return -1;
#else
    return syscall(number, a, b, c, d, e, f);
#endif
}
#endif

ssize_t
sl_io_recv(int fd, void *out, size_t size, int flags)
{
#if DIRECT
    return call(SYS_recvfrom, fd, out, (long)size, flags, 0, 0);
#else
    return recv(fd, out, size, flags);
#endif
}

ssize_t
sl_io_send(int fd, const void *data, size_t len, int flags)
{
#if DIRECT
    return call(SYS_sendto, fd, data, (long)len, flags, 0, 0);
#else
    return send(fd, data, len, flags);
#endif
}

int
sl_io_epoll_wait(int epoll_fd, struct epoll_event *events, int max, int timeout_ms)
{
#if DIRECT
    return (int)call(EPOLL_WAIT, epoll_fd, events, max, timeout_ms, 0, 0);
#else
    return epoll_wait(epoll_fd, events, max, timeout_ms);
#endif
}
