/* The plan's front: events go to the noun they concern, then what is missing is done.
 *
 * Reading order: plan_state.h (the three state diagrams), this file, plan_worker.c (clocks,
 * deaths), plan_request.c, plan_recycle.c, plan_fill.c (counts), plan_reload.c (generations).
 */
#include <assert.h>
#include <signal.h>
#include <stdlib.h>
#include <proc/plan_state.h>

#define FROM(state) (1u << (state))

static const unsigned entered_from[PHASE_COUNT] = {
    [PHASE_SERVING] = FROM(PHASE_STARTING),
    [PHASE_STOPPING] = FROM(PHASE_STARTING) | FROM(PHASE_SERVING),
    [PHASE_STOPPED] = FROM(PHASE_STOPPING),
};

/* The one place that changes the phase. */
static void
move(struct sl_plan *plan, enum phase phase)
{
    assert(entered_from[phase] & FROM(plan->phase));
    plan->phase = phase;
}

struct sl_plan *
sl_plan_new(unsigned slot_count, bool daemon, bool has_parent)
{
    struct sl_plan *plan = calloc(1, sizeof *plan + slot_count * sizeof plan->workers[0]);
    if (plan == NULL)
        return NULL;
    plan->slot_count = slot_count;
    plan->daemon = daemon;
    plan->has_parent = has_parent;
    return plan;
}

void
sl_plan_free(struct sl_plan *plan)
{
    free(plan);
}

/* A step touches each slot in at most four ways: a clock (message, kill), a death (message), a
 * request to leave (kill) and a spawn. */
size_t
sl_plan_actions_max(const struct sl_plan *plan)
{
    return (size_t)plan->slot_count * 6 + 32;
}

struct sl_plan_action *
sl_plan_emit(struct sl_plan *plan, enum sl_plan_action_kind kind)
{
    assert(plan->out_count < sl_plan_actions_max(plan));
    struct sl_plan_action *action = &plan->out[plan->out_count++];
    *action = (struct sl_plan_action){.kind = kind};
    return action;
}

struct sl_plan_action *
sl_plan_say(struct sl_plan *plan, enum sl_plan_message message)
{
    struct sl_plan_action *action = sl_plan_emit(plan, SL_DO_LOG);
    action->message = message;
    return action;
}

/* ---- stop ---------------------------------------------------------------------------------- */

static void
ask_all(struct sl_plan *plan, int signal_number)
{
    for (unsigned slot = 0; slot < plan->slot_count; slot++)
        sl_plan_ask_to_leave(plan, slot, signal_number);
}

void
sl_plan_begin_stop(struct sl_plan *plan, int signal_number, int status, const char *reason)
{
    if (plan->phase >= PHASE_STOPPING)
        return;
    move(plan, PHASE_STOPPING);
    plan->exit_status = status;
    plan->exit_reason = reason;
    sl_plan_emit(plan, SL_DO_NOTIFY_STOPPING);
    sl_plan_reload_cancel(plan);
    sl_plan_emit(plan, SL_DO_CLOSE_LISTENERS);
    ask_all(plan, signal_number);
    for (unsigned slot = 0; slot < plan->slot_count; slot++) {
        struct worker *worker = &plan->workers[slot];
        if (worker->state == WORKER_KILLED) /* perhaps long ago: its time to die counts from now */
            worker->deadline_ms = plan->now_ms + UNKILLABLE_MS;
    }
}

/* TERM. With drain_delay the workers serve on meanwhile, dead ones are replaced, and nothing else
 * is begun; where another arbiter serves the same sockets no client needs the time. */
static void
stop_in_time(struct sl_plan *plan)
{
    long long delay_ms = plan->current.groups[0].spec.drain_ms;
    bool alone = !plan->upgrading && !plan->has_parent;
    if (plan->phase != PHASE_SERVING || delay_ms == 0 || !alone) {
        sl_plan_begin_stop(plan, SIGTERM, 0, NULL);
        return;
    }
    if (plan->stop_at_ms != 0)
        return;
    plan->stop_at_ms = plan->now_ms + delay_ms;
    plan->hup_waits = false;
    sl_plan_say(plan, SL_SAY_STOP_LATER)->ms = delay_ms;
    sl_plan_reload_cancel(plan);
    sl_plan_emit(plan, SL_DO_ANNOUNCE_STOP);
}

