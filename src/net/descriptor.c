/* close_range(2), and SCM_RIGHTS of unix(7). */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <saola/status.h>

#include "base/sanitizers.h"
#include "net/descriptor.h"

/* ThreadSanitizer would take equal numbers in two tables for the same file. */
#if defined(CLOSE_RANGE_UNSHARE) && !SL_THREAD_SANITIZER
#define SEPARATE 1
#else
#define SEPARATE 0
#endif

void
sl_descriptor_separate(int keep)
{
#if SEPARATE
    unsigned first = STDERR_FILENO + 1, at = (unsigned)keep;
    if (close_range(at + 1, ~0U, CLOSE_RANGE_UNSHARE) == 0 && at > first)
        (void)close_range(first, at - 1, 0);
#else
    (void)keep;
#endif
}

/* A message of one byte, since one of none may not carry a file, and room for the file. */
struct parcel {
    char byte;
    struct iovec io;
    struct msghdr message;
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } room;
};

static void
prepare(struct parcel *parcel)
{
    memset(parcel, 0, sizeof *parcel);
    parcel->io = (struct iovec){&parcel->byte, 1};
    parcel->message = (struct msghdr){.msg_iov = &parcel->io,
                                      .msg_iovlen = 1,
                                      .msg_control = parcel->room.bytes,
                                      .msg_controllen = sizeof parcel->room.bytes};
}

int
sl_descriptor_send(int socket, int fd)
{
    struct parcel parcel;
    ssize_t n;
    prepare(&parcel);
    struct cmsghdr *rights = CMSG_FIRSTHDR(&parcel.message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(rights), &fd, sizeof fd);
    do
        n = sendmsg(socket, &parcel.message, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n < 0 ? SL_ESYS : SL_OK;
}

int
sl_descriptor_receive(int socket)
{
    struct parcel parcel;
    ssize_t n;
    int fd = -1;
    prepare(&parcel);
    do
        n = recvmsg(socket, &parcel.message, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -1;
    struct cmsghdr *rights = CMSG_FIRSTHDR(&parcel.message);
    if (rights == NULL || rights->cmsg_level != SOL_SOCKET || rights->cmsg_type != SCM_RIGHTS) {
        errno = EMFILE; /* the file did not fit into the table (MSG_CTRUNC) */
        return -1;
    }
    memcpy(&fd, CMSG_DATA(rights), sizeof fd);
    return fd;
}
