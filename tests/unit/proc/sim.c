/* The world of the simulator; see sim.h. Time is simulated, nothing here sleeps. */
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <proc/plan_state.h>
#include "sim.h"

enum { SLOTS = 24, GENERATIONS = 64, STEPS = 140, SLACK_MS = 300, NEVER = -1 };
enum { MEMORY_SEEN_MS = 11000 }; /* the first look, or between two, and one for those before it */

enum life { GONE, FORK_PENDING, BOOTS, SERVES, EXITS };

struct child {
    enum life life;
    pid_t pid;
    unsigned generation;
    int asked;           /* strongest signal it was sent */
    bool left;           /* it was asked to leave: its place is free */
    bool alone;          /* its overdue request keeps it from beating and from serving others */
    bool hung, stubborn; /* does not beat; does not obey TERM, QUIT or ABRT */
    int exit_status;     /* wait status it will end with */
    long long asked_ms, aborted_ms, beat_ms, spawned_ms;
    long long ready_ms, drains_ms, dies_ms; /* NEVER */
    long long stuck_ms;                     /* a request that never ends begins; NEVER */
    long long heavy_ms, huge_ms; /* it is over its soft, its hard limit of memory; NEVER */
    long long drained_ms, exits_from_ms, served_ms;
};

struct world {
    uint64_t random;
    bool calm, trace, spends;
    long long now_ms, stop_ms, stood_still_ms;
    struct sl_plan *plan;
    struct sl_plan_action *actions;
    struct child children[SLOTS];
    struct {
        unsigned target;
        bool exclusive;
        long long failed_ms, heavy_ms;
    } generations[GENERATIONS];
    unsigned current, next, loading;
    struct sl_plan_group spec;
    bool stopped, upgrading;
    pid_t pids;
    unsigned recycled; /* after the last step */
    const char *violation;
};

static unsigned
roll(struct world *world, unsigned sides)
{
    world->random ^= world->random << 13;
    world->random ^= world->random >> 7;
    world->random ^= world->random << 17;
    return (unsigned)((world->random >> 11) % sides);
}

static bool
chance(struct world *world, unsigned percent)
{
    return roll(world, 100) < percent;
}

static void
note(struct world *world, const char *format, ...)
{
    if (!world->trace)
        return;
    va_list args;
    va_start(args, format);
    printf("%8lld ", world->now_ms);
    vprintf(format, args);
    putchar('\n');
    va_end(args);
}

static void
violate(struct world *world, const char *what)
{
    note(world, "VIOLATION: %s", what);
    if (world->violation == NULL)
        world->violation = what;
}

static long long
later(long long a, long long b)
{
    return a > b ? a : b;
}

static void step(struct world *world, struct sl_plan_event event);

/* ---- what must hold ------------------------------------------------------------------------ */

static unsigned
count_ready(const struct world *world)
{
    unsigned count = 0;
    for (int i = 0; i < SLOTS; i++)
        count += world->children[i].life == SERVES && world->children[i].asked == 0;
    return count;
}

static unsigned
count_places(const struct world *world, unsigned generation)
{
    unsigned count = 0;
    for (int i = 0; i < SLOTS; i++) {
        const struct child *child = &world->children[i];
        bool untold = child->life == FORK_PENDING || child->life == EXITS;
        bool leaves = child->left || (untold && world->plan->workers[i].leaving) ||
                      world->plan->workers[i].replaced;
        count +=
            child->life != GONE && child->generation == generation && !leaves && child->asked == 0;
    }
    return count;
}

/* Not more than the set share is replaced at once. */
static void
check_share(struct world *world)
{
    const struct sl_plan *plan = world->plan;
    const struct group *group = &plan->current.groups[0];
    unsigned recycled = 0, share = group->target * group->spec.recycle_percent / 100;
    for (int i = 0; i < SLOTS; i++)
        recycled += world->children[i].life != GONE && plan->workers[i].recycled &&
                    plan->workers[i].generation == plan->current.id;
    if (recycled > (share > 1 ? share : 1) && recycled > world->recycled)
        violate(world, "too many are recycled at once");
    world->recycled = recycled;
}

static unsigned
count_live(const struct world *world)
{
    unsigned count = 0;
    for (int i = 0; i < SLOTS; i++)
        count += world->children[i].life != GONE;
    return count;
}

