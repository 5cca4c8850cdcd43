/* HTTP dates as clients send them (RFC 9110 section 5.6.7). */
#include "files/date.h"

#include <stdbool.h>
#include <string.h>
#include <time.h>

#include "http/chars.h"

static const char days[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
static const char *const long_days[7] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                         "Thursday", "Friday", "Saturday"};
static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                   "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

/* What has been read of the text. ok turns false at the first thing that does not fit. */
struct reader {
    const char *at, *end;
    bool ok;
};

static void
literal(struct reader *r, const char *text)
{
    size_t len = strlen(text);
    r->ok = r->ok && (size_t)(r->end - r->at) >= len && memcmp(r->at, text, len) == 0;
    if (r->ok)
        r->at += len;
}

static int
number(struct reader *r, int digits)
{
    int n = 0;
    for (int i = 0; i < digits; i++) {
        r->ok = r->ok && r->at < r->end && sl_char_is_digit(*r->at);
        if (!r->ok)
            return 0;
        n = n * 10 + (*r->at++ - '0');
    }
    return n;
}

/* One of the names of three letters. */
static int
name(struct reader *r, const char names[][4], int count)
{
    for (int i = 0; r->ok && r->end - r->at >= 3 && i < count; i++) {
        if (memcmp(r->at, names[i], 3) == 0) {
            r->at += 3;
            return i;
        }
    }
    r->ok = false;
    return 0;
}

static void
clock_time(struct reader *r, struct tm *tm)
{
    tm->tm_hour = number(r, 2);
    literal(r, ":");
    tm->tm_min = number(r, 2);
    literal(r, ":");
    tm->tm_sec = number(r, 2);
}

/* "Sun, 06 Nov 1994 08:49:37 GMT" */
static void
imf_fixdate(struct reader *r, struct tm *tm)
{
    tm->tm_wday = name(r, days, 7);
    literal(r, ", ");
    tm->tm_mday = number(r, 2);
    literal(r, " ");
    tm->tm_mon = name(r, months, 12);
    literal(r, " ");
    tm->tm_year = number(r, 4) - 1900;
    literal(r, " ");
    clock_time(r, tm);
    literal(r, " GMT");
}

/* "Sunday, 06-Nov-94 08:49:37 GMT" */
static void
rfc_850(struct reader *r, struct tm *tm, int64_t now)
{
    struct tm today;
    time_t second = (time_t)now;
    gmtime_r(&second, &today);
    for (int i = 0; i < 7; i++) {
        size_t len = strlen(long_days[i]);
        if ((size_t)(r->end - r->at) > len && memcmp(r->at, long_days[i], len) == 0) {
            tm->tm_wday = i;
            r->at += len;
            break;
        }
    }
    literal(r, ", ");
    tm->tm_mday = number(r, 2);
    literal(r, "-");
    tm->tm_mon = name(r, months, 12);
    literal(r, "-");
    tm->tm_year = today.tm_year / 100 * 100 + number(r, 2);
    if (tm->tm_year > today.tm_year + 50)
        tm->tm_year -= 100;
    literal(r, " ");
    clock_time(r, tm);
    literal(r, " GMT");
}

/* "Sun Nov  6 08:49:37 1994" */
static void
asctime_date(struct reader *r, struct tm *tm)
{
    tm->tm_wday = name(r, days, 7);
    literal(r, " ");
    tm->tm_mon = name(r, months, 12);
    literal(r, " ");
    if (r->at < r->end && *r->at == ' ') {
        r->at++;
        tm->tm_mday = number(r, 1);
    } else {
        tm->tm_mday = number(r, 2);
    }
    literal(r, " ");
    clock_time(r, tm);
    literal(r, " ");
    tm->tm_year = number(r, 4) - 1900;
}

int64_t
sl_http_date_parse(const char *text, size_t len, int64_t now)
{
    struct reader r = {text, text + len, true};
    struct tm tm = {0};
    if (len > 3 && text[3] == ',')
        imf_fixdate(&r, &tm);
    else if (len > 3 && text[3] == ' ')
        asctime_date(&r, &tm);
    else
        rfc_850(&r, &tm, now);
    if (!r.ok || r.at != r.end || tm.tm_mday < 1 || tm.tm_mday > 31 || tm.tm_hour > 23 ||
        tm.tm_min > 59 || tm.tm_sec > 60 || tm.tm_year < 70)
        return -1;
    return (int64_t)timegm(&tm);
}
