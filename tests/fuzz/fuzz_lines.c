/* Field lines through every way to scan them. Demanded: what the portable way says. The first byte
 * chooses: bit 0 folding, 1 spaces, 2 small limits. */
#include "../unit/http/lines_twin.h"
#include "fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct twin portable, other;
    if (size < 1 || size > 4096)
        return 0;
    struct sl_http_limits limits = {.permit_obsolete_folding = data[0] & 1,
                                    .strip_header_spaces = data[0] & 2};
    size_t max_field = data[0] & 4 ? 40 : 8188, max_fields = data[0] & 4 ? 3 : TWIN_FIELDS;
    const struct sl_lines_way *ways[4];
    size_t count = sl_lines_ways(ways), len = size - 1;
    char *mine = malloc(len > 0 ? len : 1);
    DEMAND(mine != NULL);
    for (size_t i = 0; i < count; i++) {
        memcpy(mine, data + 1, len); /* of exactly this size: no look beyond; folding rewrites it */
        twin_parse(ways[i], mine, len, &limits, max_field, max_fields, i == 0 ? &portable : &other);
        DEMAND(i == 0 || twin_same(&portable, &other));
    }
    free(mine);
    return 0;
}
