/* Entity tags, modification times and preconditions (RFC 9110 sections 8.8 and 13). */
#include "files/validator.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "files/date.h"
#include "http/chars.h"

enum { YOUNG_SECONDS = 2 };

void
sl_validator_init(struct sl_validator *validator, const struct stat *status, const char *coding,
                  int64_t now)
{
    int64_t modified = (int64_t)status->st_mtim.tv_sec;
    unsigned long long ns =
        (unsigned long long)modified * 1000000000u + (unsigned long long)status->st_mtim.tv_nsec;
    validator->strong = now - modified >= YOUNG_SECONDS;
    validator->modified = modified < now ? modified : now;
    if (validator->modified < 0)
        validator->modified = 0;
    int n = snprintf(validator->tag, sizeof validator->tag, "%s\"%llx-%llx%s%s\"",
                     validator->strong ? "" : "W/", ns, (unsigned long long)status->st_size,
                     *coding != '\0' ? "-" : "", coding);
    validator->tag_len = (size_t)n;
}

/* One entity tag at *at, section 8.8.3; *at is behind it. False for anything else. */
static bool
take_tag(const char **at, const char *end, const char **ret_tag, size_t *ret_len, bool *ret_weak)
{
    const char *p = *at;
    *ret_weak = end - p >= 2 && p[0] == 'W' && p[1] == '/';
    if (*ret_weak)
        p += 2;
    if (p == end || *p != '"')
        return false;
    const char *quote = memchr(p + 1, '"', (size_t)(end - p - 1));
    if (quote == NULL)
        return false;
    *ret_tag = p;
    *ret_len = (size_t)(quote + 1 - p);
    *at = quote + 1;
    return true;
}

static bool
is_ours(const struct sl_validator *validator, const char *tag, size_t len)
{
    size_t prefix = validator->strong ? 0 : 2;
    return len == validator->tag_len - prefix && memcmp(tag, validator->tag + prefix, len) == 0;
}

bool
sl_validator_in_list(const struct sl_validator *validator, const char *list, size_t len, bool weak)
{
    const char *p = list, *end = list + len;
    if (len == 1 && *list == '*')
        return true;
    while (p < end) {
        const char *tag;
        size_t tag_len;
        bool is_weak;
        if (sl_char_is_space(*p) || *p == ',') {
            p++;
            continue;
        }
        if (!take_tag(&p, end, &tag, &tag_len, &is_weak))
            return false;
        if (is_ours(validator, tag, tag_len) && (weak || (!is_weak && validator->strong)))
            return true;
    }
    return false;
}

/* What If-Match and If-None-Match say, which may come on several lines (section 5.3). */
enum list { ABSENT, WITHOUT, WITH };

static enum list
lists_of(const struct sl_validator *validator, const struct sl_request *req, const char *name,
         bool weak)
{
    enum list result = ABSENT;
    size_t len = strlen(name);
    for (size_t i = 0; i < req->header_count && result != WITH; i++) {
        const struct sl_header *h = &req->headers[i];
        if (h->name.len != len || strncasecmp(h->name.ptr, name, len) != 0)
            continue;
        bool in = sl_validator_in_list(validator, h->value.ptr, h->value.len, weak);
        result = in ? WITH : WITHOUT;
    }
    return result;
}

/* A date field that is there and readable: true. */
static bool
date_of(const struct sl_request *req, const char *name, int64_t now, int64_t *ret_date)
{
    const struct sl_header *field = sl_request_header(req, name);
    if (field == NULL)
        return false;
    *ret_date = sl_http_date_parse(field->value.ptr, field->value.len, now);
    return *ret_date >= 0;
}

enum sl_precondition
sl_validator_check(const struct sl_validator *validator, const struct sl_request *req, int64_t now)
{
    int64_t date;
    enum list match = lists_of(validator, req, "If-Match", false);
    if (match == WITHOUT)
        return SL_PRECONDITION_FAILED;
    if (match == ABSENT && date_of(req, "If-Unmodified-Since", now, &date) &&
        validator->modified > date)
        return SL_PRECONDITION_FAILED;
    enum list none = lists_of(validator, req, "If-None-Match", true);
    if (none == WITH)
        return SL_PRECONDITION_NOT_MODIFIED;
    if (none == ABSENT && date_of(req, "If-Modified-Since", now, &date) &&
        validator->modified <= date)
        return SL_PRECONDITION_NOT_MODIFIED;
    return SL_PRECONDITION_NONE;
}

bool
sl_validator_allows_range(const struct sl_validator *validator, const struct sl_request *req,
                          int64_t now)
{
    const struct sl_header *field = sl_request_header(req, "If-Range");
    if (field == NULL)
        return true;
    const char *p = field->value.ptr, *end = p + field->value.len, *tag;
    size_t len;
    bool weak;
    if (take_tag(&p, end, &tag, &len, &weak))
        return p == end && !weak && validator->strong && is_ours(validator, tag, len);
    /* A date is strong only for a file that has been left alone for a while. */
    int64_t date = sl_http_date_parse(field->value.ptr, field->value.len, now);
    return validator->strong && date == validator->modified;
}
