/* The arbiter's notice: text between two equal numbers, written by one call. */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <proc/notice.h>

enum { FRAME = 64 }; /* room for the first and the last line */

bool
sl_notice_open(struct sl_notice *notice)
{
    *notice = (struct sl_notice){.fd = memfd_create("saola-arbiter", MFD_CLOEXEC)};
    return notice->fd >= 0;
}

void
sl_notice_close(struct sl_notice *notice)
{
    if (notice->fd >= 0)
        close(notice->fd);
    notice->fd = -1;
}

void
sl_notice_put(struct sl_notice *notice, const char *lines)
{
    char page[SL_NOTICE_SIZE] = "";
    if (notice->fd < 0 || (notice->number > 0 && strcmp(lines, notice->text) == 0))
        return;
    snprintf(notice->text, sizeof notice->text, "%s", lines);
    notice->number++;
    snprintf(page, sizeof page, "saola %lu\n%.*s\nend %lu\n", notice->number,
             (int)sizeof page - FRAME, lines, notice->number);
    if (pwrite(notice->fd, page, sizeof page, 0) != (ssize_t)sizeof page)
        sl_notice_close(notice); /* better none than an old one */
}
