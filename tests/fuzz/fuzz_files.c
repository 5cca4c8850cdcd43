/* Texts of requests for files. The first byte chooses: path, range, date, encodings, tags. */
#include <string.h>
#include <saola/status.h>

#include "files/date.h"
#include "files/encoding.h"
#include "files/path.h"
#include "files/range.h"
#include "files/validator.h"
#include "fuzz.h"
#include "http/text.h"

/* The validator's file asks for header fields; none of its functions that do are fuzzed. */
const struct sl_header *
sl_request_header(const struct sl_request *req, const char *name)
{
    (void)req;
    (void)name;
    return NULL;
}

static void
check_path(const char *text, size_t len)
{
    char out[SL_FILE_PATH_MAX];
    size_t n;
    if (sl_file_path_decode(text, len, out, &n) != SL_OK)
        return;
    DEMAND(out[0] == '/' && strlen(out) == n && n < SL_FILE_PATH_MAX);
    DEMAND(strstr(out, "//") == NULL && strstr(out, "/../") == NULL && strstr(out, "/./") == NULL);
    const char *hidden = strstr(out, "/.");
    DEMAND(hidden == NULL || (hidden == out && strncmp(out, "/.well-known", 12) == 0));
}

static void
check_range(const char *text, size_t len)
{
    uint64_t first = 0, length = 0;
    static const uint64_t sizes[] = {0, 1, 10, 1000000, UINT64_MAX};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        if (sl_range_parse(text, len, sizes[i], &first, &length) != SL_RANGE_ONE)
            continue;
        DEMAND(length > 0 && first < sizes[i] && length <= sizes[i] - first);
    }
}

static void
check_date(const char *text, size_t len)
{
    char back[SL_DATE_LEN + 1];
    int64_t when = sl_http_date_parse(text, len, 1795000000);
    DEMAND(when >= -1);
    if (when < 0)
        return;
    sl_http_date((time_t)when, back); /* and read again it is the same */
    DEMAND(sl_http_date_parse(back, SL_DATE_LEN, 1795000000) == when || when > 253402300799);
}

static void
check_encoding(const char *text, size_t len)
{
    DEMAND(sl_encoding_weight(text, len, "gzip") <= 1000);
    DEMAND(sl_encoding_weight(text, len, "br") <= 1000);
}

static void
check_tags(const char *text, size_t len)
{
    struct sl_validator validator;
    struct stat status = {.st_size = 16, .st_mtim = {.tv_sec = 1, .tv_nsec = 5}};
    sl_validator_init(&validator, &status, "", 1000000);
    bool strong = sl_validator_in_list(&validator, text, len, false);
    DEMAND(!strong || sl_validator_in_list(&validator, text, len, true));
    DEMAND(!strong || len == 1 || memmem(text, len, validator.tag, validator.tag_len) != NULL);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const checks[])(const char *, size_t) = {check_path, check_range, check_date,
                                                           check_encoding, check_tags};
    if (size == 0)
        return 0;
    char *text = malloc(size);
    DEMAND(text != NULL);
    memcpy(text, data + 1, size - 1);
    checks[data[0] % 5](text, size - 1);
    free(text);
    return 0;
}
