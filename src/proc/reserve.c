/* The reserve is made of descriptors of /dev/null. */
#include <fcntl.h>
#include <unistd.h>
#include <proc/reserve.h>

void
sl_reserve_fill(struct sl_reserve *reserve)
{
    while (reserve->count < SL_RESERVE) {
        int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            return;
        reserve->fds[reserve->count++] = fd;
    }
}

void
sl_reserve_lend(struct sl_reserve *reserve)
{
    while (reserve->count > 0)
        close(reserve->fds[--reserve->count]);
}
