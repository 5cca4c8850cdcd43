/* llhttp at the same work: method, target, version and every field as a slice. */
#ifndef BENCH_PARSE_LLHTTP_H
#define BENCH_PARSE_LLHTTP_H

#include <stdbool.h>
#include <stddef.h>

extern const bool have_llhttp;

/* True if llhttp takes the whole head. */
bool parse_by_llhttp(const char *text, size_t len);

#endif
