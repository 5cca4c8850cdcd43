/* HTTP dates as clients send them. */
#ifndef SL_FILES_DATE_H
#define SL_FILES_DATE_H

#include <stddef.h>
#include <stdint.h>

/* Reads any of the three forms of RFC 9110 section 5.6.7. Seconds since 1970, or -1 for what is no
 * date. now: for the two-digit years of RFC 850, which are at most 50 years ahead of it. */
int64_t sl_http_date_parse(const char *text, size_t len, int64_t now);

#endif
