/* The request line of RFC 9112 section 3 and the host form of RFC 9110 section 7.2. */
#ifndef SL_HTTP_REQUEST_LINE_H
#define SL_HTTP_REQUEST_LINE_H

#include <saola/engine.h>

/* Parses the line that starts at p. 1: complete, *ret_next is behind its CRLF; method, target,
 * path, query and version are set, *ret_authority is that of an absolute form, else its ptr is
 * NULL. 0: [p, end) holds no line end yet. Negative: minus the status, with a sentence; req is
 * untouched (the method may have been folded to upper case in the buffer). */
int sl_request_line_parse(char *p, char *end, const struct sl_http_limits *limits,
                          struct sl_request *req, struct sl_str *ret_authority, char **ret_next,
                          const char **ret_sentence);

/* uri-host [":" port] as a Host field or an authority may have it: not empty, no user information,
 * no list, no 8-bit characters, port at most 65535. */
bool sl_host_is_valid(const char *s, size_t len);

#endif
