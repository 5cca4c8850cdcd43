/* Who has which place in a pool (arbiter process). */
#include <stdlib.h>
#include <string.h>
#include "../host_c.h"

enum { HELD = -1, NEW = 0 }; /* else: when it was left; the likeliest to come back is the last */

static bool
make_room(struct sl_pool_site *site, size_t count)
{
    if (count <= site->place_count)
        return true;
    long *left = realloc(site->left, count * sizeof *left);
    if (left == NULL)
        return false;
    memset(left + site->place_count, 0, (count - site->place_count) * sizeof *left);
    site->left = left;
    site->place_count = count;
    return true;
}

int
sl_pools_take_place(struct sl_pool_site *site)
{
    size_t best = SIZE_MAX;
    if (!make_room(site, sl_pools_size(site->table)))
        return -1;
    for (size_t i = 0; i < site->place_count && (best == SIZE_MAX || site->left[best] != NEW);
         i++) {
        if (site->left[i] != HELD &&
            (best == SIZE_MAX || site->left[i] == NEW || site->left[i] > site->left[best]))
            best = i;
    }
    if (best == SIZE_MAX) { /* TTIN */
        best = site->place_count;
        if (!make_room(site, best + 1))
            return -1;
    }
    site->left[best] = HELD;
    return (int)best;
}

void
sl_pools_leave_place(struct sl_pool_site *site, int place, bool final)
{
    site->left[place] = final ? 1 : ++site->departures + 1;
}
