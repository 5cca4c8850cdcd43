/* Which field names are let in, beyond being tokens. */
#ifndef SL_HTTP_NAMES_H
#define SL_HTTP_NAMES_H

#include <saola/engine.h>

enum sl_name_verdict { SL_NAME_KEEP, SL_NAME_DROP, SL_NAME_REFUSE };

/* For a name with an underscore: header_map decides, unless it is in forwarder_headers (of a
 * trusted peer; else NULL). */
enum sl_name_verdict sl_name_judge_underscore(const struct sl_str *name, enum sl_header_map map,
                                              const char *const *forwarder_headers);

/* False for names that are needed before the content or decide about it (RFC 9110 section 6.5.1).
 */
bool sl_name_may_trail(const struct sl_str *name);

/* False for names that say how long a message is or what becomes of the connection: an interim
 * response has no content and ends nothing (RFC 9110 sections 8.6 and 15.2, RFC 9112 section 6.1).
 */
bool sl_name_may_be_interim(const struct sl_str *name);

#endif
