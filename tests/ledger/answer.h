/* One HTTP/1.1 answer of known length, read strictly and piece by piece. */
#ifndef SL_TEST_LEDGER_ANSWER_H
#define SL_TEST_LEDGER_ANSWER_H

#include <stdbool.h>
#include <stddef.h>

enum { ANSWER_FIRST = 256 };

/* Zeroed at the start of each answer. */
struct answer {
    bool in_body;
    bool closes;    /* "Connection: close" */
    bool filled;    /* a byte behind the first line is not the filler 'x' */
    bool has_first; /* the first line is whole */
    int status;
    size_t length; /* Content-Length */
    size_t left;
    size_t first_len;
    char first[ANSWER_FIRST]; /* first line of the body, without its LF; NUL behind */
};

/* Takes bytes of the answer. *ret_used says how many; the rest is to be offered again with more
 * behind it, or belongs to the next answer.
 *
 * 1: the answer is whole. 0: it goes on. -1: this is no answer, *ret_why says why. */
int answer_take(struct answer *answer, const char *data, size_t len, size_t *ret_used,
                const char **ret_why);

#endif
