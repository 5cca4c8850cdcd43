/* SHA-1 (FIPS 180-4) of a short text, for the one place where a protocol demands it. */
#ifndef SL_HTTP_SHA1_H
#define SL_HTTP_SHA1_H

#include <stddef.h>
#include <stdint.h>

enum { SL_SHA1_LEN = 20, SL_SHA1_MAX_INPUT = 119 };

/* len is at most SL_SHA1_MAX_INPUT: two blocks. */
void sl_sha1(const char *data, size_t len, uint8_t ret[SL_SHA1_LEN]);

#endif
