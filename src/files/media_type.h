/* Media types by the ends of file names. */
#ifndef SL_FILES_MEDIA_TYPE_H
#define SL_FILES_MEDIA_TYPE_H

#include <stdbool.h>
#include <stddef.h>

/* A type of the user's: "md" -> "text/markdown". */
struct sl_media_type {
    const char *ending; /* without the dot, lower case */
    const char *type;
};

/* The value of Content-Type for a file of that name; text has "; charset=utf-8". Endings are
 * compared without case; application/octet-stream for unknown ones. more ends with ending NULL and
 * comes first; it may be NULL. *ret_compressible: compressed siblings are worth looking for. */
const char *sl_media_type_of(const char *name, const struct sl_media_type *more,
                             bool *ret_compressible);

#endif
