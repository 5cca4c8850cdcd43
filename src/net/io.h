/* recv(), send() and epoll_wait() that are no cancellation points.
 *
 * In a process with threads (the access log's writer is one) the C library arms and disarms
 * cancellation around each of its own: two locked instructions each, 35 ns a call, 2 % of a
 * request. Nobody here cancels threads. Arguments, results and errno are those of recv(2), send(2)
 * and epoll_wait(2). Thread: any. */
#ifndef SL_NET_IO_H
#define SL_NET_IO_H

#include <stddef.h>
#include <sys/types.h>

ssize_t sl_io_recv(int fd, void *out, size_t size, int flags);
ssize_t sl_io_send(int fd, const void *data, size_t len, int flags);

struct epoll_event;
int sl_io_epoll_wait(int epoll_fd, struct epoll_event *events, int max, int timeout_ms);

#endif
