/* The Range header field (RFC 9110 section 14). */
#ifndef SL_FILES_RANGE_H
#define SL_FILES_RANGE_H

#include <stddef.h>
#include <stdint.h>

enum sl_range {
    SL_RANGE_NONE,          /* none that we serve: the whole is sent */
    SL_RANGE_ONE,           /* *ret_first and *ret_length say which */
    SL_RANGE_UNSATISFIABLE, /* 416 */
};

/* Reads the value of a Range field for a representation of size bytes. Several ranges, another
 * unit or what is malformed count as none, which a server may always decide. */
enum sl_range sl_range_parse(const char *value, size_t len, uint64_t size, uint64_t *ret_first,
                             uint64_t *ret_length);

#endif