static void
hurry_stop(struct sl_plan *plan)
{
    sl_plan_say(plan, SL_SAY_QUICK);
    ask_all(plan, SIGQUIT);
    for (unsigned slot = 0; slot < plan->slot_count; slot++) {
        struct worker *worker = &plan->workers[slot];
        long long limit_ms = plan->now_ms + QUICK_MS;
        if (worker->state == WORKER_LEAVING && worker->deadline_ms > limit_ms)
            worker->deadline_ms = limit_ms;
    }
}

static void
stop_quickly(struct sl_plan *plan)
{
    if (plan->phase == PHASE_STOPPING)
        hurry_stop(plan);
    else
        sl_plan_begin_stop(plan, SIGQUIT, 0, NULL);
}

/* A worker in uninterruptible sleep may outlive SIGKILL; the stop does not wait for it for ever. */
static bool
is_gone(const struct sl_plan *plan, const struct worker *worker)
{
    return worker->state == WORKER_FREE ||
           (worker->state == WORKER_KILLED && plan->now_ms >= worker->deadline_ms);
}

static void
finish_stop(struct sl_plan *plan)
{
    for (unsigned slot = 0; slot < plan->slot_count; slot++) {
        if (!is_gone(plan, &plan->workers[slot]))
            return;
    }
    for (unsigned slot = 0; slot < plan->slot_count; slot++) {
        if (plan->workers[slot].state != WORKER_FREE)
            sl_plan_say(plan, SL_SAY_UNKILLABLE)->pid = plan->workers[slot].pid;
    }
    move(plan, PHASE_STOPPED);
    struct sl_plan_action *action = sl_plan_emit(plan, SL_DO_EXIT);
    action->number = plan->exit_status;
    action->why = plan->exit_reason;
}

/* ---- signals ------------------------------------------------------------------------------- */

static void
add_worker(struct sl_plan *plan)
{
    const struct group *group = &plan->current.groups[0];
    if (group->spec.exclusive)
        sl_plan_say(plan, SL_SAY_EXCLUSIVE)->number = SIGTTIN;
    else if (group->target >= sl_plan_target_max(plan))
        sl_plan_say(plan, SL_SAY_TOO_MANY)->number = (int)sl_plan_target_max(plan);
    else
        sl_plan_set_target(plan, group->target + 1);
}

static void
remove_worker(struct sl_plan *plan)
{
    unsigned target = plan->current.groups[0].target;
    if (target > 1)
        sl_plan_set_target(plan, target - 1);
}

static void
set_workers(struct sl_plan *plan, int count)
{
    const struct group *group = &plan->current.groups[0];
    unsigned wanted = count < 0 ? 0 : (unsigned)count;
    if (group->spec.exclusive && wanted > 1)
        sl_plan_say(plan, SL_SAY_EXCLUSIVE)->number = SIGTTIN;
    else if (wanted > sl_plan_target_max(plan))
        sl_plan_say(plan, SL_SAY_TOO_MANY)->number = (int)sl_plan_target_max(plan);
    else
        sl_plan_set_target(plan, wanted);
    plan->rested = 0;
}

/* Any other group: a pool. */
static void
resize(struct sl_plan *plan, unsigned index, int count)
{
    struct generation *current = &plan->current;
    unsigned others = 0, wanted = count < 0 ? 0 : (unsigned)count;
    if (index >= current->group_count)
        return;
    for (unsigned i = 0; i < current->group_count; i++)
        others += i == index ? 0 : current->groups[i].target;
    if (current->groups[index].spec.exclusive && wanted > 1)
        sl_plan_say(plan, SL_SAY_EXCLUSIVE)->number = SIGTTIN;
    else if (others + wanted > sl_plan_target_max(plan))
        sl_plan_say(plan, SL_SAY_TOO_MANY)->number = (int)sl_plan_target_max(plan);
    else
        current->groups[index].target = wanted;
}