/* While everybody dies, one worker at a time is tried. */
static void
check_probe(struct world *world, unsigned generation)
{
    const struct sl_plan *plan = world->plan;
    const struct generation *of = plan->next.id == generation ? &plan->next : &plan->current;
    unsigned unproven = 0;
    for (int i = 0; i < SLOTS; i++) {
        const struct child *child = &world->children[i];
        if (child->life == GONE || child->generation != generation || child->asked != 0)
            continue;
        if (child->life == SERVES && world->now_ms - child->served_ms >= PROVEN_MS)
            return;
        unproven += child->life != EXITS;
    }
    if (of->groups[0].failures >= 2 && unproven > 0)
        violate(world, "more than one worker at a time in a crash loop");
}

/* The slots are the new generation's as soon as it needs them. */
static bool
recycles_in_reload(const struct world *world, unsigned generation)
{
    const struct sl_plan *plan = world->plan;
    bool recycles = false;
    for (int i = 0; i < SLOTS; i++) {
        const struct worker *worker = &plan->workers[i];
        recycles = recycles || (worker->state == WORKER_READY && worker->recycled &&
                                !worker->overdue && worker->generation == generation);
    }
    return recycles && plan->reload >= RELOAD_FILLING && generation == plan->current.id;
}

static void
check_spawn(struct world *world, const struct sl_plan_action *action)
{
    unsigned generation = action->generation;
    if (world->children[action->slot].life != GONE)
        violate(world, "spawned into a slot that is in use");
    if (world->stop_ms != NEVER)
        violate(world, "spawned during a stop");
    if (recycles_in_reload(world, generation))
        violate(world, "recycling goes on during a reload");
    if (count_places(world, generation) >= world->generations[generation].target)
        violate(world, "more workers than the target");
    if (world->generations[generation].exclusive && count_live(world) > 0)
        violate(world, "two workers of an exclusive group");
    check_probe(world, generation);
    if (world->generations[generation].failed_ms + BACKOFF_FIRST_MS > world->now_ms)
        violate(world, "respawned without back-off");
}

static bool
is_stuck(const struct world *world, const struct child *child)
{
    return child->life == SERVES && child->stuck_ms != NEVER && child->stuck_ms <= world->now_ms;
}

static void
check_request(struct world *world, int i)
{
    const struct child *child = &world->children[i];
    long long due_ms =
        child->stuck_ms > world->stood_still_ms ? child->stuck_ms : world->stood_still_ms;
    due_ms += world->spec.request_ms;
    if (!is_stuck(world, child))
        return;
    if (child->asked == 0 && !world->plan->workers[i].replaced && world->now_ms > due_ms + SLACK_MS)
        violate(world, "an overdue request was not noticed");
    const struct worker *worker = &world->plan->workers[i];
    long long waited_ms = later(worker->overdue_ms, world->stood_still_ms) + world->spec.boot_ms;
    if (child->asked == 0 && worker->overdue && world->now_ms > later(waited_ms, due_ms) + SLACK_MS)
        violate(world, "an overdue request has waited for a successor for too long");
    long long cut_ms = child->asked_ms + 1000 > due_ms ? child->asked_ms + 1000 : due_ms;
    if ((child->asked == SIGTERM || child->asked == SIGQUIT) && world->now_ms > cut_ms + SLACK_MS)
        violate(world, "an overdue request was not cut");
}

/* Who is over a limit of memory is noticed at the second look, late as that may be. */
static void
check_memory(struct world *world, int i)
{
    const struct child *child = &world->children[i];
    const struct worker *worker = &world->plan->workers[i];
    long long from_ms =
        world->stood_still_ms > child->served_ms ? world->stood_still_ms : child->served_ms;
    bool asked = child->asked == SIGTERM || child->asked == SIGQUIT;
    if (child->life != SERVES)
        return;
    if (child->huge_ms != NEVER && (child->asked == 0 || asked) &&
        world->now_ms > later(child->huge_ms, from_ms) + MEMORY_SEEN_MS + SLACK_MS)
        violate(world, "nothing was done about a worker above its hard limit of memory");
    const struct generation *of = &world->plan->current;
    if (child->heavy_ms != NEVER && child->huge_ms == NEVER && child->asked == 0 &&
        !worker->spent && !worker->replaced && worker->generation == of->id &&
        world->now_ms > later(later(child->heavy_ms, from_ms), of->groups[0].memory_from_ms) +
                            MEMORY_SEEN_MS + SLACK_MS)
        violate(world, "a worker above its limit of memory was not replaced");
}

