/* Result codes and start-up errors, shared by every room and every host. */
#ifndef SAOLA_STATUS_H
#define SAOLA_STATUS_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default) /* what the library shows */

/* Functions return SL_OK (0) or one of these negative codes. */
enum sl_status {
    SL_OK = 0,
    SL_ENOMEM = -1,        /* memory could not be had */
    SL_EINVAL = -2,        /* an argument or input is not acceptable */
    SL_ERANGE = -3,        /* a value lies outside its bounds */
    SL_ENOENT = -4,        /* no such name, file or process */
    SL_ESYS = -5,          /* a system call failed; errno or the text says how */
    SL_EAGAIN = -6,        /* nothing now, try again when the descriptor is ready */
    SL_ECLOSED = -7,       /* the peer or the object is gone */
    SL_EFULL = -8,         /* accepted, but a limit is reached: wait before giving more */
    SL_ETIMEOUT = -9,      /* the time allowed is over */
    SL_EPROTO = -10,       /* the peer broke the protocol */
    SL_EHOST = -11,        /* the host language failed; it has reported the details */
    SL_EBUSY = -12,        /* somebody else holds it */
    SL_EUNAVAILABLE = -13, /* known, but not part of this build yet */
};

/* What start-up functions fill on failure: one sentence for the user. */
struct sl_error {
    int code; /* an enum sl_status */
    char text[512];
};

/* Formats the sentence into err (may be NULL) and returns code, so a caller can
 * `return sl_error_set(err, SL_EINVAL, ...)`. */
int sl_error_set(struct sl_error *err, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Short English name of an enum sl_status, for logs and tests. Never NULL. */
const char *sl_status_name(int code);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
