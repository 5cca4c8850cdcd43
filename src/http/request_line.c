/* Parses method, target in its four forms, and version. */
#include "http/request_line.h"

#include "base/hints.h"
#include "http/chars.h"

enum { VERSION_LINE = 10 };               /* bytes of "HTTP/1.1" CR LF */
enum { MIN_METHOD = 3, MAX_METHOD = 20 }; /* gunicorn's rule, which fits every registered method */

static int
refuse(int status, const char *sentence, const char **ret_sentence)
{
    *ret_sentence = sentence;
    return -status;
}

/* ---- host ---------------------------------------------------------------------------------------
 */

static bool
port_is_valid(const char *p, const char *end)
{
    unsigned port = 0;
    while (end - p > 5 && *p == '0')
        p++;
    if (end - p > 5)
        return false;
    for (; p < end; p++) {
        unsigned digit = (unsigned char)*p - '0';
        if (digit > 9)
            return false;
        port = port * 10 + digit;
    }
    return port <= 65535; /* "host:" is allowed by the grammar */
}

/* RFC 3986 section 3.2.2, by the letters only: whoever uses the address will parse it. */
static const char *
skip_ip_literal(const char *p, const char *end)
{
    const char *first = ++p;
    while (p < end && ((sl_char_class(*p) & SL_CHAR_HOST) || *p == ':'))
        p++;
    return p < end && *p == ']' && p > first ? p + 1 : NULL;
}

static const char *
skip_reg_name(const char *p, const char *end)
{
    const char *first = p;
    for (;;) {
        while (end - p >= 4 && (sl_char_class(p[0]) & sl_char_class(p[1]) & sl_char_class(p[2]) &
                                sl_char_class(p[3]) & SL_CHAR_HOST))
            p += 4;
        while (p < end && (sl_char_class(*p) & SL_CHAR_HOST))
            p++;
        if (end - p >= 3 && *p == '%' && sl_char_hex(p[1]) >= 0 && sl_char_hex(p[2]) >= 0)
            p += 3;
        else
            break;
    }
    return p > first ? p : NULL;
}

bool
sl_host_is_valid(const char *s, size_t len)
{
    const char *end = s + len;
    if (len == 0)
        return false;
    const char *p = *s == '[' ? skip_ip_literal(s, end) : skip_reg_name(s, end);
    if (p == NULL)
        return false;
    return p == end || (*p == ':' && port_is_valid(p + 1, end));
}

/* ---- target -------------------------------------------------------------------------------------
 */

/* The target with the places where its parts end. */
struct target {
    const char *start, *end;
    const char *question; /* first '?' before any '#', or NULL */
    const char *hash;     /* first '#', or NULL */
};

/* Reads up to the first byte that no target may hold, normally the space behind it. */
static inline char *
scan_target(char *p, char *end, struct target *target)
{
    target->start = p;
    target->question = target->hash = NULL;
    for (;;) {
        p += sl_chars_skip_target(p, end) - p;
        while (p < end && (sl_char_class(*p) & SL_CHAR_TARGET))
            p++;
        if (SL_UNLIKELY(p == end))
            break;
        if (*p == ' ') /* as most often */
            break;
        if (*p == '?') {
            if (target->question == NULL && target->hash == NULL)
                target->question = p;
        } else if (*p == '#') {
            if (target->hash == NULL)
                target->hash = p;
        } else {
            break;
        }
        p++;
    }
    target->end = p;
    return p;
}

/* Path and query of a target whose path starts at path. */
static void
split(const struct target *target, const char *path, struct sl_request *req)
{
    const char *end = target->hash != NULL ? target->hash : target->end;
    req->query = (struct sl_str){NULL, 0};
    if (target->question != NULL) {
        req->query = (struct sl_str){target->question + 1, (size_t)(end - target->question - 1)};
        end = target->question;
    }
    req->path = (struct sl_str){path, (size_t)(end - path)};
    if (path == end)
        req->path = (struct sl_str){"/", 1};
}

/* scheme "://" authority [path] ["?" query]; false if it is anything else. */
static bool
split_absolute(const struct target *target, struct sl_request *req, struct sl_str *ret_authority)
{
    const char *p = target->start, *end = target->end;
    char first = (char)(*p | 0x20);
    if (first < 'a' || first > 'z')
        return false;
    while (p < end && ((sl_char_class(*p) & SL_CHAR_HEX) || *p == '+' || *p == '-' || *p == '.' ||
                       ((*p | 0x20) >= 'a' && (*p | 0x20) <= 'z')))
        p++;
    if (end - p < 3 || memcmp(p, "://", 3) != 0)
        return false;
    const char *authority = p += 3;
    while (p < end && *p != '/' && *p != '?' && *p != '#')
        p++;
    if (!sl_host_is_valid(authority, (size_t)(p - authority)))
        return false;
    *ret_authority = (struct sl_str){authority, (size_t)(p - authority)};
    split(target, p, req);
    return true;
}

/* CONNECT: uri-host ":" port, the port not left out (RFC 9112 section 3.2.3). */
static bool
authority_is_valid(const struct target *target)
{
    size_t len = (size_t)(target->end - target->start);
    if (!sl_host_is_valid(target->start, len))
        return false;
    const char *colon = memrchr(target->start, ':', len);
    return colon != NULL && sl_char_is_digit(target->end[-1]);
}