/* Workers that are heavy from the start are not replaced one after the other without end. (One that
 * was not may go any time, also just before such a one.) */
static void
check_rest(struct world *world, const struct sl_plan_action *action)
{
    for (int i = 0; i < SLOTS; i++) {
        struct child *child = &world->children[i];
        if (child->life != SERVES || child->pid != action->pid)
            continue;
        long long *last_ms = &world->generations[child->generation].heavy_ms;
        bool young = world->now_ms - child->served_ms < 60000;
        if (young && world->now_ms - *last_ms < 5000)
            violate(world, "young workers are replaced for their memory without a rest");
        if (child->heavy_ms == NEVER || child->heavy_ms > world->now_ms)
            violate(world, "a worker below its limit of memory was replaced for it");
        if (young)
            *last_ms = world->now_ms;
    }
}

/* It leaves though nobody is ready to take its place: only for a request that is overdue. */
static void
check_waited(struct world *world, unsigned slot)
{
    const struct child *child = &world->children[slot];
    if (!is_stuck(world, child) || world->now_ms < child->stuck_ms + world->spec.request_ms)
        violate(world, "a worker left before its successor for nothing");
}

/* Nobody outstays the clocks. */
static void
check_clocks(struct world *world)
{
    for (int i = 0; i < SLOTS; i++) {
        const struct child *child = &world->children[i];
        long long from_ms =
            child->beat_ms > world->stood_still_ms ? child->beat_ms : world->stood_still_ms;
        if (child->life == GONE)
            continue;
        check_request(world, i);
        check_memory(world, i);
        if (child->hung && child->asked == 0 && child->life == SERVES &&
            world->now_ms > from_ms + world->spec.timeout_ms + SLACK_MS)
            violate(world, "a hung worker was not noticed");
        if (child->life == EXITS && child->asked != SIGKILL &&
            world->now_ms > child->exits_from_ms + world->spec.exit_ms + ABORT_MS + SLACK_MS)
            violate(world, "exit hooks outstayed exit_timeout");
        if (child->left && child->asked != SIGKILL && child->life != EXITS &&
            world->now_ms > child->asked_ms + world->spec.graceful_ms + ABORT_MS + SLACK_MS)
            violate(world, "a worker outstayed graceful_timeout");
        bool alone = world->plan->workers[i].hand_over && !child->left;
        if (child->asked == SIGABRT && child->life != EXITS &&
            world->now_ms > child->aborted_ms + (alone ? ABORT_ALONE_MS : ABORT_MS) + SLACK_MS)
            violate(world, "an aborted worker was not killed");
    }
    if (world->stop_ms != NEVER && !world->stopped &&
        world->now_ms > world->stop_ms + world->spec.graceful_ms + world->spec.exit_ms +
                            2 * ABORT_MS + SLACK_MS)
        violate(world, "a stop did not end within its limit");
}

/* ---- children ------------------------------------------------------------------------------ */

/* It leaves within ms; some say that they have drained and then run exit hooks, perhaps too long.
 */
static void
plan_leaving(struct world *world, struct child *child, unsigned ms)
{
    child->dies_ms = world->now_ms + roll(world, ms);
    if (child->life != SERVES || !chance(world, 60))
        return;
    child->drains_ms = child->dies_ms;
    child->dies_ms += roll(world, 2500);
    if (!world->calm && chance(world, 15))
        child->dies_ms = NEVER;
}

