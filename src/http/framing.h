/* What the fields of a head mean for framing and connection (RFC 9110 sections 7 and 10, RFC 9112
 * sections 6 and 9). Fields are shown one after the other; complaints wait for the end, so that the
 * verdict on a head does not depend on how its bytes were cut. */
#ifndef SL_HTTP_FRAMING_H
#define SL_HTTP_FRAMING_H

#include "http/head.h"

struct sl_framing {
    const struct sl_request *req; /* its version is known */
    struct sl_header *host;
    struct sl_known_host *known_host; /* may be NULL */
    uint64_t content_length;
    uint32_t initials; /* of all fields, as scheme_initials; a name may share the bit of another */
    bool has_length, has_type, has_coding, has_expect;
    bool chunked, has_other_coding; /* in Transfer-Encoding */
    bool close, keep_alive;         /* seen in Connection */
    int status;                     /* of the first complaint; 0: none */
    const char *sentence;
};

/* Whether a field can matter to sl_framing_field(), by length and first letter of its name: most do
 * not and are spared the call. */
static inline bool
sl_framing_wants(const struct sl_str *name)
{
    static const char initials[20] = {
        [4] = 'h', [6] = 'e', [10] = 'c', [12] = 'c', [14] = 'c', [17] = 't'};
    return name->len < sizeof initials && (name->ptr[0] | 0x20) == initials[name->len];
}

void sl_framing_field(struct sl_framing *framing, struct sl_header *field);

/* Judges the whole and fills req. authority: of an absolute-form target, or ptr NULL. rules: of a
 * trusted peer, for its scheme fields, or NULL. 0 or minus the status. */
int sl_framing_end(struct sl_framing *framing, const struct sl_str *authority,
                   const struct sl_head_rules *rules, struct sl_request *req,
                   const char **ret_sentence);

#endif