/* gunicorn obeys it in daemons only, since a terminal sends it, too. Those of a terminal do not
 * come here; while there is a successor it means what it does to nginx: let that one serve alone.
 */
static void
rest_workers(struct sl_plan *plan)
{
    if (!plan->daemon && !plan->upgrading) {
        sl_plan_say(plan, SL_SAY_WINCH_IGNORED);
        return;
    }
    sl_plan_say(plan, SL_SAY_WINCH);
    if (plan->current.groups[0].target > 0)
        plan->rested = plan->current.groups[0].target;
    sl_plan_set_target(plan, 0);
}

static void
upgrade(struct sl_plan *plan)
{
    if (plan->upgrading)
        sl_plan_say(plan, SL_SAY_CHILD_EXISTS);
    else if (plan->has_parent)
        sl_plan_say(plan, SL_SAY_PARENT_EXISTS);
    else
        sl_plan_emit(plan, SL_DO_UPGRADE);
    plan->upgrading = plan->upgrading || !plan->has_parent;
}

static void
reopen_logs(struct sl_plan *plan)
{
    sl_plan_emit(plan, SL_DO_REOPEN_LOGS);
    sl_plan_reopen_logs(plan);
}

static void
on_signal(struct sl_plan *plan, int number)
{
    if (number == SIGCONT) {
        sl_plan_stood_still(plan);
        return;
    }
    sl_plan_say(plan, SL_SAY_SIGNAL)->number = number;
    bool stopping = plan->phase == PHASE_STOPPING || plan->stop_at_ms != 0;
    switch (number) {
    case SIGTERM:
        stop_in_time(plan);
        return;
    case SIGINT:
    case SIGQUIT:
        stop_quickly(plan);
        return;
    case SIGUSR1:
        reopen_logs(plan);
        return;
    default:
        break;
    }
    if (stopping)
        return;
    switch (number) {
    case SIGHUP:
        sl_plan_hang_up(plan);
        break;
    case SIGTTIN:
        add_worker(plan);
        break;
    case SIGTTOU:
        remove_worker(plan);
        break;
    case SIGWINCH:
        rest_workers(plan);
        break;
    case SIGUSR2:
        upgrade(plan);
        break;
    default:
        break;
    }
}

/* ---- other events -------------------------------------------------------------------------- */

static void
on_start(struct sl_plan *plan, const struct sl_plan_event *event)
{
    plan->generation_ids = 1;
    sl_plan_generation_init(plan, &plan->current, event);
}

static long long clocks_wake_ms(const struct sl_plan *plan);

/* A tick that comes much later than it was due means that the arbiter itself stood still (stopped,
 * suspended, a slow hook); workers that were stopped with it are not to be called hung. */
static void
on_tick(struct sl_plan *plan)
{
    long long due_ms = clocks_wake_ms(plan);
    if (due_ms >= 0 && plan->now_ms - due_ms > LATE_MS)
        sl_plan_stood_still(plan);
    sl_plan_judge_clocks(plan);
    if (plan->stop_at_ms != 0 && plan->now_ms >= plan->stop_at_ms)
        sl_plan_begin_stop(plan, SIGTERM, 0, NULL);
}

static void
on_beat(struct sl_plan *plan, const struct sl_plan_event *event)
{
    struct worker *worker = &plan->workers[event->slot];
    if (worker->state == WORKER_READY && event->beat_ms > worker->beat_ms)
        worker->beat_ms = event->beat_ms;
}

static void
on_upgrade_failed(struct sl_plan *plan, const char *why)
{
    plan->upgrading = false;
    sl_plan_say(plan, SL_SAY_UPGRADE_FAILED)->why = why;
}

