/* The plan with web workers and pools beside them, driven through random lives: deaths, reloads,
 * other sizes, failed forks. What must always hold of pools is checked at each step.
 *
 *     proc-plan_pools [SEED]   one seed instead of many
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <proc/plan_state.h>

enum {
    SLOTS = 48,
    GROUPS = 3,
    STEPS = 400,
    SEEDS = 400,
    EVENTS = 512,
    WEB = 0,
    POOL = 1,
    ONLY = 2
};

enum life { GONE, BOOTS, SERVES, LEAVES };

struct world {
    struct sl_plan *plan;
    struct sl_plan_group groups[GROUPS];
    struct {
        enum life life;
        unsigned generation, group;
    } children[SLOTS];
    uint64_t dice;
    unsigned seed;
    long long now_ms;
    pid_t last_pid;
    bool calm, ended;
    struct sl_plan_event events[EVENTS];
    size_t event_count;
    struct sl_plan_action actions[SLOTS * 6 + 32];
};

static unsigned one_seed;

static unsigned
roll(struct world *world, unsigned sides)
{
    world->dice = world->dice * 6364136223846793005ULL + 1442695040888963407ULL;
    return (unsigned)(world->dice >> 33) % sides;
}

static bool
chance(struct world *world, unsigned percent)
{
    return roll(world, 100) < percent;
}

static void
require(const struct world *world, bool holds, const char *what)
{
    if (!holds)
        fail_msg("seed %u at %lld ms: %s", world->seed, world->now_ms, what);
}

static unsigned
count_of(const struct world *world, unsigned generation, unsigned group, enum life at_least)
{
    unsigned count = 0;
    for (unsigned i = 0; i < SLOTS; i++)
        count += world->children[i].life >= at_least && world->children[i].group == group &&
                 (generation == 0 || world->children[i].generation == generation);
    return count;
}

static void step(struct world *world, struct sl_plan_event event);

static void
spawn(struct world *world, const struct sl_plan_action *action)
{
    const struct generation *of = sl_plan_find_generation(world->plan, action->generation);
    require(world, world->children[action->slot].life == GONE, "spawned into a slot in use");
    require(world, of != NULL, "spawned for no generation");
    if (action->group != WEB)
        require(world,
                count_of(world, action->generation, action->group, BOOTS) <
                    sl_plan_wanted(&of->groups[action->group]),
                "two workers at one place of a pool");
    if (action->group == ONLY)
        require(world, count_of(world, 0, ONLY, BOOTS) == 0, "two workers of an exclusive pool");
    if (!world->calm && chance(world, 5)) {
        step(world, (struct sl_plan_event){
                        .kind = SL_EV_FORK_FAILED, .slot = action->slot, .why = "no process"});
        return;
    }
    world->children[action->slot].life = BOOTS;
    world->children[action->slot].generation = action->generation;
    world->children[action->slot].group = action->group;
    step(world, (struct sl_plan_event){
                    .kind = SL_EV_FORKED, .slot = action->slot, .pid = ++world->last_pid});
}

static void
dies(struct world *world, unsigned slot, int status)
{
    world->children[slot].life = GONE;
    step(world, (struct sl_plan_event){.kind = SL_EV_EXITED, .slot = slot, .number = status});
}

static void
load(struct world *world)
{
    world->groups[POOL].workers = roll(world, 5);
    if (!world->calm && chance(world, 20))
        step(world, (struct sl_plan_event){.kind = SL_EV_LOAD_FAILED, .why = "wrong"});
    else
        step(world, (struct sl_plan_event){
                        .kind = SL_EV_LOADED, .groups = world->groups, .group_count = GROUPS});
}

static void
act(struct world *world, const struct sl_plan_action *action)
{
    switch (action->kind) {
    case SL_DO_SPAWN:
        spawn(world, action);
        break;
    case SL_DO_KILL:
        if (action->number == SIGKILL)
            dies(world, action->slot, SIGKILL);
        else if (action->number != SIGUSR1 && world->children[action->slot].life != GONE)
            world->children[action->slot].life = LEAVES;
        break;
    case SL_DO_LOAD:
        load(world);
        break;
    case SL_DO_LISTEN:
        step(world, (struct sl_plan_event){.kind = SL_EV_LISTENING});
        break;
    case SL_DO_EXIT:
        world->ended = true;
        break;
    default:
        break;
    }
}

/* As in the arbiter: what happens while actions are carried out is told after them. */
static void
step(struct world *world, struct sl_plan_event event)
{
    require(world, world->event_count < EVENTS, "too many events at once");
    world->events[world->event_count++] = event;
    if (world->event_count > 1)
        return;
    for (size_t next = 0; next < world->event_count; next++) {
        world->events[next].now_ms = world->now_ms;
        size_t count = sl_plan_step(world->plan, &world->events[next], world->actions);
        for (size_t i = 0; i < count; i++)
            act(world, &world->actions[i]);
    }
    world->event_count = 0;
}