static void
plan_child_life(struct world *world, struct child *child)
{
    unsigned fate = world->calm ? 100 : roll(world, 100);
    child->ready_ms = world->now_ms + 1 + roll(world, 300);
    child->drains_ms = child->dies_ms = NEVER;
    child->exit_status = 0;
    child->hung = false;
    child->alone = chance(world, 40);
    child->stuck_ms = NEVER;
    if (!world->calm && chance(world, 10))
        child->stuck_ms = child->ready_ms + roll(world, 8000);
    child->stubborn = !world->calm && chance(world, 15);
    child->heavy_ms = child->huge_ms = NEVER;
    if (!world->calm && chance(world, 20))
        child->heavy_ms = child->ready_ms + roll(world, 6000);
    if (!world->calm && chance(world, 8))
        child->huge_ms = child->ready_ms + roll(world, 10000);
    if (fate < 4)
        child->exit_status = chance(world, 50) ? 3 << 8 : 4 << 8;
    else if (fate < 10)
        child->exit_status = chance(world, 50) ? SIGSEGV : 1 << 8;
    if (fate < 10) {
        child->dies_ms = child->ready_ms - (chance(world, 50) ? 1 : 0);
        child->ready_ms = NEVER;
    } else if (fate < 13) {
        child->ready_ms = NEVER;
    } else if (fate < 30) {
        child->dies_ms = child->ready_ms + roll(world, 8000);
        child->exit_status = fate < 20 ? 0 : SIGKILL;
        if (fate < 20)
            child->drains_ms = child->dies_ms - roll(world, 400);
    }
}

static void
answer_fork(struct world *world, unsigned slot)
{
    struct child *child = &world->children[slot];
    if (world->generations[child->generation].exclusive && !world->calm && chance(world, 20)) {
        child->life = GONE;
        step(world, (struct sl_plan_event){.kind = SL_EV_LOCKED, .slot = slot, .why = "an orphan"});
        return;
    }
    if (!world->calm && chance(world, 8)) {
        long long *failed_ms = &world->generations[child->generation].failed_ms;
        child->life = GONE;
        if (child->spawned_ms > *failed_ms)
            *failed_ms = world->now_ms;
        step(world,
             (struct sl_plan_event){.kind = SL_EV_FORK_FAILED, .slot = slot, .why = "EAGAIN"});
        return;
    }
    child->life = BOOTS;
    child->pid = ++world->pids;
    plan_child_life(world, child);
    step(world, (struct sl_plan_event){.kind = SL_EV_FORKED, .slot = slot, .pid = child->pid});
}

static void
receive(struct world *world, const struct sl_plan_action *action)
{
    struct child *child = &world->children[action->slot];
    if (child->life == GONE || child->pid != action->pid) {
        violate(world, "signalled a process that is gone");
        return;
    }
    if (action->number == SIGUSR1) {
        if (child->life != SERVES)
            violate(world, "USR1 to a worker that has no handler for it");
        return;
    }
    if (child->asked == action->number)
        violate(world, "the same signal twice");
    if (child->life == EXITS && world->now_ms < child->drained_ms + world->spec.exit_ms)
        violate(world, "exit hooks were disturbed before their time was over");
    if (child->asked == 0 || action->number == SIGKILL)
        child->asked_ms = world->now_ms;
    if (action->number == SIGABRT)
        child->aborted_ms = world->now_ms;
    child->asked = action->number;
    child->left = child->left || action->number == SIGTERM || action->number == SIGQUIT;
    if (action->number == SIGKILL) {
        child->dies_ms = world->now_ms + roll(world, 5);
        child->exit_status = SIGKILL;
    } else if (!child->stubborn && !child->hung && child->life != EXITS &&
               (action->number == SIGABRT || !is_stuck(world, child))) {
        plan_leaving(world, child, child->life == BOOTS ? 3 : 1500);
        child->exit_status = child->life == BOOTS ? SIGTERM : 0;
    }
}

