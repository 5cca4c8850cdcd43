/* Judges field names with underscores and in trailers. */
#include "http/names.h"

#include <string.h>
#include <strings.h>

static bool
is_listed(const char *const *names, const struct sl_str *name)
{
    for (; names != NULL && *names != NULL; names++) {
        if (strcmp(*names, "*") == 0 ||
            (strlen(*names) == name->len && strncasecmp(*names, name->ptr, name->len) == 0))
            return true;
    }
    return false;
}

/* A gateway maps '-' to '_', so that an underscore lets a client forge what a proxy sets. */
enum sl_name_verdict
sl_name_judge_underscore(const struct sl_str *name, enum sl_header_map map,
                         const char *const *forwarder_headers)
{
    if (is_listed(forwarder_headers, name) || map == SL_HEADER_MAP_DANGEROUS)
        return SL_NAME_KEEP;
    return map == SL_HEADER_MAP_DROP ? SL_NAME_DROP : SL_NAME_REFUSE;
}

bool
sl_name_may_trail(const struct sl_str *name)
{
    static const char *const forbidden[] = {
        /* framing and connection */
        "Content-Length", "Transfer-Encoding", "Trailer", "TE", "Connection", "Keep-Alive",
        "Upgrade", "Proxy-Connection", "Expect",
        /* routing, and what a proxy says of the client */
        "Host", "Forwarded", "X-Real-IP", "Max-Forwards", "Via",
        /* authentication and state */
        "Authorization", "Proxy-Authorization", "Proxy-Authenticate", "WWW-Authenticate", "Cookie",
        "Set-Cookie",
        /* modifiers of the request */
        "Cache-Control", "Pragma", "Range", "If-Match", "If-None-Match", "If-Modified-Since",
        "If-Unmodified-Since", "If-Range",
        /* controls of the response */
        "Age", "Date", "Expires", "Location", "Retry-After", "Vary",
        /* format of the content */
        "Content-Type", "Content-Encoding", "Content-Range", NULL};
    static const char forwarded[] = "X-Forwarded-"; /* -For, -Host, -Proto, -Ssl, ... */
    size_t len = sizeof forwarded - 1;
    return !is_listed(forbidden, name) &&
           !(name->len >= len && strncasecmp(name->ptr, forwarded, len) == 0);
}

bool
sl_name_may_be_interim(const struct sl_str *name)
{
    static const char *const forbidden[] = {
        "Content-Length", "Transfer-Encoding", "Trailer", "Connection",
        "Keep-Alive",     "Upgrade",           NULL};
    return !is_listed(forbidden, name);
}
