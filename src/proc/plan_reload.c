/* The reload as a transaction: the new generation is made beside the old one, which leaves only
 * when the new one is ready and goes on untouched when it fails. */
#include <assert.h>
#include <signal.h>
#include <string.h>
#include <proc/plan_state.h>

#define FROM(state) (1u << (state))

static const unsigned entered_from[RELOAD_COUNT] = {
    [RELOAD_STEADY] = ~FROM(RELOAD_STEADY),       [RELOAD_LOADING] = FROM(RELOAD_STEADY),
    [RELOAD_BINDING] = FROM(RELOAD_LOADING),      [RELOAD_FILLING] = FROM(RELOAD_BINDING),
    [RELOAD_HANDING_OVER] = FROM(RELOAD_FILLING),
};

/* The one place that changes the reload's state. */
static void
move(struct sl_plan *plan, enum reload state)
{
    assert(entered_from[state] & FROM(plan->reload));
    plan->reload = state;
}

struct generation *
sl_plan_find_generation(struct sl_plan *plan, unsigned id)
{
    if (id == plan->current.id)
        return &plan->current;
    return id != 0 && id == plan->next.id ? &plan->next : NULL;
}

void
sl_plan_generation_init(struct sl_plan *plan, struct generation *generation,
                        const struct sl_plan_event *event)
{
    memset(generation, 0, sizeof *generation);
    generation->id = plan->generation_ids;
    generation->group_count =
        event->group_count < SL_PLAN_GROUPS ? event->group_count : SL_PLAN_GROUPS;
    for (size_t i = 0; i < generation->group_count; i++) {
        struct group *group = &generation->groups[i];
        group->spec = event->groups[i];
        group->hand_over = group->spec.exclusive;
        group->target = group->spec.exclusive ? 1 : group->spec.workers;
        group->spawn_at_ms = plan->now_ms;
    }
}

static void
start_reload(struct sl_plan *plan)
{
    plan->hup_waits = false;
    move(plan, RELOAD_LOADING);
    plan->generation_ids++;
    sl_plan_say(plan, SL_SAY_HANG_UP);
    sl_plan_emit(plan, SL_DO_NOTIFY_RELOADING);
    sl_plan_emit(plan, SL_DO_LOAD)->generation = plan->generation_ids;
}

/* True when no clock will end the reload in progress: its workers may boot for ever, or it waits
 * for somebody else to let go of an exclusive group. */
static bool
may_be_stuck(const struct sl_plan *plan)
{
    if (plan->reload < RELOAD_FILLING)
        return false;
    for (size_t i = 0; i < plan->next.group_count; i++) {
        const struct group *group = &plan->next.groups[i];
        if (group->spec.boot_ms == 0 || group->locked)
            return true;
    }
    return false;
}

/* HUP. While the first generation boots or another reload runs it is remembered, once; a reload
 * that might never end makes room for it. */
void
sl_plan_hang_up(struct sl_plan *plan)
{
    if (may_be_stuck(plan))
        sl_plan_give_up(plan, "another HUP came before its workers were ready.");
    if (plan->phase == PHASE_SERVING && plan->reload == RELOAD_STEADY) {
        start_reload(plan);
        return;
    }
    if (!plan->hup_waits)
        sl_plan_say(plan, SL_SAY_RELOAD_WAITS);
    plan->hup_waits = true;
}

/* A group that is exclusive in one of two generations is handed over exclusively between them. */
static void
match_groups(struct sl_plan *plan)
{
    for (size_t k = 0; k < plan->current.group_count; k++) {
        struct group *old = &plan->current.groups[k];
        old->hand_over = old->spec.exclusive;
        for (size_t i = 0; i < plan->next.group_count; i++) {
            struct group *mine = &plan->next.groups[i];
            if (strcmp(mine->spec.name, old->spec.name) == 0)
                mine->hand_over = old->hand_over = mine->spec.exclusive || old->spec.exclusive;
        }
    }
}

static bool
fits(const struct sl_plan *plan, const struct sl_plan_event *event)
{
    unsigned long total = 0;
    for (size_t i = 0; i < event->group_count; i++)
        total += event->groups[i].workers;
    return total <= sl_plan_target_max(plan);
}

