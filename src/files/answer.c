/* The answer that sends a file (RFC 9110 sections 13 to 15). */
#include "files/answer.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <saola/status.h>
#include "files/range.h"
#include "files/validator.h"
#include "http/text.h"

/* A header; what the application has said already stays. */
static int
put(struct sl_response *res, const struct sl_file_answer *answer, const char *name,
    const char *value, size_t len)
{
    if (answer->given && sl_response_has_header(res, name))
        return SL_OK;
    return sl_response_header(res, name, strlen(name), value, len);
}

__attribute__((format(printf, 4, 5))) static int
put_format(struct sl_response *res, const struct sl_file_answer *answer, const char *name,
           const char *format, ...)
{
    char value[80];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(value, sizeof value, format, args);
    va_end(args);
    return put(res, answer, name, value, (size_t)n);
}

static int
put_head(struct sl_response *res, const struct sl_file_answer *answer,
         const struct sl_validator *validator)
{
    char date[SL_DATE_LEN + 1];
    sl_http_date((time_t)validator->modified, date);
    if (put(res, answer, "Last-Modified", date, SL_DATE_LEN) < 0 ||
        put(res, answer, "ETag", validator->tag, validator->tag_len) < 0 ||
        put(res, answer, "Accept-Ranges", "bytes", 5) < 0)
        return SL_ENOMEM;
    if (answer->vary && put(res, answer, "Vary", "Accept-Encoding", 15) < 0)
        return SL_ENOMEM;
    if (answer->max_age_s > 0 &&
        put_format(res, answer, "Cache-Control", "public, max-age=%" PRIu32, answer->max_age_s) < 0)
        return SL_ENOMEM;
    return SL_OK;
}

static int
put_content(struct sl_response *res, const struct sl_file_answer *answer)
{
    if (put(res, answer, "Content-Type", answer->type, strlen(answer->type)) < 0)
        return SL_ENOMEM;
    if (!answer->given && put(res, answer, "X-Content-Type-Options", "nosniff", 7) < 0)
        return SL_ENOMEM;
    if (*answer->coding != '\0' &&
        put(res, answer, "Content-Encoding", answer->coding, strlen(answer->coding)) < 0)
        return SL_ENOMEM;
    return SL_OK;
}

static int
put_status(struct sl_response *res, const struct sl_file_answer *answer, const char *status)
{
    size_t len = strlen(status);
    return answer->given ? sl_response_set_status(res, status, len)
                         : sl_response_start(res, status, len);
}

static int
answer_without_body(struct sl_response *res, const struct sl_file_answer *answer,
                    const struct sl_validator *validator, const char *status)
{
    int rc = put_status(res, answer, status);
    if (rc == SL_OK)
        rc = put_head(res, answer, validator);
    return rc < 0 ? rc : sl_response_end(res);
}

static bool
is_method(const struct sl_request *req, const char *method)
{
    return req->method.len == strlen(method) &&
           memcmp(req->method.ptr, method, req->method.len) == 0;
}

/* Whether preconditions and ranges are ours to look at: of what the application answers, 200 to GET
 * and HEAD only, and only if the state of the file is the state of the answer. */
static bool
is_conditional(const struct sl_request *req, const struct sl_response *res,
               const struct sl_file_answer *answer)
{
    if (!is_method(req, "GET") && !is_method(req, "HEAD"))
        return false;
    return !answer->given ||
           (sl_response_status(res) == 200 && !sl_response_has_header(res, "ETag") &&
            !sl_response_has_header(res, "Last-Modified"));
}

static enum sl_range
range_of(struct sl_request *req, const struct sl_validator *validator, uint64_t size, int64_t now,
         uint64_t *ret_first, uint64_t *ret_length)
{
    const struct sl_header *field = sl_request_header(req, "Range");
    *ret_first = 0;
    *ret_length = size;
    /* Defined for GET only. */
    if (field == NULL || !is_method(req, "GET") || !sl_validator_allows_range(validator, req, now))
        return SL_RANGE_NONE;
    return sl_range_parse(field->value.ptr, field->value.len, size, ret_first, ret_length);
}

/* Takes over the descriptor only when it comes to the body: *ret_sent. */
static int
answer(struct sl_request *req, struct sl_response *res, int fd, uint64_t size,
       const struct sl_file_answer *how, const struct sl_validator *validator, int64_t now,
       bool *ret_sent)
{
    uint64_t first = 0, length = size;
    enum sl_range range = SL_RANGE_NONE;
    if (is_conditional(req, res, how)) {
        enum sl_precondition precondition = sl_validator_check(validator, req, now);
        if (precondition == SL_PRECONDITION_NOT_MODIFIED)
            return answer_without_body(res, how, validator, "304 Not Modified");
        if (precondition == SL_PRECONDITION_FAILED)
            return answer_without_body(res, how, validator, "412 Precondition Failed");
        range = range_of(req, validator, size, now, &first, &length);
    }
    int rc = SL_OK;
    if (range == SL_RANGE_UNSATISFIABLE) {
        rc = put_status(res, how, "416 Range Not Satisfiable");
        if (rc == SL_OK)
            rc = put_format(res, how, "Content-Range", "bytes */%" PRIu64, size);
        return rc < 0 ? rc : sl_response_end(res);
    }
    if (range == SL_RANGE_ONE)
        rc = put_status(res, how, "206 Partial Content");
    else if (!how->given)
        rc = put_status(res, how, "200 OK");
    if (rc == SL_OK)
        rc = put_content(res, how);
    if (rc == SL_OK)
        rc = put_head(res, how, validator);
    if (rc == SL_OK && range == SL_RANGE_ONE)
        rc = put_format(res, how, "Content-Range", "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, first,
                        first + length - 1, size);
    if (rc < 0)
        return rc;
    *ret_sent = true;
    rc = sl_response_give_file(res, fd, (off_t)first, length);
    /* A client that has gone, or a file that was cut meanwhile: the connection tells. */
    return rc == SL_OK || rc == SL_ECLOSED ? sl_response_end(res) : rc;
}

int
sl_file_answer(struct sl_request *req, struct sl_response *res, int fd, const struct stat *status,
               const struct sl_file_answer *how, int64_t now)
{
    struct sl_validator validator;
    bool sent = false;
    sl_validator_init(&validator, status, how->coding, now);
    int rc = answer(req, res, fd, (uint64_t)status->st_size, how, &validator, now, &sent);
    if (!sent)
        close(fd);
    return rc;
}
