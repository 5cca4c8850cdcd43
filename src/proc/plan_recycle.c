/* Recycling: workers that have served what they should, or have lived long enough, are replaced, a
 * few at a time. Each goes on serving until its successor is ready.
 */
#include <stdint.h>
#include <proc/plan_state.h>

/* It has said that it wants to be replaced. */
void
sl_plan_on_spent(struct sl_plan *plan, const struct sl_plan_event *event)
{
    struct worker *worker = &plan->workers[event->slot];
    if (worker->state == WORKER_READY)
        worker->spent = true;
}

/* How long a worker may live: the same worker has always the same share of the jitter. */
long long
sl_plan_lifetime_ms(const struct sl_plan_group *spec, unsigned long age)
{
    uint64_t mixed = (age + 1) * 0x9e3779b97f4a7c15u;
    if (spec->lifetime_ms == 0)
        return 0;
    return spec->lifetime_ms +
           (long long)((mixed >> 16) % ((uint64_t)spec->lifetime_jitter_ms + 1));
}

/* When this worker has lived long enough; -1 = no such clock is running. */
long long
sl_plan_lifetime_wake_ms(const struct worker *worker)
{
    if (worker->state != WORKER_READY || worker->spent || worker->lifetime_ms == 0)
        return -1;
    return worker->forked_ms + worker->lifetime_ms;
}

void
sl_plan_judge_lifetime(struct sl_plan *plan, unsigned slot)
{
    struct worker *worker = &plan->workers[slot];
    long long due_ms = sl_plan_lifetime_wake_ms(worker);
    if (due_ms < 0 || plan->now_ms < due_ms)
        return;
    worker->spent = true;
    struct sl_plan_action *action = sl_plan_say(plan, SL_SAY_LIVED);
    action->pid = worker->pid;
    action->ms = plan->now_ms - worker->forked_ms;
}

/* At most this many of a group at once. */
static unsigned
share_of(const struct group *group)
{
    unsigned share = group->target * group->spec.recycle_percent / 100;
    return share > 0 ? share : 1;
}

/* A successor needs a slot. Some stay free for those who replace the dead. */
static bool
has_room(const struct sl_plan *plan)
{
    unsigned needed = 0;
    for (unsigned slot = 0; slot < plan->slot_count; slot++) {
        const struct worker *worker = &plan->workers[slot];
        needed += worker->state != WORKER_FREE;
        needed += worker->state == WORKER_READY && worker->replaced;
    }
    return needed < plan->slot_count - plan->slot_count / 4;
}

static void
recycle_group(struct sl_plan *plan, unsigned index)
{
    const struct group *group = &plan->current.groups[index];
    unsigned in_progress = 0;
    for (unsigned slot = 0; slot < plan->slot_count; slot++) {
        const struct worker *worker = &plan->workers[slot];
        in_progress += worker->state != WORKER_FREE && worker->recycled &&
                       worker->generation == plan->current.id && worker->group == index;
    }
    for (unsigned slot = 0; slot < plan->slot_count; slot++) {
        struct worker *worker = &plan->workers[slot];
        if (worker->state != WORKER_READY || !worker->spent || worker->replaced ||
            worker->generation != plan->current.id || worker->group != index)
            continue;
        if (in_progress >= share_of(group) && HOLDS(plan, RULE_RECYCLE_SHARE))
            return;
        if (!has_room(plan))
            return;
        worker->replaced = worker->recycled = true;
        in_progress++;
    }
}

/* A reload replaces everybody anyway, and wants the slots: who was to be recycled and has no
 * successor yet keeps its place. Should the reload fail its turn comes again.
 */
static void
give_way(struct sl_plan *plan, unsigned index)
{
    unsigned count = sl_plan_occupants(plan, plan->current.id, index);
    for (unsigned slot = 0; slot < plan->slot_count; slot++) {
        struct worker *worker = &plan->workers[slot];
        if (count >= plan->current.groups[index].target)
            return;
        if (worker->state != WORKER_READY || !worker->recycled || worker->overdue ||
            worker->generation != plan->current.id || worker->group != index)
            continue;
        worker->replaced = worker->recycled = false;
        count++;
    }
}

void
sl_plan_recycle(struct sl_plan *plan)
{
    if (plan->reload >= RELOAD_FILLING && HOLDS(plan, RULE_RELOAD_FIRST)) {
        for (unsigned i = 0; i < plan->current.group_count; i++)
            give_way(plan, i);
    }
    if (plan->phase != PHASE_SERVING || plan->reload != RELOAD_STEADY)
        return;
    for (unsigned i = 0; i < plan->current.group_count; i++)
        recycle_group(plan, i);
}