static void
run_child(struct world *world, unsigned slot)
{
    struct child *child = &world->children[slot];
    if (child->life == GONE || child->life == FORK_PENDING)
        return;
    if (child->dies_ms != NEVER && child->dies_ms <= world->now_ms) {
        child->life = GONE;
        step(world, (struct sl_plan_event){.kind = SL_EV_EXITED,
                                           .slot = slot,
                                           .number = child->exit_status,
                                           .outside = child->exit_status == SIGKILL &&
                                                      world->now_ms % 2 == 0});
    } else if (child->life == SERVES && !child->hung && child->drains_ms != NEVER &&
               child->drains_ms <= world->now_ms) {
        child->life = EXITS;
        child->drained_ms = child->exits_from_ms = world->now_ms;
        if (child->asked != 0)
            child->asked = SIGUSR2; /* ABRT may come once more */
        step(world, (struct sl_plan_event){.kind = SL_EV_DRAINED, .slot = slot});
    } else if (child->life == BOOTS && child->ready_ms != NEVER &&
               child->ready_ms <= world->now_ms && child->asked == 0) {
        child->life = SERVES;
        child->served_ms = world->now_ms;
        child->beat_ms = world->now_ms;
        child->hung = !world->calm && chance(world, 5);
        step(world, (struct sl_plan_event){.kind = SL_EV_READY, .slot = slot});
    } else if (child->life == SERVES && !child->hung && child->asked == 0 &&
               !(child->alone && is_stuck(world, child))) {
        child->beat_ms = world->now_ms;
    }
}

/* ---- carrying out actions ------------------------------------------------------------------- */

static void
answer_load(struct world *world, unsigned generation)
{
    world->loading = generation;
    if (!world->calm && chance(world, 20)) {
        step(world, (struct sl_plan_event){.kind = SL_EV_LOAD_FAILED, .why = "syntax error"});
        return;
    }
    struct sl_plan_group spec = world->spec;
    spec.exclusive = chance(world, 15) ? !spec.exclusive : spec.exclusive;
    spec.workers = spec.exclusive ? 1 : 1 + roll(world, 4);
    world->next = generation;
    world->generations[generation].target = spec.workers;
    world->generations[generation].exclusive = spec.exclusive;
    world->generations[generation].failed_ms = world->generations[generation].heavy_ms = -1000;
    world->spec.exclusive = spec.exclusive;
    step(world, (struct sl_plan_event){.kind = SL_EV_LOADED, .groups = &spec, .group_count = 1});
}

static void
answer_listen(struct world *world)
{
    if (!world->calm && chance(world, 10))
        step(world, (struct sl_plan_event){.kind = SL_EV_LISTEN_FAILED, .why = "in use"});
    else
        step(world, (struct sl_plan_event){.kind = SL_EV_LISTENING});
}

static void
answer_upgrade(struct world *world)
{
    if (world->upgrading)
        violate(world, "two upgrades at once");
    world->upgrading = !chance(world, 30);
    if (world->upgrading)
        step(world, (struct sl_plan_event){.kind = SL_EV_UPGRADE_FORKED, .pid = 99999});
    else
        step(world, (struct sl_plan_event){.kind = SL_EV_UPGRADE_FAILED, .why = "ENOENT"});
}

static void
prepare(struct world *world, const struct sl_plan_action *action)
{
    struct child *child = &world->children[action->slot];
    check_spawn(world, action);
    *child = (struct child){.life = FORK_PENDING, .generation = action->generation};
    child->spawned_ms = world->now_ms;
    child->ready_ms = child->drains_ms = child->dies_ms = child->stuck_ms = NEVER;
    child->heavy_ms = child->huge_ms = NEVER;
}

static void
finish(struct world *world, const struct sl_plan_action *action)
{
    world->stopped = true;
    if (count_live(world) > 0)
        violate(world, "exited with live children");
    if (world->stop_ms == NEVER && action->number == 0)
        violate(world, "exited with status 0 and nobody asked");
}

static void
set_targets(struct world *world, unsigned target)
{
    bool one = world->generations[world->next].exclusive && target > 1;
    world->generations[world->next].target = one ? 1 : target;
    world->generations[world->current].target = target;
}

static void
carry_out(struct world *world, const struct sl_plan_action *action)
{
    switch (action->kind) {
    case SL_DO_SPAWN:
        prepare(world, action);
        break;
    case SL_DO_KILL:
        receive(world, action);
        break;
    case SL_DO_LOAD:
        world->loading = action->generation;
        break;
    case SL_DO_ADOPT:
        world->current = action->generation;
        break;
    case SL_DO_GIVE_UP:
        world->next = world->current;
        break;
    case SL_DO_WORKERS_CHANGED:
        if (sl_plan_next_generation(world->plan) == 0 || action->old < 0)
            world->next = world->current;
        break;
    case SL_DO_NOTIFY_STOPPING:
        world->stop_ms = world->now_ms;
        break;
    case SL_DO_EXIT:
        finish(world, action);
        break;
    default:
        break;
    }
}

