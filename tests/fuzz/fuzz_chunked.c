/* Chunked bodies. Demanded: the same body, end and complaint whole, byte by byte and in pieces; a
 * body that was accepted has as many bytes as its chunk lines say and comes out again when it is
 * encoded anew. */
#include <string.h>

#include "fuzz.h"
#include "http/chunked.h"

enum { MAX_INPUT = 8192 };

struct outcome {
    enum sl_chunked_event event;
    const char *sentence;
    size_t used, body_len;
    char body[MAX_INPUT];
};

static void
decode(const char *text, size_t size, size_t most, struct outcome *out)
{
    struct sl_chunked decoder;
    sl_chunked_init(&decoder);
    *out = (struct outcome){.event = SL_CHUNKED_MORE};
    uint64_t seed = 88172645463325252u + size;
    for (size_t done = 0; done < size && out->event == SL_CHUNKED_MORE;) {
        size_t n = most == 0 ? size - done : most == 1 ? 1 : fuzz_piece(&seed, size - done);
        char *piece = malloc(n);
        DEMAND(piece != NULL);
        memcpy(piece, text + done, n);
        size_t at = 0;
        do {
            size_t used, len;
            const char *data;
            out->event =
                sl_chunked_next(&decoder, piece + at, n - at, &used, &data, &len, &out->sentence);
            DEMAND(used <= n - at);
            at += used;
            if (out->event == SL_CHUNKED_DATA) {
                DEMAND(len > 0 && len <= used && data + len == piece + at);
                memcpy(out->body + out->body_len, data, len);
                out->body_len += len;
            }
        } while (out->event == SL_CHUNKED_DATA);
        DEMAND(out->event != SL_CHUNKED_MORE || at == n);
        done += n;
        out->used += at;
        free(piece);
    }
}

static void
demand_same(const struct outcome *a, const struct outcome *b)
{
    DEMAND(a->event == b->event && a->used == b->used && a->sentence == b->sentence);
    DEMAND(a->body_len == b->body_len && memcmp(a->body, b->body, a->body_len) == 0);
}

static void
demand_stable(const struct outcome *o)
{
    static char text[MAX_INPUT * 2];
    static struct outcome again;
    size_t half = o->body_len / 2, rest = o->body_len - half, len = 0;
    const size_t sizes[] = {half, rest};
    const char *body = o->body;
    for (size_t i = 0; i < 2; i++) {
        if (sizes[i] == 0)
            continue;
        len += (size_t)sprintf(text + len, "%zX\r\n", sizes[i]);
        memcpy(text + len, body, sizes[i]);
        memcpy(text + len + sizes[i], "\r\n", 2);
        len += sizes[i] + 2;
        body += sizes[i];
    }
    len += (size_t)sprintf(text + len, "0\r\n");
    decode(text, len, 0, &again);
    DEMAND(again.event == SL_CHUNKED_TRAILERS && again.used == len);
    DEMAND(again.body_len == o->body_len && memcmp(again.body, o->body, o->body_len) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct outcome whole, bytes, pieces;
    if (size > MAX_INPUT)
        return 0;
    decode((const char *)data, size, 0, &whole);
    decode((const char *)data, size, 1, &bytes);
    decode((const char *)data, size, 2, &pieces);
    demand_same(&whole, &bytes);
    demand_same(&whole, &pieces);
    DEMAND(whole.event != SL_CHUNKED_ERROR || whole.sentence != NULL);
    if (whole.event == SL_CHUNKED_TRAILERS)
        demand_stable(&whole);
    return 0;
}
