/* Reads answers (RFC 9112, sections 4 and 6): what a careful client would refuse is refused. */
#include "answer.h"

#include <string.h>
#include <strings.h>

static bool
is_token(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (text[i] <= ' ' || text[i] >= 127 || strchr("\"(),/:;<=>?@[\\]{}", text[i]) != NULL)
            return false;
    return len > 0;
}

static bool
is_digits(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (text[i] < '0' || text[i] > '9')
            return false;
    return len > 0 && len < 16;
}

static size_t
number(const char *text, size_t len)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++)
        n = n * 10 + (size_t)(text[i] - '0');
    return n;
}

static bool
is_name(const char *name, size_t len, const char *wanted)
{
    return len == strlen(wanted) && strncasecmp(name, wanted, len) == 0;
}

static const char *
take_field(struct answer *answer, const char *line, size_t len, bool *has_length)
{
    const char *colon = memchr(line, ':', len);
    if (colon == NULL || !is_token(line, (size_t)(colon - line)))
        return "a line of the head is no field";
    size_t name_len = (size_t)(colon - line);
    const char *value = colon + 1, *end = line + len;
    while (value < end && (*value == ' ' || *value == '\t'))
        value++;
    while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    size_t value_len = (size_t)(end - value);
    if (is_name(line, name_len, "content-length")) {
        if (*has_length || !is_digits(value, value_len))
            return "Content-Length twice, or no number";
        *has_length = true;
        answer->length = answer->left = number(value, value_len);
    } else if (is_name(line, name_len, "transfer-encoding")) {
        return "Transfer-Encoding, where a length was given";
    } else if (is_name(line, name_len, "connection")) {
        answer->closes = is_name(value, value_len, "close");
    }
    return NULL;
}

/* head: with the empty line at its end. */
static const char *
take_head(struct answer *answer, const char *head, size_t len)
{
    if (len < 13 || memcmp(head, "HTTP/1.1 ", 9) != 0 || !is_digits(head + 9, 3) || head[12] != ' ')
        return "no status line";
    answer->status = (int)number(head + 9, 3);
    bool has_length = false;
    const char *end = head + len - 2;
    for (const char *line = head; line < end;) {
        const char *next = memchr(line, '\n', (size_t)(end - line));
        if (next == NULL || next == line || next[-1] != '\r')
            return "a line of the head does not end in CR LF";
        if (line != head) {
            const char *why = take_field(answer, line, (size_t)(next - 1 - line), &has_length);
            if (why != NULL)
                return why;
        }
        line = next + 1;
    }
    return has_length ? NULL : "no Content-Length";
}

static void
take_body(struct answer *answer, const char *data, size_t len)
{
    while (len > 0 && !answer->has_first && answer->first_len < ANSWER_FIRST - 1) {
        if (*data == '\n')
            answer->has_first = true;
        else
            answer->first[answer->first_len++] = *data;
        data++;
        len--;
    }
    answer->first[answer->first_len] = '\0';
    for (size_t i = 0; i < len; i++)
        if (data[i] != 'x')
            answer->filled = true;
}

int
answer_take(struct answer *answer, const char *data, size_t len, size_t *ret_used,
            const char **ret_why)
{
    size_t used = 0;
    if (!answer->in_body) {
        const char *end = memmem(data, len, "\r\n\r\n", 4);
        if (end == NULL) {
            *ret_used = 0;
            return 0;
        }
        used = (size_t)(end + 4 - data);
        const char *why = take_head(answer, data, used);
        if (why != NULL) {
            *ret_why = why;
            return -1;
        }
        answer->in_body = true;
    }
    size_t part = len - used < answer->left ? len - used : answer->left;
    take_body(answer, data + used, part);
    answer->left -= part;
    *ret_used = used + part;
    return answer->left == 0;
}
