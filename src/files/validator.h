/* What tells one state of a file from another: entity tag and modification time (RFC 9110 section
 * 8.8), and the preconditions that clients make of them (section 13). */
#ifndef SL_FILES_VALIDATOR_H
#define SL_FILES_VALIDATOR_H

#include <saola/http.h>
#include <sys/stat.h>

struct sl_validator {
    char tag[56]; /* with its quotes, and W/ where it is weak; not NUL-terminated */
    size_t tag_len;
    int64_t modified; /* seconds since 1970; never in the future */
    bool strong;
};

/* From the time of the last change, to the nanosecond, the size, and the coding ("" or "br", ...).
 * Weak while the file is so young that it may change once more within one tick of its clock. now:
 * seconds since 1970. */
void sl_validator_init(struct sl_validator *validator, const struct stat *status,
                       const char *coding, int64_t now);

enum sl_precondition {
    SL_PRECONDITION_NONE,         /* answer as asked */
    SL_PRECONDITION_NOT_MODIFIED, /* 304 */
    SL_PRECONDITION_FAILED,       /* 412 */
};

/* If-Match, If-Unmodified-Since, If-None-Match, If-Modified-Since in the order of section 13.2.2,
 * for GET and HEAD. */
enum sl_precondition sl_validator_check(const struct sl_validator *validator,
                                        const struct sl_request *req, int64_t now);

/* Whether a Range field counts: there is no If-Range, or it names the state that we have. */
bool sl_validator_allows_range(const struct sl_validator *validator, const struct sl_request *req,
                               int64_t now);

/* Whether list, the value of If-Match or If-None-Match, has the tag or is "*". weak: compared as
 * section 8.8.3.2 says for If-None-Match. A malformed rest of the list has nothing. */
bool sl_validator_in_list(const struct sl_validator *validator, const char *list, size_t len,
                          bool weak);

#endif
