/* PROXY headers: an answer must not depend on how the bytes are cut, and must keep its promises. */
#include <string.h>
#include <sys/socket.h>
#include <saola/status.h>

#include "fuzz.h"
#include "net/proxy.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sl_proxy proxy, prefix;
    const char *sentence = NULL;
    if (size < 3)
        return 0;
    unsigned versions = data[0] & 3u;
    size_t cut = (size_t)(data[1] << 8 | data[2]) % (size - 2);
    const char *text = (const char *)data + 3;
    size -= 3;
    ssize_t rc = sl_proxy_parse(text, size, versions, &proxy, &sentence);
    DEMAND(rc <= (ssize_t)size && rc <= SL_PROXY_MAX);
    DEMAND(rc != 0 || size < SL_PROXY_MAX);
    DEMAND(rc >= 0 || rc == SL_ENOENT || (rc == SL_EPROTO && sentence != NULL));
    if (rc > 0) {
        DEMAND(proxy.version != 1 || rc <= SL_PROXY_V1_MAX);
        DEMAND((proxy.family == AF_UNSPEC) == (*proxy.source == '\0'));
        DEMAND((proxy.family == AF_UNSPEC) == (*proxy.dest == '\0'));
    }
    /* a copy of exact size, so that ASan sees a read behind it */
    char *copy = malloc(cut + 1);
    memcpy(copy, text, cut);
    ssize_t early = sl_proxy_parse(copy, cut, versions, &prefix, &sentence);
    free(copy);
    DEMAND(early == 0 || early == rc);
    DEMAND(early != 0 || rc <= 0 || cut < (size_t)rc);
    return 0;
}
