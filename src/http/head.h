/* Parser of an HTTP/1 request head (RFC 9112 sections 2, 3 and 5). One pass, slices out, nothing
 * allocated, nothing copied (obsolete folding and case folding rewrite the buffer in place). */
#ifndef SL_HTTP_HEAD_H
#define SL_HTTP_HEAD_H

#include <saola/engine.h>

/* The parser's own maxima, which no setting lifts. */
enum {
    SL_HEAD_MAX_FIELDS = 32768,
    SL_HEAD_MAX_LINE = 1 << 20 >> 1,   /* bytes of a request or field line */
    SL_HEAD_MAX_BYTES = 1 << 27,       /* of the whole head: more is 431 */
    SL_HEAD_DEFAULT_FIELD_SIZE = 8190, /* when limits->field_size is 0, as gunicorn does */
};

/* The last Host that was found to be valid, which the next one mostly is again. Zero at first. */
struct sl_known_host {
    size_t len;
    char text[64];
};

/* Where the parser writes. The caller owns fields[capacity]. */
struct sl_head {
    /* On success: slices, framing, versions, keep_alive, expect_continue; https only when a trusted
     * peer's scheme header said so or denied it. When a head is refused: method and target, if the
     * request line was in order, else as it was. */
    struct sl_request *req;
    struct sl_header *fields;
    size_t capacity;                  /* of fields; more header fields than this: 431 */
    struct sl_known_host *known_host; /* the thread's; may be NULL */
};

/* By what heads and trailers are judged: settings with what follows from them for every parse. */
struct sl_head_rules {
    struct sl_http_limits limits;
    const struct sl_scheme_header *scheme_headers; /* ends with name NULL; may be NULL */
    uint32_t scheme_initials;                      /* of their names: bit 1 for A or a, and so on */
    size_t max_line, max_field;                    /* bytes, CRLF not counted */
    size_t max_fields, max_bytes;
    const struct sl_lines_way *way; /* the fastest way to scan lines that this processor has */
};

/* What the pointers in limits and scheme_headers point to stays the caller's, and must outlive the
 * rules. */
void sl_head_rules_init(struct sl_head_rules *rules, const struct sl_http_limits *limits,
                        const struct sl_scheme_header *scheme_headers);

/* Parses the head that starts at buf. *resume is private: 0 at first (success sets it to 0
 * again); the caller gives it back unchanged with a longer buffer, so that cost is linear in bytes
 * however they are cut. The buffer may have moved in between; the verdict does not depend on the
 * cuts. Returns the head's length in bytes (> 0), 0 if it is not complete yet, or minus the HTTP
 * status with which the request must be refused (-400, -414, -431, -501, -505, -417); then
 * *ret_sentence is a static English sentence for log and error page. A line is judged when it is
 * complete, or as soon as it is longer than its limit; what several fields say together, when the
 * head is complete. trusted: what the peer says of client and scheme counts; see sl_peer.
 *
 * What the slices hold beyond the plain case:
 * - one empty line before the request line is skipped and counted in the length (RFC 9112 2.2);
 * - absolute form: path and query are cut out of the target (path "/" where it has none), and the
 *   value of the Host field becomes the target's authority, which wins (RFC 9112 3.2.2);
 * - CONNECT: path is empty; a fragment is part of the target only;
 * - fields that header_map drops are not in headers, but count against limits->fields. */
int sl_head_parse(struct sl_head *head, char *buf, size_t len, uint64_t *resume,
                  const struct sl_head_rules *rules, bool trusted, const char **ret_sentence);

/* Parses a trailer section (field lines up to the empty line) with the same field rules; framing,
 * routing, authentication and similar fields are refused (RFC 9110 section 6.5.1). Underscore names
 * go by header_map as from a peer that is not trusted. Result as sl_head_parse(). */
int sl_head_parse_trailers(struct sl_header *fields, size_t capacity, size_t *ret_count, char *buf,
                           size_t len, uint64_t *resume, const struct sl_head_rules *rules,
                           const char **ret_sentence);

#endif
