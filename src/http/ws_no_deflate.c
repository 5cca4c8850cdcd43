/* A build without zlib: permessage-deflate is never agreed, so nothing here is reached but the
 * first function and those that free nothing. */
#include "http/ws_deflate.h"

bool
sl_ws_deflate_available(void)
{
    return false;
}

int
sl_ws_deflate(struct sl_ws_deflater **context, const struct sl_ws_options *options,
              const struct sl_ws_deflate *agreed, const char *data, size_t len, bool last,
              struct sl_buf *out)
{
    (void)context, (void)options, (void)agreed, (void)data, (void)len, (void)last, (void)out;
    return SL_EUNAVAILABLE;
}

void
sl_ws_deflater_reset(struct sl_ws_deflater *context)
{
    (void)context;
}

void
sl_ws_deflater_free(struct sl_ws_deflater *context)
{
    (void)context;
}

int
sl_ws_inflate(struct sl_ws_inflater **context, unsigned window_bits, const char *in, size_t *len,
              char *out, size_t *room)
{
    (void)context, (void)window_bits, (void)in, (void)out;
    *len = *room = 0;
    return SL_EUNAVAILABLE;
}

bool
sl_ws_inflater_is_between_blocks(const struct sl_ws_inflater *context)
{
    (void)context;
    return false;
}

void
sl_ws_inflater_reset(struct sl_ws_inflater *context)
{
    (void)context;
}

void
sl_ws_inflater_free(struct sl_ws_inflater *context)
{
    (void)context;
}