void
sl_plan_on_loaded(struct sl_plan *plan, const struct sl_plan_event *event)
{
    if (plan->reload != RELOAD_LOADING)
        return;
    sl_plan_generation_init(plan, &plan->next, event);
    if (!fits(plan, event)) {
        sl_plan_say(plan, SL_SAY_TOO_MANY)->number = (int)sl_plan_target_max(plan);
        sl_plan_give_up(plan, "too many workers for this arbiter.");
        return;
    }
    match_groups(plan);
    move(plan, RELOAD_BINDING);
    sl_plan_emit(plan, SL_DO_LISTEN)->generation = plan->next.id;
}

static void
say_workers(struct sl_plan *plan, unsigned target, unsigned old)
{
    struct sl_plan_action *action = sl_plan_emit(plan, SL_DO_WORKERS_CHANGED);
    action->number = (int)target;
    action->old = (int)old;
}

void
sl_plan_on_listening(struct sl_plan *plan)
{
    if (plan->reload != RELOAD_BINDING)
        return;
    move(plan, RELOAD_FILLING);
    say_workers(plan, plan->next.groups[0].target, plan->current.groups[0].target);
    sl_plan_emit(plan, SL_DO_HOOK_RELOAD);
}

/* (broken rule of the simulator) */
static void
retire_all(struct sl_plan *plan, unsigned generation)
{
    for (unsigned slot = 0; slot < plan->slot_count; slot++) {
        if (plan->workers[slot].generation == generation)
            sl_plan_ask_to_leave(plan, slot, SIGTERM);
    }
}

/* Forgets the generation being loaded; sl_plan_fill() sends its workers away. */
void
sl_plan_reload_cancel(struct sl_plan *plan)
{
    if (plan->reload == RELOAD_STEADY)
        return;
    bool counted = plan->reload >= RELOAD_FILLING;
    unsigned target = plan->next.groups[0].target, old = plan->current.groups[0].target;
    move(plan, RELOAD_STEADY);
    sl_plan_emit(plan, SL_DO_GIVE_UP)->generation = plan->generation_ids;
    if (counted && target != old)
        say_workers(plan, old, target);
    plan->next.id = 0;
}

void
sl_plan_give_up(struct sl_plan *plan, const char *why)
{
    if (plan->reload == RELOAD_STEADY)
        return;
    struct sl_plan_action *action = sl_plan_say(plan, SL_SAY_RELOAD_FAILED);
    action->number = (int)plan->current.id;
    action->why = why;
    if (!HOLDS(plan, RULE_KEEP_OLD_ON_FAILURE))
        retire_all(plan, plan->current.id);
    sl_plan_reload_cancel(plan);
    sl_plan_emit(plan, SL_DO_NOTIFY_READY);
}

static void
adopt(struct sl_plan *plan)
{
    move(plan, RELOAD_STEADY);
    plan->current = plan->next;
    plan->next.id = 0;
    sl_plan_emit(plan, SL_DO_ADOPT)->generation = plan->current.id;
    sl_plan_say(plan, SL_SAY_RELOAD_DONE)->number = (int)plan->current.id;
    sl_plan_emit(plan, SL_DO_NOTIFY_READY);
}

static bool
groups_ready(const struct sl_plan *plan, bool hand_over)
{
    const struct generation *next = &plan->next;
    for (unsigned i = 0; i < next->group_count; i++) {
        const struct group *group = &next->groups[i];
        if (group->hand_over == hand_over &&
            sl_plan_ready(plan, next->id, i) < sl_plan_wanted(group))
            return false;
    }
    return true;
}

/* Exclusive workers of the old generation make room. A worker that was to leave for another reason
 * is left alone. */
static void
hand_over(struct sl_plan *plan)
{
    for (unsigned slot = 0; slot < plan->slot_count; slot++) {
        const struct worker *worker = &plan->workers[slot];
        if (worker->generation == plan->current.id && !worker->leaving &&
            plan->current.groups[worker->group].hand_over)
            sl_plan_ask_to_leave(plan, slot, SIGTERM);
    }
}

/* Takes the reload as far as the facts allow. */
void
sl_plan_reload_advance(struct sl_plan *plan)
{
    if (plan->reload == RELOAD_STEADY && plan->hup_waits && plan->phase == PHASE_SERVING)
        start_reload(plan);
    if (plan->reload == RELOAD_FILLING &&
        (groups_ready(plan, false) || !HOLDS(plan, RULE_RETIRE_AFTER_READY)))
        move(plan, RELOAD_HANDING_OVER);
    if (plan->reload != RELOAD_HANDING_OVER)
        return;
    hand_over(plan);
    if (!HOLDS(plan, RULE_RETIRE_AFTER_READY) ||
        (groups_ready(plan, true) && groups_ready(plan, false)))
        adopt(plan);
}