static void
on_upgrade_exited(struct sl_plan *plan, const struct sl_plan_event *event)
{
    if (!plan->upgrading || event->pid != plan->upgrade_pid)
        return;
    plan->upgrading = false;
    bool stopping = plan->phase == PHASE_STOPPING;
    struct sl_plan_action *action =
        sl_plan_say(plan, stopping ? SL_SAY_UPGRADE_LOST : SL_SAY_UPGRADE_GONE);
    action->pid = event->pid;
    action->why = event->why;
    const struct group *group = &plan->current.groups[0]; /* perhaps of another generation by now */
    if (!stopping && plan->rested > 0 && group->target == 0)
        sl_plan_set_target(plan, group->spec.exclusive ? 1 : plan->rested);
}

static void
on_promoted(struct sl_plan *plan)
{
    plan->has_parent = false;
    sl_plan_say(plan, SL_SAY_PROMOTED);
}

static void
dispatch(struct sl_plan *plan, const struct sl_plan_event *event)
{
    switch (event->kind) {
    case SL_EV_START:
        on_start(plan, event);
        break;
    case SL_EV_TICK:
        on_tick(plan);
        break;
    case SL_EV_SIGNAL:
        on_signal(plan, event->number);
        break;
    case SL_EV_BEAT:
        on_beat(plan, event);
        break;
    case SL_EV_REQUESTS:
        sl_plan_on_requests(plan, event);
        break;
    case SL_EV_MEMORY:
        sl_plan_on_memory(plan, event);
        break;
    case SL_EV_FORKED:
        sl_plan_on_forked(plan, event);
        break;
    case SL_EV_FORK_FAILED:
        sl_plan_on_fork_failed(plan, event);
        break;
    case SL_EV_LOCKED:
        sl_plan_on_locked(plan, event);
        break;
    case SL_EV_READY:
        sl_plan_on_ready(plan, event);
        break;
    case SL_EV_SPENT:
        sl_plan_on_spent(plan, event);
        break;
    case SL_EV_DRAINED:
        sl_plan_on_drained(plan, event);
        break;
    case SL_EV_EXITED:
        sl_plan_on_exited(plan, event);
        break;
    case SL_EV_LOADED:
        sl_plan_on_loaded(plan, event);
        break;
    case SL_EV_LOAD_FAILED:
        sl_plan_give_up(plan, event->why);
        break;
    case SL_EV_LISTENING:
        sl_plan_on_listening(plan);
        break;
    case SL_EV_LISTEN_FAILED:
        sl_plan_give_up(plan, event->why);
        break;
    case SL_EV_UPGRADE_FORKED:
        plan->upgrade_pid = event->pid;
        break;
    case SL_EV_UPGRADE_FAILED:
        on_upgrade_failed(plan, event->why);
        break;
    case SL_EV_UPGRADE_EXITED:
        on_upgrade_exited(plan, event);
        break;
    case SL_EV_PROMOTED:
        on_promoted(plan);
        break;
    case SL_EV_SET_WORKERS:
        if (event->group == 0)
            set_workers(plan, event->number);
        else
            resize(plan, event->group, event->number);
        break;
    case SL_EV_REMOVE:
        sl_plan_on_remove(plan, event);
        break;
    case SL_EV_COUNT:
        break;
    }
}

/* The first generation serves as soon as one worker of each group does, or if it is to have none. A
 * group that waits for a holder elsewhere is not waited for if another one serves. */
static void
note_serving(struct sl_plan *plan)
{
    bool wanted = false, all = true;
    for (size_t i = 0; i < plan->current.group_count; i++) {
        const struct group *group = &plan->current.groups[i];
        wanted = wanted || sl_plan_wanted(group) > 0;
        all = all && (sl_plan_wanted(group) == 0 || group->any_ready || group->locked);
    }
    if (plan->phase != PHASE_STARTING || (wanted && !(plan->current.any_ready && all)))
        return;
    move(plan, PHASE_SERVING);
    sl_plan_emit(plan, SL_DO_NOTIFY_READY);
}

