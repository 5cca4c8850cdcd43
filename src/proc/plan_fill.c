/* How many workers each group has and should have: spawning the missing, retiring the surplus. */
#include <signal.h>
#include <string.h>
#include <proc/plan_state.h>

static bool
is_live(const struct worker *worker)
{
    return worker->state != WORKER_FREE;
}

/* A worker holds its place in the group until it is reaped, unless it was asked to leave or has a
 * successor. */
static bool
occupies(const struct sl_plan *plan, const struct worker *worker)
{
    bool counts = worker->state != WORKER_BOOTING || HOLDS(plan, RULE_COUNT_BOOTING);
    (void)plan; /* unused where every rule holds */
    return counts && is_live(worker) && !worker->leaving && !worker->replaced;
}

static bool
is_of(const struct worker *worker, unsigned generation, unsigned group)
{
    return worker->generation == generation && worker->group == group;
}

unsigned
sl_plan_occupants(const struct sl_plan *plan, unsigned generation, unsigned group)
{
    unsigned count = 0;
    for (unsigned slot = 0; slot < plan->slot_count; slot++) {
        const struct worker *worker = &plan->workers[slot];
        count += occupies(plan, worker) && is_of(worker, generation, group);
    }
    return count;
}

unsigned
sl_plan_ready(const struct sl_plan *plan, unsigned generation, unsigned group)
{
    unsigned count = 0;
    for (unsigned slot = 0; slot < plan->slot_count; slot++) {
        const struct worker *worker = &plan->workers[slot];
        count += worker->state == WORKER_READY && is_of(worker, generation, group);
    }
    return count;
}

unsigned
sl_plan_wanted(const struct group *group)
{
    return group->target > group->finished ? group->target - group->finished : 0;
}

/* Places that are taken: where workers keep theirs, also by those who leave. */
static unsigned
holders(const struct sl_plan *plan, const struct generation *generation, unsigned index)
{
    bool keep = generation->groups[index].spec.keeps_place;
    unsigned count = 0;
    for (unsigned slot = 0; slot < plan->slot_count; slot++) {
        const struct worker *worker = &plan->workers[slot];
        count += (keep ? is_live(worker) : occupies(plan, worker)) &&
                 is_of(worker, generation->id, index);
    }
    return count;
}

bool
sl_plan_misses(const struct sl_plan *plan, const struct generation *generation, unsigned group)
{
    return holders(plan, generation, group) < sl_plan_wanted(&generation->groups[group]);
}

/* True while somebody lives who must be gone before this group gets a worker. */
static bool
is_taken(const struct sl_plan *plan, const struct generation *generation, const struct group *group)
{
    for (unsigned slot = 0; slot < plan->slot_count; slot++) {
        const struct worker *worker = &plan->workers[slot];
        bool rival = group->spec.exclusive || worker->generation != generation->id;
        if (rival && is_live(worker) && strcmp(worker->name, group->spec.name) == 0)
            return true;
    }
    return false;
}

/* Who goes first when there are too many: one that serves nobody yet, else the oldest. Thus a
 * booting surplus never costs the only ready worker. */
static unsigned
pick_surplus(const struct sl_plan *plan, unsigned generation, unsigned group)
{
    unsigned best = plan->slot_count;
    bool spare = HOLDS(plan, RULE_SURPLUS_SPARES_READY);
    for (unsigned slot = 0; slot < plan->slot_count; slot++) {
        const struct worker *worker = &plan->workers[slot];
        if (!occupies(plan, worker) || !is_of(worker, generation, group))
            continue;
        if (best == plan->slot_count) {
            best = slot;
            continue;
        }
        const struct worker *other = &plan->workers[best];
        bool ready = worker->state == WORKER_READY && spare;
        bool other_ready = other->state == WORKER_READY && spare;
        if (ready != other_ready ? !ready : worker->age < other->age)
            best = slot;
    }
    return best;
}

