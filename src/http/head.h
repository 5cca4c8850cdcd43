/* Parser of an HTTP/1 request head (RFC 9112 sections 2, 3 and 5). One pass, slices out, nothing
 * allocated, nothing copied (obsolete folding and case folding rewrite the buffer in place). */
#ifndef SL_HTTP_HEAD_H
#define SL_HTTP_HEAD_H

#include <saola/engine.h>

enum { SL_HEAD_MAX_FIELDS = 32768 };

/* Where the parser writes. The caller owns fields[capacity]. */
struct sl_head {
    struct sl_request *req;  /* slices, framing, versions, keep_alive, expect_continue */
    struct sl_header *fields;
    size_t capacity;         /* of fields; more header fields than this: 431 */
};

/* What the peer may do; see sl_peer. */
struct sl_head_trust {
    bool trusted;
    const struct sl_scheme_header *scheme_headers; /* ends with name NULL; may be NULL */
};

/* Parses the head that starts at buf. *resume is how far earlier calls have looked, 0 at first; the
 * caller gives it back unchanged with a longer buffer, so that cost is linear in bytes however they
 * are cut.
 * Returns the head's length in bytes (> 0), 0 if it is not complete yet, or minus the HTTP status
 * with which the request must be refused (-400, -414, -431, -501, -505, -417); then *ret_sentence
 * is a static English sentence for log and error page. */
int sl_head_parse(struct sl_head *head, char *buf, size_t len, size_t *resume,
                  const struct sl_http_limits *limits, const struct sl_head_trust *trust,
                  const char **ret_sentence);

/* Parses a trailer section (field lines up to the empty line) with the same field rules; framing and
 * routing fields are refused. Result as sl_head_parse(). */
int sl_head_parse_trailers(struct sl_header *fields, size_t capacity, size_t *ret_count, char *buf,
                           size_t len, size_t *resume, const struct sl_http_limits *limits,
                           const char **ret_sentence);

#endif
