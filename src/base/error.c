/* Result codes in words. */
#include <stdarg.h>
#include <stdio.h>
#include <saola/status.h>

int
sl_error_set(struct sl_error *err, int code, const char *format, ...)
{
    if (err == NULL)
        return code;
    va_list args;
    va_start(args, format);
    vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    err->code = code;
    return code;
}

const char *
sl_status_name(int code)
{
    switch ((enum sl_status)code) {
    case SL_OK:
        return "ok";
    case SL_ENOMEM:
        return "out of memory";
    case SL_EINVAL:
        return "invalid";
    case SL_ERANGE:
        return "out of range";
    case SL_ENOENT:
        return "not found";
    case SL_ESYS:
        return "system call failed";
    case SL_EAGAIN:
        return "try again";
    case SL_ECLOSED:
        return "closed";
    case SL_EFULL:
        return "full";
    case SL_ETIMEOUT:
        return "timed out";
    case SL_EPROTO:
        return "protocol error";
    case SL_EHOST:
        return "failed in the host language";
    case SL_EBUSY:
        return "busy";
    case SL_EUNAVAILABLE:
        return "not available yet";
    }
    return "unknown";
}