static void
retire_surplus(struct sl_plan *plan, struct generation *generation, unsigned index)
{
    unsigned target = sl_plan_wanted(&generation->groups[index]);
    unsigned count = sl_plan_occupants(plan, generation->id, index);
    for (; count > target; count--) {
        unsigned slot = pick_surplus(plan, generation->id, index);
        if (slot < plan->slot_count)
            sl_plan_ask_to_leave(plan, slot, SIGTERM);
    }
}

static bool
may_spawn(const struct sl_plan *plan, const struct generation *generation,
          const struct group *group)
{
    if (plan->now_ms < group->spawn_at_ms && HOLDS(plan, RULE_BACK_OFF))
        return false;
    if (!group->hand_over)
        return true;
    bool handing_over = plan->reload == RELOAD_HANDING_OVER;
    if (handing_over != (generation == &plan->next))
        return false;
    return !is_taken(plan, generation, group) || !HOLDS(plan, RULE_EXCLUSIVE_WAITS);
}

static bool
is_proven(const struct sl_plan *plan, const struct worker *worker)
{
    return worker->state == WORKER_READY && plan->now_ms - worker->ready_ms >= PROVEN_MS;
}

bool
sl_plan_somebody_serves(const struct sl_plan *plan, unsigned generation, unsigned group)
{
    for (unsigned slot = 0; slot < plan->slot_count; slot++) {
        const struct worker *worker = &plan->workers[slot];
        if (is_of(worker, generation, group) && is_proven(plan, worker))
            return true;
    }
    return false;
}

/* A worker that has neither failed nor shown yet that it can live. */
static bool
is_unproven(const struct sl_plan *plan, const struct worker *worker)
{
    return worker->state == WORKER_FORKING || worker->state == WORKER_BOOTING ||
           (worker->state == WORKER_READY && !is_proven(plan, worker));
}

/* After a failure, and while nobody has stayed up, workers are tried a few at a time: if all die
 * again, many are not worth more than one. */
unsigned
sl_plan_spawns_allowed(const struct sl_plan *plan, const struct generation *generation,
                       unsigned group)
{
    unsigned failures = generation->groups[group].failures, unproven = 0;
    if (failures == 0 || !HOLDS(plan, RULE_PROBE) ||
        sl_plan_somebody_serves(plan, generation->id, group))
        return plan->slot_count;
    for (unsigned slot = 0; slot < plan->slot_count; slot++) {
        const struct worker *worker = &plan->workers[slot];
        unproven += is_of(worker, generation->id, group) && is_unproven(plan, worker);
    }
    unsigned most = failures == 1 ? AFTER_FAILURE : AFTER_FAILURES;
    return most > unproven ? most - unproven : 0;
}

long long
sl_plan_proven_wake_ms(const struct sl_plan *plan, const struct generation *generation,
                       unsigned group)
{
    long long wake_ms = -1;
    if (sl_plan_spawns_allowed(plan, generation, group) > 0)
        return -1;
    for (unsigned slot = 0; slot < plan->slot_count; slot++) {
        const struct worker *worker = &plan->workers[slot];
        long long proven_ms = worker->ready_ms + PROVEN_MS;
        if (worker->state == WORKER_READY && is_of(worker, generation->id, group) &&
            (wake_ms < 0 || proven_ms < wake_ms))
            wake_ms = proven_ms;
    }
    return wake_ms;
}

static void
spawn_missing(struct sl_plan *plan, struct generation *generation, unsigned index)
{
    struct group *group = &generation->groups[index];
    unsigned count = holders(plan, generation, index), wanted = sl_plan_wanted(group);
    if (count >= wanted || !may_spawn(plan, generation, group))
        return;
    unsigned allowed = sl_plan_spawns_allowed(plan, generation, index);
    for (unsigned slot = 0; slot < plan->slot_count && count < wanted && allowed > 0; slot++) {
        if (is_live(&plan->workers[slot]))
            continue;
        sl_plan_spawn(plan, slot, generation, index);
        count++;
        allowed--;
    }
}

