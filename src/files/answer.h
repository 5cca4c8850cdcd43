/* The answer that sends a file: preconditions, range, head, body. */
#ifndef SL_FILES_ANSWER_H
#define SL_FILES_ANSWER_H

#include <saola/http.h>
#include <sys/stat.h>

struct sl_file_answer {
    const char *type;   /* Content-Type */
    const char *coding; /* Content-Encoding; "" is none */
    bool vary;          /* another coding may be sent to another client */
    bool given;         /* the application has made a head already: what it says is kept */
    uint32_t max_age_s; /* Cache-Control; 0: none */
};

/* Answers a GET or HEAD with the regular file fd, which is closed; status is fstat()'s. now:
 * seconds since 1970. 0, or negative: the response has to be failed. */
int sl_file_answer(struct sl_request *req, struct sl_response *res, int fd,
                   const struct stat *status, const struct sl_file_answer *answer, int64_t now);

#endif