/* What follows from the facts, whatever event brought them. */
static void
settle(struct sl_plan *plan)
{
    note_serving(plan);
    if (plan->phase == PHASE_STARTING || plan->phase == PHASE_SERVING) {
        sl_plan_reload_advance(plan);
        sl_plan_recycle(plan);
        sl_plan_fill(plan);
    } else if (plan->phase == PHASE_STOPPING) {
        if (!HOLDS(plan, RULE_NO_SPAWN_IN_STOP))
            sl_plan_fill(plan);
        finish_stop(plan);
    }
}

size_t
sl_plan_step(struct sl_plan *plan, const struct sl_plan_event *event,
             struct sl_plan_action *actions)
{
    plan->out = actions;
    plan->out_count = 0;
    plan->now_ms = event->now_ms;
    if (plan->phase == PHASE_STOPPED)
        return 0;
    dispatch(plan, event);
    settle(plan);
    if (event->kind != SL_EV_BEAT && event->kind != SL_EV_REQUESTS && event->kind != SL_EV_MEMORY)
        plan->turned_ms = plan->now_ms;
    plan->out = NULL;
    return plan->out_count;
}

/* ---- questions ----------------------------------------------------------------------------- */

static long long
sooner(long long a, long long b)
{
    return b < 0 || (a >= 0 && a < b) ? a : b;
}

static long long
spawn_wake_ms(const struct sl_plan *plan, const struct generation *generation)
{
    long long wake_ms = -1;
    if (generation->id == 0 || plan->phase >= PHASE_STOPPING)
        return -1;
    for (unsigned i = 0; i < generation->group_count; i++) {
        const struct group *group = &generation->groups[i];
        if (!sl_plan_misses(plan, generation, i))
            continue;
        if (group->spawn_at_ms > plan->now_ms)
            wake_ms = sooner(wake_ms, group->spawn_at_ms);
        else
            wake_ms = sooner(wake_ms, sl_plan_proven_wake_ms(plan, generation, i));
    }
    return wake_ms;
}

static long long
clocks_wake_ms(const struct sl_plan *plan)
{
    long long wake_ms =
        sooner(spawn_wake_ms(plan, &plan->current), spawn_wake_ms(plan, &plan->next));
    for (unsigned slot = 0; slot < plan->slot_count; slot++)
        wake_ms = sooner(wake_ms, sl_plan_worker_wake_ms(plan, &plan->workers[slot]));
    if (plan->stop_at_ms != 0 && plan->phase < PHASE_STOPPING)
        wake_ms = sooner(wake_ms, plan->stop_at_ms);
    return wake_ms;
}

/* Weighing waits for its turn where there are many: being late with it means nothing. */
long long
sl_plan_wake_ms(const struct sl_plan *plan)
{
    return sooner(clocks_wake_ms(plan), sl_plan_memory_wake_ms(plan));
}

bool
sl_plan_wants_beats(const struct sl_plan *plan)
{
    for (unsigned slot = 0; slot < plan->slot_count; slot++) {
        const struct worker *worker = &plan->workers[slot];
        if (worker->state == WORKER_READY && (worker->timeout_ms > 0 || worker->request_ms > 0))
            return true;
    }
    return false;
}

bool
sl_plan_wants_requests(const struct sl_plan *plan)
{
    for (unsigned slot = 0; slot < plan->slot_count; slot++) {
        if (sl_plan_request_wake_ms(plan, &plan->workers[slot]) >= 0)
            return true;
    }
    return false;
}

unsigned
sl_plan_workers_wanted(const struct sl_plan *plan)
{
    return plan->current.groups[0].target;
}

unsigned
sl_plan_workers_ready(const struct sl_plan *plan)
{
    return sl_plan_ready(plan, plan->current.id, 0);
}

bool
sl_plan_is_locked(const struct sl_plan *plan)
{
    return plan->current.groups[0].locked;
}

unsigned
sl_plan_generation(const struct sl_plan *plan)
{
    return plan->current.id;
}

unsigned
sl_plan_next_generation(const struct sl_plan *plan)
{
    return plan->next.id;
}