static void
fill_generation(struct sl_plan *plan, struct generation *generation)
{
    for (unsigned index = 0; index < generation->group_count; index++) {
        retire_surplus(plan, generation, index);
        spawn_missing(plan, generation, index);
    }
}

/* True while this worker of a past generation is the only one to serve: a reload was given up in a
 * moment when the generation that goes on had lost all of its own. */
static bool
is_last_resort(const struct sl_plan *plan, const struct worker *worker)
{
    if (worker->state != WORKER_READY || worker->hand_over)
        return false;
    for (unsigned i = 0; i < plan->current.group_count; i++) {
        const struct group *group = &plan->current.groups[i];
        if (strcmp(group->spec.name, worker->name) == 0)
            return group->target > 0 && !group->hand_over &&
                   sl_plan_ready(plan, plan->current.id, i) == 0;
    }
    return false;
}

/* Sends away the workers of generations that are no longer in force. */
static void
dismiss_past(struct sl_plan *plan)
{
    for (unsigned slot = 0; slot < plan->slot_count; slot++) {
        const struct worker *worker = &plan->workers[slot];
        bool past = worker->generation != plan->current.id && worker->generation != plan->next.id;
        if (past && occupies(plan, worker) && !is_last_resort(plan, worker))
            sl_plan_ask_to_leave(plan, slot, SIGTERM);
    }
}

/* True when those who take its place are ready, or have to wait for its end: where every slot is
 * taken there is none for a successor before that. */
static bool
may_go(const struct sl_plan *plan, const struct worker *worker)
{
    const struct generation *generation =
        worker->generation == plan->next.id ? &plan->next : &plan->current;
    if (!HOLDS(plan, RULE_SUCCESSOR_FIRST))
        return true;
    if (worker->generation != generation->id)
        return !is_last_resort(plan, worker);
    const struct group *group = &generation->groups[worker->group];
    unsigned ready = 0, free_slots = 0;
    for (unsigned slot = 0; slot < plan->slot_count; slot++) {
        const struct worker *other = &plan->workers[slot];
        free_slots += !is_live(other);
        ready += other->state == WORKER_READY && !other->replaced &&
                 is_of(other, generation->id, worker->group);
    }
    return group->spec.exclusive || group->spec.keeps_place || ready >= group->target ||
           (free_slots == 0 && ready > 0);
}

/* Sends away those whose successors are ready. */
static void
dismiss_replaced(struct sl_plan *plan)
{
    for (unsigned slot = 0; slot < plan->slot_count; slot++) {
        const struct worker *worker = &plan->workers[slot];
        if (worker->state == WORKER_READY && worker->replaced && may_go(plan, worker))
            sl_plan_ask_to_leave(plan, slot, SIGTERM);
    }
}

void
sl_plan_fill(struct sl_plan *plan)
{
    dismiss_past(plan);
    dismiss_replaced(plan);
    fill_generation(plan, &plan->current);
    if (plan->reload >= RELOAD_FILLING)
        fill_generation(plan, &plan->next);
}

/* Half of the slots: the other half is for those that leave while their successors boot. */
unsigned
sl_plan_target_max(const struct sl_plan *plan)
{
    return plan->slot_count / 2;
}

/* Sets how many workers the first group should have, in both generations during a reload. */
void
sl_plan_set_target(struct sl_plan *plan, unsigned target)
{
    struct group *group = &plan->current.groups[0];
    struct sl_plan_action *action = sl_plan_emit(plan, SL_DO_WORKERS_CHANGED);
    action->number = (int)target;
    action->old = (int)group->target;
    group->target = target;
    struct group *next = &plan->next.groups[0];
    if (plan->next.id != 0)
        next->target = next->spec.exclusive && target > 1 ? 1 : target;
}
