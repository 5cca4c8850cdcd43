/* Lines of the access log. The first byte chooses json, logfmt, all atoms, the input as format (if
 * it compiles) or the usual format; the rest stands in every place that a stranger fills. A line is
 * one line of printable UTF-8, whatever it was, and the usual format's own code writes what the
 * other writes. */
#include <string.h>
#include <saola/status.h>

#include "fuzz.h"
#include "http/access_format.h"

static const char all_atoms[] = "%(h)s %(l)s %(u)s %(t)s \"%(r)s\" %(s)s %(m)s %(U)s %(q)s %(H)s "
                                "%(b)s \"%(f)s\" \"%(a)s\" %(T)s "
                                "%(D)d %(L)s %(p)s %({x}i)s %({y}o)s";

static void
demand_printable(const uint8_t *s, size_t len)
{
    DEMAND(len > 0 && s[len - 1] == '\n');
    for (size_t i = 0; i + 1 < len;) {
        size_t more = s[i] < 0x80 ? 0 : s[i] < 0xe0 ? 1 : s[i] < 0xf0 ? 2 : 3;
        DEMAND(s[i] >= 0x20 && s[i] != 0x7f && (s[i] < 0x80 || (s[i] >= 0xc2 && s[i] <= 0xf4)));
        DEMAND(i + more + 1 < len);
        DEMAND(s[i] != 0xc2 || s[i + 1] >= 0xa0); /* no C1 */
        for (size_t k = 1; k <= more; k++)
            DEMAND((s[i + k] & 0xc0) == 0x80);
        i += more + 1;
    }
}

static void
demand_usual(const struct sl_access_entry *entry, const struct sl_buf *line)
{
    struct sl_access_clock clock = {0};
    struct sl_access_format *format = NULL;
    struct sl_buf other = SL_BUF_INIT;
    DEMAND(sl_access_format_new(SL_ACCESS_USUAL "%%", &format, NULL) == SL_OK);
    DEMAND(sl_access_format_line(format, entry, &clock, &other) == SL_OK);
    DEMAND(other.len == line->len + 1);
    DEMAND(memcmp(other.ptr, line->ptr, line->len - 1) == 0);
    sl_buf_release(&other);
    sl_access_format_free(format);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    enum { OWN = 3, USUAL = 4 };
    const uint8_t chosen = data[0] % 5;
    struct sl_str text = {(const char *)data + 1, size - 1};
    struct sl_peer peer = {.addr = "192.0.2.1"};
    struct sl_header headers[] = {
        {{"Authorization", 13}, text}, {{"User-Agent", 10}, text}, {{"Referer", 7}, text},
        {{"referer", 7}, text},        {{"X", 1}, text},
    };
    struct sl_request req = {.method = text,
                             .target = text,
                             .path = text,
                             .query = text,
                             .headers = headers,
                             .header_count = sizeof headers / sizeof headers[0],
                             .version_major = 1,
                             .peer = &peer};
    struct sl_access_entry entry = {.req = &req, .fields = text, .status = 200};
    struct sl_access_clock clock = {0};
    struct sl_access_format *format = NULL;
    struct sl_buf out = SL_BUF_INIT;
    char *own = strndup(text.ptr, text.len);
    DEMAND(own != NULL);
    const char *const formats[] = {"json", "logfmt", all_atoms, own, SL_ACCESS_USUAL};
    int rc = sl_access_format_new(formats[chosen], &format, NULL);
    DEMAND(rc == SL_OK || (chosen == OWN && rc == SL_EUNAVAILABLE));
    if (rc == SL_OK) {
        DEMAND(sl_access_format_line(format, &entry, &clock, &out) == SL_OK);
        if (chosen == USUAL)
            demand_usual(&entry, &out);
        if (chosen != OWN) /* there the format's own bytes are taken as they are */
            demand_printable((const uint8_t *)out.ptr, out.len);
    }
    sl_access_format_free(format);
    sl_buf_release(&out);
    free(own);
    return 0;
}
