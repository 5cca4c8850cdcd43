/* llhttp with callbacks that keep slices, and nothing else. */
#include "parse_llhttp.h"

#include <llhttp.h>

enum { SLICES = 256 };

static struct {
    const char *ptr;
    size_t len;
} slices[SLICES];
static size_t count;
static bool done;

static int
on_slice(llhttp_t *p, const char *at, size_t len)
{
    (void)p;
    slices[count % SLICES].ptr = at;
    slices[count % SLICES].len = len;
    count++;
    return 0;
}

static int
on_headers_complete(llhttp_t *p)
{
    (void)p;
    done = true;
    return 0;
}

static const llhttp_settings_t settings = {.on_method = on_slice,
                                           .on_url = on_slice,
                                           .on_header_field = on_slice,
                                           .on_header_value = on_slice,
                                           .on_headers_complete = on_headers_complete};

const bool have_llhttp = true;

bool
parse_by_llhttp(const char *text, size_t len)
{
    llhttp_t p;
    count = 0;
    done = false;
    llhttp_init(&p, HTTP_REQUEST, &settings);
    return llhttp_execute(&p, text, len) == HPE_OK && done;
}