static void
live(struct world *world, unsigned slot)
{
    static const int ends[] = {0, 0, 1 << 8, 77 << 8, SIGSEGV, SIGKILL};
    enum life life = world->children[slot].life;
    if (life == BOOTS && chance(world, 60)) {
        world->children[slot].life = SERVES;
        step(world, (struct sl_plan_event){.kind = SL_EV_READY, .slot = slot});
    } else if (life == LEAVES && chance(world, 40)) {
        dies(world, slot, 0);
    } else if (life == SERVES && !world->calm && chance(world, 6)) {
        dies(world, slot, ends[roll(world, 6)]);
    }
}

static void
disturb(struct world *world)
{
    unsigned slot = roll(world, SLOTS), what = roll(world, 100);
    if (what < 3)
        step(world, (struct sl_plan_event){.kind = SL_EV_SIGNAL, .number = SIGHUP});
    else if (what < 8)
        step(world, (struct sl_plan_event){
                        .kind = SL_EV_SET_WORKERS, .group = POOL, .number = (int)roll(world, 6)});
    else if (what < 12 && world->children[slot].life > GONE && world->children[slot].group == POOL)
        step(world, (struct sl_plan_event){.kind = SL_EV_REMOVE,
                                           .slot = slot,
                                           .number = chance(world, 50) ? SIGTERM : SIGQUIT});
    else if (what < 13)
        step(world, (struct sl_plan_event){.kind = SL_EV_SIGNAL, .number = SIGTTIN});
}

static void
pass(struct world *world)
{
    world->now_ms += roll(world, 400);
    step(world, (struct sl_plan_event){.kind = SL_EV_TICK});
    for (unsigned slot = 0; slot < SLOTS && !world->ended; slot++)
        live(world, slot);
    if (!world->calm && !world->ended)
        disturb(world);
}

static void
begin(struct world *world, unsigned seed)
{
    *world = (struct world){.seed = seed, .dice = seed * 2654435761ULL + 1, .now_ms = 1000};
    world->plan = sl_plan_new(SLOTS, false, false);
    world->groups[WEB] = (struct sl_plan_group){.name = "web", .workers = 2};
    world->groups[POOL] = (struct sl_plan_group){.name = "pool", .workers = 3, .keeps_place = true};
    world->groups[ONLY] = (struct sl_plan_group){
        .name = "only", .workers = 1, .keeps_place = true, .exclusive = true};
    for (unsigned i = 0; i < GROUPS; i++)
        world->groups[i].graceful_ms = world->groups[i].exit_ms = 5000;
    world->groups[POOL].restart = (enum sl_restart)(seed % 3);
    step(world, (struct sl_plan_event){
                    .kind = SL_EV_START, .groups = world->groups, .group_count = GROUPS});
}

/* Without disturbance every group comes to its size, and a stop to its end. */
static void
check_calm(struct world *world)
{
    world->calm = true;
    for (int i = 0; i < 600; i++)
        pass(world);
    const struct generation *current = &world->plan->current;
    for (unsigned i = 0; i < GROUPS; i++)
        require(world,
                count_of(world, current->id, i, SERVES) == sl_plan_wanted(&current->groups[i]),
                "a group has not come to its size");
    step(world, (struct sl_plan_event){.kind = SL_EV_SIGNAL, .number = SIGTERM});
    for (int i = 0; i < 600 && !world->ended; i++)
        pass(world);
    require(world, world->ended, "a stop does not end");
    for (unsigned i = 0; i < GROUPS; i++)
        require(world, count_of(world, 0, i, BOOTS) == 0, "a worker was left");
}

static void
test_random_lives_of_pools(void **state)
{
    (void)state;
    static struct world world;
    for (unsigned seed = 1; seed <= SEEDS; seed++) {
        begin(&world, one_seed != 0 ? one_seed : seed);
        for (int i = 0; i < STEPS && !world.ended; i++)
            pass(&world);
        if (!world.ended) /* a first generation that cannot boot ends by itself */
            check_calm(&world);
        sl_plan_free(world.plan);
        if (one_seed != 0)
            break;
    }
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random_lives_of_pools)};
    one_seed = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