static void
answer(struct world *world, const struct sl_plan_action *action)
{
    switch (action->kind) {
    case SL_DO_LOAD:
        answer_load(world, action->generation);
        break;
    case SL_DO_LISTEN:
        answer_listen(world);
        break;
    case SL_DO_UPGRADE:
        answer_upgrade(world);
        break;
    default:
        break;
    }
}

static void
show(struct world *world, const struct sl_plan_action *action)
{
    char text[256] = "";
    if (action->kind == SL_DO_LOG)
        sl_plan_message_format(action, text, sizeof text);
    note(world, "    %s slot %u gen %u pid %d n %d %s", sl_plan_action_name(action->kind),
         action->slot, action->generation, (int)action->pid, action->number, text);
}

/* Ready workers that are told to leave must not be the last ones, unless that was wanted. */
static void
check_service(struct world *world, unsigned ready_before, bool was_exclusive)
{
    bool wanted = world->stop_ms != NEVER || sl_plan_workers_wanted(world->plan) == 0;
    if (ready_before > 0 && count_ready(world) == 0 && !wanted && !was_exclusive &&
        !world->spec.exclusive)
        violate(world, "no ready worker is left");
}

/* While an aborted worker dies, its successor is made, unless that is held back for a reason. */
static void
check_successor(struct world *world, const struct sl_plan_action *action)
{
    const struct sl_plan *plan = world->plan;
    const struct group *group = &plan->current.groups[0];
    bool held_back = group->hand_over || plan->reload != RELOAD_STEADY ||
                     plan->phase >= PHASE_STOPPING || group->spawn_at_ms > world->now_ms ||
                     sl_plan_spawns_allowed(plan, &plan->current, 0) == 0 ||
                     count_live(world) == SLOTS; /* no slot for it */
    if (action->kind != SL_DO_KILL || action->number != SIGABRT || held_back)
        return;
    if (world->children[action->slot].generation == plan->current.id &&
        count_places(world, plan->current.id) < group->target)
        violate(world, "the place of an aborted worker stayed empty");
}

static bool
asks_anyone(const struct sl_plan_action *actions, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (actions[i].kind == SL_DO_LOG && actions[i].message == SL_SAY_REQUEST_WAITED)
            return false; /* it may be the last one */
    }
    for (size_t i = 0; i < count; i++) {
        if (actions[i].kind == SL_DO_KILL && (actions[i].number == SIGTERM))
            return true;
    }
    return false;
}

static void
step(struct world *world, struct sl_plan_event event)
{
    event.now_ms = world->now_ms;
    note(world, "%s slot %u pid %d n %d [%s, %s]", sl_plan_event_name(event.kind), event.slot,
         (int)event.pid, event.number, sl_plan_phase_name(world->plan),
         sl_plan_reload_name(world->plan));
    struct sl_plan_action actions[SLOTS * 6 + 32];
    unsigned ready = count_ready(world);
    bool exclusive =
        world->generations[world->current].exclusive || world->generations[world->next].exclusive;
    size_t count = sl_plan_step(world->plan, &event, actions);
    for (size_t i = 0; i < count; i++) {
        show(world, &actions[i]);
        if (actions[i].kind == SL_DO_LOG && actions[i].message == SL_SAY_MEMORY_SOFT)
            check_rest(world, &actions[i]);
        if (actions[i].kind == SL_DO_LOG && actions[i].message == SL_SAY_REQUEST_WAITED)
            check_waited(world, actions[i].slot);
        if (actions[i].kind == SL_DO_WORKERS_CHANGED && event.kind != SL_EV_LISTENING)
            set_targets(world, sl_plan_workers_wanted(world->plan));
        carry_out(world, &actions[i]);
    }
    check_share(world);
    if (asks_anyone(actions, count))
        check_service(world, ready, exclusive);
    for (size_t i = 0; i < count; i++)
        check_successor(world, &actions[i]);
    for (size_t i = 0; i < count; i++)
        answer(world, &actions[i]);
}

/* ---- the course of a run -------------------------------------------------------------------- */

