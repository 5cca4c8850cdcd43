/* The Accept-Encoding header field (RFC 9110 section 12.5.3). */
#ifndef SL_FILES_ENCODING_H
#define SL_FILES_ENCODING_H

#include <stdbool.h>
#include <stddef.h>

/* How much the client wants coding (lower case), in thousandths; 0: it does not. A list without it
 * and without "*" does not want it. What is malformed in a list is left out. */
unsigned sl_encoding_weight(const char *list, size_t len, const char *coding);

#endif
