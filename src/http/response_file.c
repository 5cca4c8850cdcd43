/* A file as the body of a response, or as its rest. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "http/engine_state.h"

enum { READ_MAX = 32 * 1024 }; /* files up to this are read: one send() instead of two calls */

/* Reads the file into the output, behind the head. SL_OK, or SL_ECLOSED: it has become shorter, the
 * length that was promised cannot be kept. */
static int
read_file(struct sl_response *res, int fd, off_t offset, size_t length)
{
    struct sl_out *out = &res->ws->out;
    char *room = sl_out_reserve(out, length);
    if (room == NULL)
        return sl_response_gone(res);
    for (size_t have = 0; have < length;) {
        ssize_t n = pread(fd, room + have, length - have, offset + (off_t)have);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return sl_response_gone(res);
        have += (size_t)n;
    }
    out->end += length;
    res->sent += length;
    return SL_OK;
}

/* In a chunked response the chunk's end follows the file: the file is sent first. */
static int
send_chunk(struct sl_response *res)
{
    int rc = sl_response_wait(res);
    if (rc < 0 || sl_out_append(&res->ws->out, "\r\n", 2) < 0)
        return sl_response_gone(res);
    return SL_OK;
}

static int
give(struct sl_response *res, int file_fd, off_t offset, uint64_t length, bool own)
{
    struct sl_out *out = &res->ws->out;
    int fd = own ? file_fd : fcntl(file_fd, F_DUPFD_CLOEXEC, 3);
    if (fd < 0)
        return SL_ESYS;
    if (out->file_left > 0 && sl_response_drain(res) < 0) { /* there is room for one file */
        close(fd);
        return sl_response_gone(res);
    }
    if (res->chunked) {
        char line[24];
        int n = snprintf(line, sizeof line, "%llx\r\n", (unsigned long long)length);
        if (sl_out_append(out, line, (size_t)n) < 0) {
            close(fd);
            return sl_response_gone(res);
        }
    }
    out->file_fd = fd;
    out->file_offset = offset;
    out->file_left = length;
    res->sent += length;
    return res->chunked ? send_chunk(res) : SL_OK;
}

/* 1: go on, *length is what may be sent; else what to return. */
static int
begin(struct sl_response *res, uint64_t *length, bool own)
{
    if (!res->started || res->ended || (res->sealed && !own))
        return res->started && res->sealed ? SL_OK : SL_EINVAL;
    if (res->failed)
        return SL_ECLOSED;
    if (!res->committed && !res->has_length) { /* of HEAD, too */
        res->has_length = true;
        res->length = *length;
    }
    if (!res->committed && sl_response_commit(res, true, 0) < 0)
        return sl_response_gone(res);
    if (res->no_body || (res->sealed && !own))
        return SL_OK;
    if (res->has_length && *length > res->length - res->sent)
        *length = res->length - res->sent;
    return *length == 0 ? SL_OK : 1;
}

int
sl_response_sendfile(struct sl_response *res, int file_fd, off_t offset, uint64_t length)
{
    int rc = begin(res, &length, false);
    if (rc != 1)
        return rc;
    rc = give(res, file_fd, offset, length, false);
    if (rc == SL_OK && !res->chunked)
        res->sealed = true;
    return rc;
}

int
sl_response_give_file(struct sl_response *res, int file_fd, off_t offset, uint64_t length)
{
    int rc = begin(res, &length, true);
    if (rc == 1 && length > READ_MAX) {
        rc = give(res, file_fd, offset, length, true);
    } else {
        if (rc == 1)
            rc = read_file(res, file_fd, offset, (size_t)length);
        close(file_fd);
    }
    if (rc == SL_OK)
        res->sealed = true;
    return rc;
}