static void
send_signal(struct world *world)
{
    static const int signals[] = {SIGHUP,  SIGHUP,  SIGHUP,  SIGTTIN,  SIGTTIN, SIGTTOU,
                                  SIGTTOU, SIGUSR1, SIGUSR2, SIGWINCH, SIGINT};
    unsigned last = world->stop_ms == NEVER ? 10 : 11;
    int number = signals[roll(world, last)];
    step(world, (struct sl_plan_event){.kind = SL_EV_SIGNAL, .number = number});
}

static void
spend(struct world *world)
{
    unsigned slot = roll(world, SLOTS);
    if (world->children[slot].life == SERVES)
        step(world, (struct sl_plan_event){.kind = SL_EV_SPENT, .slot = slot});
}

static void
feed_beats(struct world *world)
{
    for (unsigned slot = 0; slot < SLOTS; slot++) {
        const struct child *child = &world->children[slot];
        if (child->life != SERVES)
            continue;
        step(world,
             (struct sl_plan_event){.kind = SL_EV_BEAT, .slot = slot, .beat_ms = child->beat_ms});
        bool stuck = is_stuck(world, child);
        bool others = !stuck || !(child->alone || child->asked != 0);
        step(world, (struct sl_plan_event){.kind = SL_EV_REQUESTS,
                                           .slot = slot,
                                           .oldest_ms = stuck ? child->stuck_ms : world->now_ms,
                                           .newest_ms = others ? world->now_ms : child->stuck_ms});
    }
}

static void
feed_memory(struct world *world)
{
    unsigned slot;
    if (!sl_plan_wants_memory(world->plan, world->now_ms, &slot))
        return;
    const struct child *child = &world->children[slot];
    if (child->life != SERVES && child->life != EXITS)
        violate(world, "a process was weighed that is none");
    bool heavy = child->heavy_ms != NEVER && child->heavy_ms <= world->now_ms;
    bool huge = child->huge_ms != NEVER && child->huge_ms <= world->now_ms;
    step(world, (struct sl_plan_event){.kind = SL_EV_MEMORY,
                                       .slot = slot,
                                       .bytes = huge    ? world->spec.memory_hard + 1
                                                : heavy ? world->spec.memory_hard
                                                        : world->spec.memory_soft});
}

/* Time goes to the next thing that happens: a child's, or the plan's own wake-up. */
static void
advance(struct world *world, long long most_ms)
{
    long long until_ms = world->now_ms + 1 + most_ms;
    long long wake_ms = sl_plan_wake_ms(world->plan);
    if (wake_ms >= 0 && wake_ms < until_ms)
        until_ms = wake_ms > world->now_ms ? wake_ms : world->now_ms + 1;
    for (unsigned slot = 0; slot < SLOTS; slot++) {
        const struct child *child = &world->children[slot];
        if (child->life == FORK_PENDING && until_ms > world->now_ms + 20)
            until_ms = world->now_ms + 20; /* fork takes a while, not seconds */
        long long due_ms[] = {child->ready_ms, child->drains_ms, child->dies_ms};
        for (int k = 0; k < 3 && child->life >= BOOTS; k++) {
            if (due_ms[k] > world->now_ms && due_ms[k] < until_ms)
                until_ms = due_ms[k];
        }
    }
    world->now_ms = until_ms;
}

static void
turn(struct world *world)
{
    for (unsigned slot = 0; slot < SLOTS; slot++) {
        if (world->children[slot].life == FORK_PENDING && (world->calm || chance(world, 70)))
            answer_fork(world, slot);
    }
    for (unsigned slot = 0; slot < SLOTS; slot++)
        run_child(world, slot);
    feed_beats(world);
    step(world, (struct sl_plan_event){.kind = SL_EV_TICK});
    feed_memory(world);
    check_clocks(world);
}

static void
stand_still(struct world *world)
{
    world->now_ms += 2000 + roll(world, 20000);
    world->stood_still_ms = world->now_ms;
    note(world, "everything stood still until now");
    for (unsigned slot = 0; slot < SLOTS; slot++) {
        if (world->children[slot].asked != 0)
            world->children[slot].asked_ms = world->children[slot].aborted_ms = world->now_ms;
        world->children[slot].exits_from_ms = world->now_ms;
    }
}

