/* The limits of a worker's memory: above the soft one it is recycled, above the hard one aborted.
 *
 * Each worker is weighed on a clock of its own, so that not all are due in the same moment.
 */
#include <stdint.h>
#include <proc/plan_state.h>

enum {
    WEIGH_MS = 5000,      /* from one look at a worker to the next */
    FIRST_MS = 1000,      /* to the first one, and up to another WEIGH_MS */
    LONG_MS = 60000,      /* who was over the limit after so long, was not so from the start */
    REST_FIRST_MS = 5000, /* between two who are over it sooner; doubles up to REST_MAX_MS */
    REST_MAX_MS = 300000,
};

/* The same worker has always the same share of the jitter, and of the clock. */
static uint64_t
mix(unsigned long age)
{
    return ((age + 1) * 0x9e3779b97f4a7c15u) >> 16;
}

void
sl_plan_memory_begin(struct worker *worker, const struct sl_plan_group *spec)
{
    worker->memory_hard = spec->memory_hard;
    worker->memory_soft =
        spec->memory_soft == 0
            ? 0
            : spec->memory_soft +
                  (long long)(mix(worker->age) % ((uint64_t)spec->memory_jitter + 1));
    worker->weigh_at_ms = -1;
}

void
sl_plan_memory_ready(const struct sl_plan *plan, struct worker *worker)
{
    if (worker->memory_soft > 0 || worker->memory_hard > 0)
        worker->weigh_at_ms = plan->now_ms + FIRST_MS + (long long)(mix(worker->age) % WEIGH_MS);
}

/* When it is to be weighed; -1 = never. */
static long long
due_ms(const struct worker *worker)
{
    bool serves = worker->state == WORKER_READY ||
                  (worker->state == WORKER_LEAVING && worker->booted && worker->memory_hard > 0);
    return serves ? worker->weigh_at_ms : -1;
}

long long
sl_plan_memory_wake_ms(const struct sl_plan *plan)
{
    long long wake_ms = -1;
    for (unsigned slot = 0; slot < plan->slot_count; slot++) {
        long long one_ms = due_ms(&plan->workers[slot]);
        if (one_ms >= 0 && (wake_ms < 0 || one_ms < wake_ms))
            wake_ms = one_ms;
    }
    return wake_ms;
}

bool
sl_plan_wants_memory(const struct sl_plan *plan, long long now_ms, unsigned *ret_slot)
{
    bool found = false;
    for (unsigned slot = 0; slot < plan->slot_count; slot++) {
        long long one_ms = due_ms(&plan->workers[slot]);
        if (one_ms < 0 || one_ms > now_ms ||
            (found && one_ms >= plan->workers[*ret_slot].weigh_at_ms))
            continue;
        *ret_slot = slot;
        found = true;
    }
    return found;
}

long long
sl_plan_memory_limit(const struct sl_plan *plan, unsigned slot)
{
    const struct worker *worker = &plan->workers[slot];
    return worker->memory_soft > 0 ? worker->memory_soft : worker->memory_hard;
}

/* A limit that is too low would have workers replaced all the time. */
static bool
may_recycle(struct sl_plan *plan, const struct worker *worker)
{
    struct generation *generation = sl_plan_find_generation(plan, worker->generation);
    if (!HOLDS(plan, RULE_MEMORY_RESTS))
        return true;
    if (generation == NULL)
        return false; /* of a reload that failed: it leaves anyway */
    struct group *group = &generation->groups[worker->group];
    if (plan->now_ms - worker->ready_ms >= LONG_MS) {
        group->memory_rest_ms = 0;
        return true;
    }
    if (plan->now_ms < group->memory_from_ms)
        return false;
    long long rest_ms = group->memory_rest_ms * 2;
    group->memory_rest_ms = rest_ms == 0            ? REST_FIRST_MS
                            : rest_ms < REST_MAX_MS ? rest_ms
                                                    : REST_MAX_MS;
    group->memory_from_ms = plan->now_ms + group->memory_rest_ms;
    return true;
}

static void
recycle(struct sl_plan *plan, unsigned slot, long long bytes)
{
    struct worker *worker = &plan->workers[slot];
    if (worker->spent || worker->replaced || !may_recycle(plan, worker))
        return;
    worker->spent = true;
    struct sl_plan_action *action = sl_plan_say(plan, SL_SAY_MEMORY_SOFT);
    action->pid = worker->pid;
    action->bytes = bytes;
    action->limit = worker->memory_soft;
    action->elapsed_ms = plan->now_ms - worker->forked_ms;
}

void
sl_plan_on_memory(struct sl_plan *plan, const struct sl_plan_event *event)
{
    struct worker *worker = &plan->workers[event->slot];
    if (due_ms(worker) < 0)
        return;
    worker->weigh_at_ms = plan->now_ms + WEIGH_MS;
    if (worker->memory_hard > 0 && event->bytes > worker->memory_hard &&
        HOLDS(plan, RULE_MEMORY_HARD)) {
        struct sl_plan_action *action = sl_plan_say(plan, SL_SAY_MEMORY_HARD);
        action->slot = event->slot;
        action->pid = worker->pid;
        action->bytes = event->bytes;
        action->limit = worker->memory_hard;
        sl_plan_abort_silently(plan, event->slot);
    } else if (worker->memory_soft > 0 && event->bytes > worker->memory_soft &&
               worker->state == WORKER_READY && HOLDS(plan, RULE_MEMORY_SOFT)) {
        recycle(plan, event->slot, event->bytes);
    }
}
