/* Small pieces of HTTP text that every response needs: dates, reason phrases, error pages, checks
 * of what an application wants to send. */
#ifndef SL_HTTP_TEXT_H
#define SL_HTTP_TEXT_H

#include <saola/http.h>
#include <string.h>
#include <time.h>

#include "base/hints.h"

enum { SL_DATE_LEN = 29 };

enum { SL_NUMBER_MAX = 20 }; /* digits of 2^64 - 1 */

/* Writes n in decimal, without NUL; returns how many digits it has. They are counted first: to copy
 * what was just written byte by byte makes the processor wait for those bytes. */
static inline size_t
sl_http_put_number(char *to, uint64_t n)
{
    size_t digits = 1;
    for (uint64_t limit = 10; n >= limit && digits < SL_NUMBER_MAX; limit *= 10)
        digits++;
    for (char *p = to + digits; p > to; n /= 10)
        *--p = (char)('0' + n % 10);
    return digits;
}

/* The same of a status, which has three digits. */
static inline size_t
sl_http_put_status(char *to, unsigned status)
{
    if (SL_UNLIKELY(status - 100 >= 900))
        return sl_http_put_number(to, status);
    to[0] = (char)('0' + status / 100);
    to[1] = (char)('0' + status / 10 % 10);
    to[2] = (char)('0' + status % 10);
    return 3;
}

/* Formats an IMF-fixdate (RFC 9110 section 5.6.7) of 29 bytes and a NUL. No locale, no malloc. */
void sl_http_date(time_t when, char out[SL_DATE_LEN + 1]);

/* Standard reason phrase, or "Unknown". */
const char *sl_http_reason(int status);

/* Writes a complete error response (status line, Connection: close, Content-Type, Content-Length,
 * small HTML page with the escaped sentence) into out; body left out if head_only. *ret_len is its
 * length; truncates never: SL_EINVAL when capacity is too small (1,024 suffice for a sentence of
 * 200 bytes of plain text, 2,048 for 200 bytes of anything). version_minor is the minor version of
 * the request; 0 answers as HTTP/1.0. sentence may be NULL. */
int sl_http_error_page(char *out, size_t capacity, int status, const char *sentence,
                       int version_minor, bool head_only, size_t *ret_len);

/* RFC 9110 section 5.6.2 token; section 5.5 field value without NUL, CR, LF and other controls but
 * HTAB. The empty string is a value, but no token. */
bool sl_http_is_token(const char *s, size_t len);
bool sl_http_is_value(const char *s, size_t len);

#endif