static void
chaos(struct world *world)
{
    for (int i = 0; i < STEPS && !world->stopped && world->violation == NULL; i++) {
        turn(world);
        if (chance(world, 12))
            send_signal(world);
        for (unsigned k = world->spends ? roll(world, 8) : 0; k > 0; k--)
            spend(world);
        if (chance(world, 1) && world->stop_ms == NEVER)
            stand_still(world);
        if (world->upgrading && chance(world, 5)) {
            world->upgrading = false;
            step(world, (struct sl_plan_event){
                            .kind = SL_EV_UPGRADE_EXITED, .pid = 99999, .why = "it left"});
        }
        advance(world, roll(world, 400));
    }
}

static void
pass_time(struct world *world, long long ms)
{
    long long until_ms = world->now_ms + ms;
    while (world->now_ms < until_ms && !world->stopped && world->violation == NULL) {
        turn(world);
        advance(world, 1000);
    }
}

/* Nothing goes wrong any more: the count must come right and stay right. */
static void
calm_down(struct world *world)
{
    world->calm = true;
    for (int i = 0; i < SLOTS; i++)
        world->children[i].heavy_ms = NEVER;
    pass_time(world, 60000);
    if (world->stopped || world->violation != NULL)
        return;
    unsigned wanted = sl_plan_workers_wanted(world->plan);
    for (int i = 0; i < SLOTS; i++)
        if (world->children[i].life == SERVES && world->plan->workers[i].spent)
            violate(world, "a worker that wants to be replaced is still there");
    if (count_ready(world) != wanted || count_live(world) != wanted)
        violate(world, "the number of workers did not come right");
    if (strcmp(sl_plan_reload_name(world->plan), "steady") != 0)
        violate(world, "a reload never ended");
}

static void
stop(struct world *world)
{
    if (world->stopped || world->violation != NULL)
        return;
    step(world, (struct sl_plan_event){.kind = SL_EV_SIGNAL,
                                       .number = chance(world, 50) ? SIGTERM : SIGINT});
    pass_time(world, 60000);
    if (!world->stopped && world->violation == NULL)
        violate(world, "a stop never ended");
}

static void
start(struct world *world)
{
    world->spec = (struct sl_plan_group){.name = "web", .boot_ms = 3000, .timeout_ms = 4000};
    world->spec.request_ms = 3500;
    world->spends = chance(world, 60);
    world->spec.memory_soft = 1000;
    world->spec.memory_jitter = 100;
    world->spec.memory_hard = 2000;
    world->spec.recycle_percent = 25 * (1 + roll(world, 4));
    world->spec.graceful_ms = 1000 + roll(world, 3000);
    world->spec.exit_ms = 2000;
    world->spec.drain_ms = chance(world, 20) ? 1000 * roll(world, 5) : 0;
    world->spec.exclusive = chance(world, 25);
    world->spec.workers = world->spec.exclusive ? 1 : 1 + roll(world, 4);
    world->current = world->next = 1;
    for (int i = 0; i < GENERATIONS; i++)
        world->generations[i].failed_ms = world->generations[i].heavy_ms = -1000;
    world->generations[1].target = world->spec.workers;
    world->generations[1].exclusive = world->spec.exclusive;
    world->calm = chance(world, 60); /* most first generations can boot */
    step(world,
         (struct sl_plan_event){.kind = SL_EV_START, .groups = &world->spec, .group_count = 1});
    pass_time(world, world->calm ? 2000 : 1);
    world->calm = false;
}

const char *
sim_run(unsigned long seed, int mutant, bool trace)
{
    struct world world = {.random = seed * 0x9e3779b97f4a7c15u + 1, .trace = trace};
    world.now_ms = 100000;
    world.stop_ms = NEVER;
    roll(&world, 2);
    world.plan = sl_plan_new(SLOTS, chance(&world, 30), false);
    world.plan->mutant = mutant;
    start(&world);
    chaos(&world);
    if (world.stop_ms == NEVER && chance(&world, 70))
        calm_down(&world);
    if (world.stop_ms == NEVER)
        stop(&world);
    else
        pass_time(&world, 60000);
    if (!world.stopped && world.violation == NULL)
        violate(&world, "a stop never ended");
    sl_plan_free(world.plan);
    return world.violation;
}
