/* The account of a spool: what is on the disk, of all its files together. */
#include <base/spool.h>

static bool
fits(const struct sl_spool *spool, uint64_t used, uint64_t len)
{
    return spool->limit == 0 || (len <= spool->limit && used <= spool->limit - len);
}

bool
sl_spool_has_room(const struct sl_spool *spool, uint64_t len)
{
    return fits(spool, atomic_load_explicit(&spool->used, memory_order_relaxed), len);
}

bool
sl_spool_take(struct sl_spool *spool, uint64_t len)
{
    uint64_t used = atomic_load_explicit(&spool->used, memory_order_relaxed);
    do {
        if (!fits(spool, used, len))
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&spool->used, &used, used + len,
                                                    memory_order_relaxed, memory_order_relaxed));
    return true;
}

void
sl_spool_give(struct sl_spool *spool, uint64_t len)
{
    atomic_fetch_sub_explicit(&spool->used, len, memory_order_relaxed);
}
