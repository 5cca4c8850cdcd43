/* Dates, reason phrases, error pages and the checks of response fields. */
#include "http/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <saola/status.h>

#include "http/chars.h"

enum { SECONDS_PER_DAY = 86400 };

static char *
put2(char *p, unsigned value)
{
    p[0] = (char)('0' + value / 10);
    p[1] = (char)('0' + value % 10);
    return p + 2;
}

void
sl_http_date(time_t when, char out[SL_DATE_LEN + 1])
{
    static const char days[] = "ThuFriSatSunMonTueWed"; /* 1 January 1970 was a Thursday */
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    const int64_t last = INT64_C(253402300799); /* the end of 9999: years have four digits */

    int64_t t = (int64_t)when;
    t = t < 0 ? 0 : t > last ? last : t;
    unsigned day = (unsigned)(t / SECONDS_PER_DAY), second = (unsigned)(t % SECONDS_PER_DAY);

    /* Years that begin in March put the leap day at the end; 400 of them are 146,097 days. */
    unsigned shifted = day + 719468; /* days since 0000-03-01 */
    unsigned era = shifted / 146097, of_era = shifted % 146097;
    unsigned year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    unsigned of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    unsigned march_month = (5 * of_year + 2) / 153; /* 0 is March */
    unsigned month_day = of_year - (153 * march_month + 2) / 5 + 1;
    unsigned month = march_month < 10 ? march_month + 2 : march_month - 10; /* 0 is January */
    unsigned year = era * 400 + year_of_era + (month < 2);

    memcpy(out, days + 3 * (day % 7), 3);
    out[3] = ',';
    out[4] = ' ';
    put2(out + 5, month_day);
    out[7] = ' ';
    memcpy(out + 8, months + 3 * month, 3);
    out[11] = ' ';
    put2(out + 12, year / 100);
    put2(out + 14, year % 100);
    out[16] = ' ';
    put2(out + 17, second / 3600);
    out[19] = ':';
    put2(out + 20, second / 60 % 60);
    out[22] = ':';
    put2(out + 23, second % 60);
    memcpy(out + 25, " GMT", 5);
}

/* RFC 9110 section 15 and the IANA registry of status codes. */
const char *
sl_http_reason(int status)
{
    /* clang-format off */
    switch (status) {
    case 100: return "Continue";
    case 101: return "Switching Protocols";
    case 102: return "Processing";
    case 103: return "Early Hints";
    case 200: return "OK";
    case 201: return "Created";
    case 202: return "Accepted";
    case 203: return "Non-Authoritative Information";
    case 204: return "No Content";
    case 205: return "Reset Content";
    case 206: return "Partial Content";
    case 207: return "Multi-Status";
    case 208: return "Already Reported";
    case 226: return "IM Used";
    case 300: return "Multiple Choices";
    case 301: return "Moved Permanently";
    case 302: return "Found";
    case 303: return "See Other";
    case 304: return "Not Modified";
    case 305: return "Use Proxy";
    case 307: return "Temporary Redirect";
    case 308: return "Permanent Redirect";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 402: return "Payment Required";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 406: return "Not Acceptable";
    case 407: return "Proxy Authentication Required";
    case 408: return "Request Timeout";
    case 409: return "Conflict";
    case 410: return "Gone";
    case 411: return "Length Required";
    case 412: return "Precondition Failed";
    case 413: return "Content Too Large";
    case 414: return "URI Too Long";
    case 415: return "Unsupported Media Type";
    case 416: return "Range Not Satisfiable";
    case 417: return "Expectation Failed";
    case 418: return "I'm a Teapot";
    case 421: return "Misdirected Request";
    case 422: return "Unprocessable Content";
    case 423: return "Locked";
    case 424: return "Failed Dependency";
    case 425: return "Too Early";
    case 426: return "Upgrade Required";
    case 428: return "Precondition Required";
    case 429: return "Too Many Requests";
    case 431: return "Request Header Fields Too Large";
    case 451: return "Unavailable For Legal Reasons";
    case 500: return "Internal Server Error";
    case 501: return "Not Implemented";
    case 502: return "Bad Gateway";
    case 503: return "Service Unavailable";
    case 504: return "Gateway Timeout";
    case 505: return "HTTP Version Not Supported";
    case 506: return "Variant Also Negotiates";
    case 507: return "Insufficient Storage";
    case 508: return "Loop Detected";
    case 510: return "Not Extended";
    case 511: return "Network Authentication Required";
    default: return "Unknown";
    }
    /* clang-format on */
}

/* What c becomes in HTML text, or NULL for itself. */
static const char *
html_escape(char c)
{
    return c == '&' ? "&amp;" : c == '<' ? "&lt;" : c == '>' ? "&gt;" : NULL;
}

static size_t
escaped_length(const char *s)
{
    size_t len = 0;
    for (; *s != '\0'; s++) {
        const char *entity = html_escape(*s);
        len += entity != NULL ? strlen(entity) : 1;
    }
    return len;
}

static char *
put_escaped(char *p, const char *s)
{
    for (; *s != '\0'; s++) {
        const char *entity = html_escape(*s);
        if (entity == NULL)
            *p++ = *s;
        else
            p = stpcpy(p, entity);
    }
    return p;
}

int
sl_http_error_page(char *out, size_t capacity, int status, const char *sentence, int version_minor,
                   bool head_only, size_t *ret_len)
{
    static const char opening[] = "<!DOCTYPE html>\n<html>\n<head><title>";
    static const char middle[] = "</title></head>\n<body>\n<h1>";
    static const char closing[] = "</h1>\n<p>";
    static const char ending[] = "</p>\n</body>\n</html>\n";

    const char *reason = sl_http_reason(status);
    if (sentence == NULL)
        sentence = "";
    if (status < 100 || status > 999)
        return SL_EINVAL;
    /* The reason has no character that HTML would need escaped. */
    size_t body = sizeof opening - 1 + sizeof middle - 1 + sizeof closing - 1 + sizeof ending - 1 +
                  2 * strlen(reason) + escaped_length(sentence);
    int head = snprintf(out, capacity,
                        "HTTP/1.%d %d %s\r\nConnection: close\r\nContent-Type: text/html\r\n"
                        "Content-Length: %zu\r\n\r\n",
                        version_minor > 0 ? 1 : 0, status, reason, body);
    if (head < 0)
        return SL_EINVAL;
    size_t total = (size_t)head + (head_only ? 0 : body);
    if (total >= capacity) /* snprintf() needs room for its NUL */
        return SL_EINVAL;
    if (!head_only) {
        char *p = stpcpy(out + head, opening);
        p = stpcpy(p, reason);
        p = stpcpy(p, middle);
        p = stpcpy(p, reason);
        p = stpcpy(p, closing);
        p = put_escaped(p, sentence);
        stpcpy(p, ending);
    }
    *ret_len = total;
    return SL_OK;
}

bool
sl_http_is_token(const char *s, size_t len)
{
    const char *end = s + len, *p = sl_chars_skip_name(s, end);
    while (p < end && (sl_char_class(*p) & SL_CHAR_TOKEN))
        p++; /* an '_' stops the fast way */
    return len > 0 && p == end;
}

bool
sl_http_is_value(const char *s, size_t len)
{
    return sl_chars_skip_value(s, s + len) == s + len;
}