static bool
is_method(const struct sl_str *method, const char *name)
{
    return method->len == strlen(name) && memcmp(method->ptr, name, method->len) == 0;
}

/* Sets path and query by the form of the target (RFC 9112 section 3.2); NULL or what is wrong. */
static const char *
take_form(const struct target *target, struct sl_request *req, struct sl_str *ret_authority)
{
    *ret_authority = (struct sl_str){NULL, 0};
    if (SL_UNLIKELY(is_method(&req->method, "CONNECT"))) {
        if (!authority_is_valid(target))
            return "CONNECT needs a target of the form host:port.";
        req->path = (struct sl_str){target->end, 0};
        req->query = (struct sl_str){NULL, 0};
        return NULL;
    }
    if (SL_LIKELY(*target->start == '/')) {
        split(target, target->start, req);
        return NULL;
    }
    if (*target->start == '*' && target->end - target->start == 1) {
        if (!is_method(&req->method, "OPTIONS"))
            return "The target * is for OPTIONS only.";
        split(target, target->start, req);
        return NULL;
    }
    if (!split_absolute(target, req, ret_authority))
        return "The request target is neither a path nor an absolute URI.";
    return NULL;
}

/* ---- line ---------------------------------------------------------------------------------------
 */

static const char *
check_method(char *method, size_t len, unsigned classes, const struct sl_http_limits *limits)
{
    if (!limits->permit_unconventional_method) {
        if (classes & (SL_CHAR_LOWER | SL_CHAR_HASH))
            return "The request method has characters that no registered method has.";
        if (len < MIN_METHOD || len > MAX_METHOD)
            return "The length of the request method is not between 3 and 20.";
    }
    if (limits->casefold_method && (classes & SL_CHAR_LOWER)) {
        for (size_t i = 0; i < len; i++) {
            if (sl_char_class(method[i]) & SL_CHAR_LOWER)
                method[i] = (char)(method[i] - 'a' + 'A');
        }
    }
    return NULL;
}

/* HTTP-version and CRLF. 0 or minus a status. */
static int
take_version(const char *p, const char *end, const struct sl_http_limits *limits,
             struct sl_request *req, const char **ret_sentence)
{
    if (SL_LIKELY(end - p >= VERSION_LINE && memcmp(p, "HTTP/1.1\r\n", VERSION_LINE) == 0)) {
        req->version_major = req->version_minor = 1; /* as most often */
        return 0;
    }
    if (end - p < VERSION_LINE || memcmp(p, "HTTP/", 5) != 0 || !sl_char_is_digit(p[5]) ||
        p[6] != '.' || !sl_char_is_digit(p[7]) || p[8] != '\r' || p[9] != '\n')
        return refuse(400, "The request line does not end in an HTTP version and CR LF.",
                      ret_sentence);
    req->version_major = (uint8_t)(p[5] - '0');
    req->version_minor = (uint8_t)(p[7] - '0');
    /* A higher minor version may be processed as the one we speak (RFC 9110 section 6.2). */
    if (req->version_major != 1 && !limits->permit_unconventional_version)
        return refuse(505, "Only HTTP/1 is spoken here.", ret_sentence);
    return 0;
}

int
sl_request_line_parse(char *p, char *end, const struct sl_http_limits *limits,
                      struct sl_request *req, struct sl_str *ret_authority, char **ret_next,
                      const char **ret_sentence)
{
    char *method = p;
    unsigned classes = 0, class;
    bool is_get = end - p >= 4 && sl_chars_load_4(p) == sl_chars_load_4("GET ");
    if (SL_LIKELY(is_get)) /* as most often */
        p += 3;
    while (SL_UNLIKELY(!is_get) && p < end && ((class = sl_char_class(*p)) & SL_CHAR_TOKEN)) {
        classes |= class;
        p++;
    }
    if (SL_UNLIKELY(p == end))
        return 0;
    if (*p != ' ' || p == method)
        return refuse(400, "The request line does not begin with a method and a space.",
                      ret_sentence);
    size_t method_len = (size_t)(p - method);
    struct target target;
    p = scan_target(p + 1, end, &target);
    if (SL_UNLIKELY(p == end))
        return 0;
    if (*p != ' ' || target.start == target.end)
        return refuse(400,
                      "The request line is not method, target and version with one space each.",
                      ret_sentence);
    const char *version = ++p;
    if (SL_UNLIKELY(end - p < VERSION_LINE) && memchr(p, '\n', (size_t)(end - p)) == NULL)
        return 0;

    struct sl_request line;
    const char *sentence = is_get ? NULL : check_method(method, method_len, classes, limits);
    if (sentence != NULL)
        return refuse(400, sentence, ret_sentence);
    line.method = (struct sl_str){method, method_len};
    line.target = (struct sl_str){target.start, (size_t)(target.end - target.start)};
    sentence = take_form(&target, &line, ret_authority);
    if (sentence != NULL)
        return refuse(400, sentence, ret_sentence);
    int rc = take_version(version, end, limits, &line, ret_sentence);
    if (rc < 0)
        return rc;
    req->method = line.method;
    req->target = line.target;
    req->path = line.path;
    req->query = line.query;
    req->version_major = line.version_major;
    req->version_minor = line.version_minor;
    *ret_next = p + VERSION_LINE;
    return 1;
}
