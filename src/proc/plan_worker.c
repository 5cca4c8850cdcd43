/* One worker's part of the plan: its states, its clocks, how its death is judged. */
#include <assert.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <saola/host.h>
#include <proc/plan_state.h>

#define FROM(state) (1u << (state))

/* From which states each state may be entered; the diagram in plan_state.h. */
static const unsigned entered_from[WORKER_STATE_COUNT] = {
    [WORKER_FREE] = ~FROM(WORKER_FREE),
    [WORKER_FORKING] = FROM(WORKER_FREE),
    [WORKER_BOOTING] = FROM(WORKER_FORKING),
    [WORKER_READY] = FROM(WORKER_BOOTING),
    [WORKER_ABORTING] =
        FROM(WORKER_BOOTING) | FROM(WORKER_READY) | FROM(WORKER_LEAVING) | FROM(WORKER_EXITING),
    [WORKER_LEAVING] = FROM(WORKER_BOOTING) | FROM(WORKER_READY),
    [WORKER_EXITING] =
        FROM(WORKER_BOOTING) | FROM(WORKER_READY) | FROM(WORKER_LEAVING) | FROM(WORKER_ABORTING),
    [WORKER_KILLED] = FROM(WORKER_ABORTING),
};

/* The one place that changes a worker's state. */
static void
move(struct worker *worker, enum worker_state state)
{
    assert(entered_from[state] & FROM(worker->state));
    worker->state = state;
}

void
sl_plan_spawn(struct sl_plan *plan, unsigned slot, const struct generation *generation,
              unsigned group)
{
    struct worker *worker = &plan->workers[slot];
    const struct group *of = &generation->groups[group];
    move(worker, WORKER_FORKING);
    worker->leaving = worker->booted = worker->reopen = worker->drained = false;
    worker->replaced = worker->spent = worker->recycled = worker->overdue = false;
    worker->hand_over = of->hand_over;
    worker->generation = generation->id;
    worker->group = group;
    memcpy(worker->name, of->spec.name, sizeof worker->name);
    worker->round = of->round;
    worker->age = ++plan->ages;
    worker->pid = 0;
    worker->asked = 0;
    worker->boot_ms = of->spec.boot_ms;
    worker->timeout_ms = of->spec.timeout_ms;
    worker->request_ms = of->spec.request_ms;
    worker->graceful_ms = of->spec.graceful_ms;
    worker->exit_ms = of->spec.exit_ms;
    worker->lifetime_ms = sl_plan_lifetime_ms(&of->spec, worker->age);
    sl_plan_memory_begin(worker, &of->spec);
    struct sl_plan_action *action = sl_plan_emit(plan, SL_DO_SPAWN);
    action->slot = slot;
    action->generation = generation->id;
    action->group = group;
}

void
sl_plan_kill(struct sl_plan *plan, unsigned slot, int signal_number)
{
    struct sl_plan_action *action = sl_plan_emit(plan, SL_DO_KILL);
    action->slot = slot;
    action->pid = plan->workers[slot].pid;
    action->number = signal_number;
}

/* Never the same request twice: a second TERM may hit an interpreter that is shutting down. */
void
sl_plan_ask_to_leave(struct sl_plan *plan, unsigned slot, int signal_number)
{
    struct worker *worker = &plan->workers[slot];
    if (worker->state == WORKER_FREE)
        return;
    worker->leaving = true;
    if (worker->state == WORKER_BOOTING || worker->state == WORKER_READY) {
        move(worker, WORKER_LEAVING);
        worker->left_ms = plan->now_ms;
        worker->deadline_ms = plan->now_ms + worker->graceful_ms;
    } else if (worker->state != WORKER_LEAVING || worker->asked == signal_number ||
               worker->asked == SIGQUIT) {
        return;
    }
    worker->asked = signal_number;
    sl_plan_kill(plan, slot, signal_number);
}

/* ---- clocks -------------------------------------------------------------------------------- */

static void count_against(struct sl_plan *plan, const struct worker *worker, int code);
static void kill_for_good(struct sl_plan *plan, unsigned slot);

/* It shows where it is and may still save what it has; a second later it is killed unless it has
 * drained meanwhile. Its place is free from now on. */
static void
begin_abort(struct sl_plan *plan, unsigned slot)
{
    struct worker *worker = &plan->workers[slot];
    bool alone = worker->hand_over && !worker->leaving && HOLDS(plan, RULE_ABORT_ALONE_IS_SHORT);
    move(worker, WORKER_ABORTING);
    worker->deadline_ms = plan->now_ms + (alone ? ABORT_ALONE_MS : ABORT_MS);
    sl_plan_kill(plan, slot, SIGABRT);
    if (HOLDS(plan, RULE_ABORT_FREES_PLACE))
        worker->leaving = true;
}

/* Nobody was ever ready and one hangs while it boots: the others that boot hang as well, and have
 * nothing to finish. One report is enough. */
static void
give_up_start(struct sl_plan *plan)
{
    sl_plan_begin_stop(plan, SIGTERM, SL_EXIT_WORKER_BOOT,
                       "No worker was ready within boot_timeout.");
    for (unsigned slot = 0; slot < plan->slot_count; slot++) {
        struct worker *worker = &plan->workers[slot];
        if (worker->state != WORKER_LEAVING || worker->booted)
            continue;
        move(worker, WORKER_ABORTING);
        kill_for_good(plan, slot);
    }
}

/* Its failure is counted if it had not been asked to leave. */
void
sl_plan_abort(struct sl_plan *plan, unsigned slot, enum sl_plan_message message, long long limit_ms,
              long long since_ms)
{
    struct worker was = plan->workers[slot];
    struct sl_plan_action *action = sl_plan_say(plan, message);
    action->slot = slot;
    action->pid = was.pid;
    action->ms = limit_ms;
    action->elapsed_ms = plan->now_ms - since_ms;
    begin_abort(plan, slot);
    if (was.leaving || !HOLDS(plan, RULE_ABORT_FREES_PLACE))
        return;
    if (message == SL_SAY_BOOT_TIMEOUT && was.generation == plan->next.id)
        sl_plan_give_up(plan, "a new worker was not ready within boot_timeout.");
    else if (message == SL_SAY_BOOT_TIMEOUT && plan->phase == PHASE_STARTING)
        give_up_start(plan);
    else if (message != SL_SAY_REQUEST_CUT)
        count_against(plan, &was, -1);
}

void
sl_plan_abort_silently(struct sl_plan *plan, unsigned slot)
{
    struct worker was = plan->workers[slot];
    begin_abort(plan, slot);
    if (!was.leaving && HOLDS(plan, RULE_ABORT_FREES_PLACE))
        count_against(plan, &was, -1);
}

static void
kill_for_good(struct sl_plan *plan, unsigned slot)
{
    struct worker *worker = &plan->workers[slot];
    move(worker, WORKER_KILLED);
    worker->deadline_ms = plan->now_ms + UNKILLABLE_MS;
    sl_plan_kill(plan, slot, SIGKILL);
}

static long long
later(long long a, long long b)
{
    return a > b ? a : b;
}

/* When the clock of its state runs out; -1 = there is none. */
static long long
wake_ms(const struct sl_plan *plan, const struct worker *worker)
{
    switch (worker->state) {
    case WORKER_BOOTING:
        return worker->boot_ms == 0
                   ? -1
                   : later(worker->forked_ms, plan->judge_from_ms) + worker->boot_ms;
    case WORKER_READY:
        return worker->timeout_ms == 0
                   ? -1
                   : later(worker->beat_ms, plan->judge_from_ms) + worker->timeout_ms;
    case WORKER_ABORTING:
        return HOLDS(plan, RULE_ABORT_THEN_KILL) ? worker->deadline_ms : -1;
    case WORKER_LEAVING:
        return HOLDS(plan, RULE_KILL_AFTER_GRACE) ? worker->deadline_ms : -1;
    case WORKER_EXITING:
        return worker->exit_ms > 0 && HOLDS(plan, RULE_EXIT_CLOCK_ENDS) ? worker->deadline_ms : -1;
    case WORKER_KILLED:
        return plan->phase == PHASE_STOPPING ? worker->deadline_ms : -1;
    default:
        return -1;
    }
}

static long long
sooner(long long a, long long b)
{
    return b < 0 || (a >= 0 && a < b) ? a : b;
}

/* When a clock of this worker runs out; -1 = no clock is running. */
long long
sl_plan_worker_wake_ms(const struct sl_plan *plan, const struct worker *worker)
{
    return sooner(sooner(wake_ms(plan, worker), sl_plan_request_wake_ms(plan, worker)),
                  sl_plan_lifetime_wake_ms(worker));
}

void
sl_plan_judge_clocks(struct sl_plan *plan)
{
    for (unsigned slot = 0; slot < plan->slot_count; slot++) {
        struct worker *worker = &plan->workers[slot];
        sl_plan_judge_requests(plan, slot);
        sl_plan_judge_lifetime(plan, slot);
        long long due_ms = wake_ms(plan, worker);
        if (due_ms < 0 || plan->now_ms < due_ms)
            continue;
        if (worker->state == WORKER_BOOTING)
            sl_plan_abort(plan, slot, SL_SAY_BOOT_TIMEOUT, worker->boot_ms, worker->forked_ms);
        else if (worker->state == WORKER_READY)
            sl_plan_abort(plan, slot, SL_SAY_TIMEOUT, worker->timeout_ms, worker->beat_ms);
        else if (worker->state == WORKER_LEAVING)
            sl_plan_abort(plan, slot, SL_SAY_GRACE_OVER, worker->graceful_ms, worker->left_ms);
        else if (worker->state == WORKER_EXITING)
            sl_plan_abort(plan, slot, SL_SAY_EXIT_OVER, worker->exit_ms, worker->left_ms);
        else if (worker->state != WORKER_KILLED)
            kill_for_good(plan, slot);
    }
}

/* The arbiter was stopped, and perhaps everybody with it: nothing that happened before counts as
 * old, and what has to end by a certain time gets the time that may have been lost. */
void
sl_plan_stood_still(struct sl_plan *plan)
{
    long long lost_ms = plan->now_ms - plan->turned_ms;
    plan->judge_from_ms = plan->now_ms;
    for (unsigned slot = 0; slot < plan->slot_count; slot++) {
        struct worker *worker = &plan->workers[slot];
        if (worker->state >= WORKER_ABORTING && worker->state <= WORKER_EXITING)
            worker->deadline_ms += lost_ms;
    }
}

/* ---- failures ------------------------------------------------------------------------------ */

static long long
back_off_ms(unsigned failures, int factor)
{
    if (failures == 0)
        return 0;
    long long ms = BACKOFF_FIRST_MS;
    for (unsigned i = 1; i < failures && ms < BACKOFF_MAX_MS; i++)
        ms *= factor;
    return ms < BACKOFF_MAX_MS ? ms : BACKOFF_MAX_MS;
}

/* Counts a failure once per round: workers that were spawned together and die together are one
 * failure, or killing four of them by hand would look like a crash loop. Returns whether it was
 * counted. */
static bool
count_failure(struct sl_plan *plan, struct group *group, const struct worker *worker,
              unsigned at_least)
{
    if (worker->round != group->round)
        return false;
    if (worker->booted && plan->now_ms - worker->ready_ms >= SETTLED_MS)
        group->failures = 0;
    unsigned step = group->failures > at_least ? group->failures : at_least;
    group->failures++;
    group->round++;
    int factor = sl_plan_somebody_serves(plan, worker->generation, worker->group) ? BACKOFF_FACTOR
                                                                                  : BACKOFF_STEEP;
    group->spawn_at_ms = later(group->spawn_at_ms, plan->now_ms + back_off_ms(step, factor));
    return true;
}

static void
say_crash_loop(struct sl_plan *plan, const struct group *group)
{
    if (group->failures < CRASH_LOOP)
        return;
    struct sl_plan_action *action = sl_plan_say(plan, SL_SAY_CRASH_LOOP);
    action->number = (int)group->failures;
    action->ms = group->spawn_at_ms - plan->now_ms;
}

static const char *
boot_reason(int code)
{
    return code == SL_EXIT_APP_LOAD ? "App failed to load." : "Worker failed to boot.";
}

static bool
is_boot_code(int code)
{
    return code == SL_EXIT_WORKER_BOOT || code == SL_EXIT_APP_LOAD;
}

/* A worker of the generation being loaded died. */
static void
judge_in_reload(struct sl_plan *plan, const struct worker *was, int code)
{
    const struct group *group = &plan->next.groups[was->group];
    if (!was->booted && (is_boot_code(code) || group->spec.exclusive))
        sl_plan_give_up(plan, boot_reason(code));
    else if (!plan->next.any_ready)
        sl_plan_give_up(plan, "a new worker died before any of them was ready.");
    else if (group->failures >= SL_PLAN_BOOT_LIMIT)
        sl_plan_give_up(plan, "the new workers die again and again.");
}

/* A worker of the first generation died and none was ever ready: is it hopeless? */
static void
judge_at_start(struct sl_plan *plan, const struct worker *was, int code)
{
    const struct group *group = &plan->current.groups[was->group];
    if (was->booted)
        return;
    if (is_boot_code(code))
        sl_plan_begin_stop(plan, SIGTERM, code, boot_reason(code));
    else if (group->failures >= SL_PLAN_BOOT_LIMIT)
        sl_plan_begin_stop(plan, SIGTERM, SL_EXIT_WORKER_BOOT, boot_reason(SL_EXIT_WORKER_BOOT));
}

/* A worker failed: it died, or it hangs (code -1) and is about to. */
static void
count_against(struct sl_plan *plan, const struct worker *was, int code)
{
    struct generation *generation = sl_plan_find_generation(plan, was->generation);
    if (generation == NULL || plan->phase >= PHASE_STOPPING)
        return;
    struct group *group = &generation->groups[was->group];
    if (count_failure(plan, group, was, 0))
        say_crash_loop(plan, group);
    if (generation == &plan->next)
        judge_in_reload(plan, was, code);
    else if (plan->phase == PHASE_STARTING)
        judge_at_start(plan, was, code);
}

/* It has ended by itself, and its group's policy is to leave it at that. */
static void
note_finished(struct sl_plan *plan, const struct worker *was, bool orderly)
{
    struct generation *generation = sl_plan_find_generation(plan, was->generation);
    if (generation == NULL || was->asked != 0)
        return;
    struct group *group = &generation->groups[was->group];
    group->finished += group->spec.restart == SL_RESTART_NEVER ||
                       (group->spec.restart == SL_RESTART_ON_FAILURE && orderly);
}

static void
judge_death(struct sl_plan *plan, const struct worker *was, int code, bool outside)
{
    if (code == SL_EXIT_HALT && was->booted) {
        sl_plan_begin_stop(plan, SIGTERM, code, "a worker has asked for it.");
        return;
    }
    bool alone = was->state == WORKER_READY || was->state == WORKER_EXITING;
    bool orderly = was->booted && alone && code == 0;
    note_finished(plan, was, orderly);
    bool victim = outside && was->booted && plan->now_ms - was->ready_ms >= OUTSIDE_MS;
    if (!orderly && !victim && !was->leaving)
        count_against(plan, was, code);
}

static void
say_death(struct sl_plan *plan, const struct worker *was, int status, const char *who)
{
    struct sl_plan_action *action;
    if (WIFSIGNALED(status)) {
        int number = WTERMSIG(status);
        action = sl_plan_say(plan, number == SIGKILL && was->state != WORKER_KILLED ? SL_SAY_KILLED
                                   : number == SIGTERM ? SL_SAY_TERMINATED
                                                       : SL_SAY_SIGNALED);
        action->number = number;
        if (was->state != WORKER_KILLED) /* it was we, and it was said why */
            action->why = who;
    } else if (WEXITSTATUS(status) != 0) {
        action = sl_plan_say(plan, SL_SAY_EXITED);
        action->number = WEXITSTATUS(status);
        action->why = who;
    } else {
        return;
    }
    action->pid = was->pid;
}

/* ---- events -------------------------------------------------------------------------------- */

void
sl_plan_on_forked(struct sl_plan *plan, const struct sl_plan_event *event)
{
    struct worker *worker = &plan->workers[event->slot];
    if (worker->state != WORKER_FORKING)
        return;
    move(worker, WORKER_BOOTING);
    struct generation *generation = sl_plan_find_generation(plan, worker->generation);
    if (generation != NULL)
        generation->groups[worker->group].locked = false;
    worker->pid = event->pid;
    worker->forked_ms = worker->beat_ms = plan->now_ms;
    if (worker->leaving && HOLDS(plan, RULE_FORKED_IN_STOP_LEAVES))
        sl_plan_ask_to_leave(plan, event->slot, SIGTERM);
}

void
sl_plan_on_fork_failed(struct sl_plan *plan, const struct sl_plan_event *event)
{
    struct worker *worker = &plan->workers[event->slot];
    if (worker->state != WORKER_FORKING)
        return;
    struct worker was = *worker;
    move(worker, WORKER_FREE);
    struct generation *generation = sl_plan_find_generation(plan, was.generation);
    if (generation == NULL || plan->phase >= PHASE_STOPPING)
        return;
    struct group *group = &generation->groups[was.group];
    bool counted = !was.leaving && count_failure(plan, group, &was, 1);
    group->spawn_at_ms = later(group->spawn_at_ms, plan->now_ms + BACKOFF_FIRST_MS);
    if (!counted)
        return;
    struct sl_plan_action *action = sl_plan_say(plan, SL_SAY_FORK_FAILED);
    action->why = event->why;
    action->ms = group->spawn_at_ms - plan->now_ms;
    if (generation == &plan->next && group->failures >= SL_PLAN_BOOT_LIMIT)
        sl_plan_give_up(plan, "its workers cannot be started.");
    else if (plan->phase == PHASE_STARTING)
        judge_at_start(plan, &was, 0);
}

/* Not a failure: another arbiter's worker, or an orphan, still runs what this group has once. */
void
sl_plan_on_locked(struct sl_plan *plan, const struct sl_plan_event *event)
{
    struct worker *worker = &plan->workers[event->slot];
    if (worker->state != WORKER_FORKING)
        return;
    struct generation *generation = sl_plan_find_generation(plan, worker->generation);
    move(worker, WORKER_FREE);
    if (generation == NULL)
        return;
    struct group *group = &generation->groups[worker->group];
    group->spawn_at_ms = later(group->spawn_at_ms, plan->now_ms + LOCK_RETRY_MS);
    if (!group->locked)
        sl_plan_say(plan, SL_SAY_LOCKED)->why = event->why;
    group->locked = true;
}

void
sl_plan_on_ready(struct sl_plan *plan, const struct sl_plan_event *event)
{
    struct worker *worker = &plan->workers[event->slot];
    if (worker->state != WORKER_BOOTING)
        return;
    move(worker, WORKER_READY);
    sl_plan_say(plan, SL_SAY_READY)->pid = worker->pid;
    worker->booted = true;
    worker->ready_ms = plan->now_ms;
    worker->beat_ms = worker->oldest_ms = worker->newest_ms = plan->now_ms;
    sl_plan_memory_ready(plan, worker);
    struct generation *generation = sl_plan_find_generation(plan, worker->generation);
    if (generation != NULL)
        generation->any_ready = generation->groups[worker->group].any_ready = true;
    if (worker->reopen)
        sl_plan_kill(plan, event->slot, SIGUSR1);
    worker->reopen = false;
}

/* The drain is over and its clock with it; the exit hooks have their own, which starts now. */
void
sl_plan_on_drained(struct sl_plan *plan, const struct sl_plan_event *event)
{
    struct worker *worker = &plan->workers[event->slot];
    bool lives = worker->state >= WORKER_BOOTING && worker->state <= WORKER_LEAVING;
    if (!lives || worker->drained || !HOLDS(plan, RULE_EXIT_HAS_ITS_CLOCK))
        return;
    move(worker, WORKER_EXITING);
    worker->drained = true;
    worker->left_ms = plan->now_ms;
    worker->deadline_ms = plan->now_ms + worker->exit_ms;
}

void
sl_plan_on_exited(struct sl_plan *plan, const struct sl_plan_event *event)
{
    struct worker *worker = &plan->workers[event->slot];
    if (worker->state == WORKER_FREE || worker->state == WORKER_FORKING)
        return;
    struct worker was = *worker;
    move(worker, WORKER_FREE);
    say_death(plan, &was, event->number, event->why);
    judge_death(plan, &was, WIFEXITED(event->number) ? WEXITSTATUS(event->number) : -1,
                event->outside);
}

/* One that leaves already has been taken off the count, or is replaced: it is left alone. */
void
sl_plan_on_remove(struct sl_plan *plan, const struct sl_plan_event *event)
{
    const struct worker *worker = &plan->workers[event->slot];
    bool ours = worker->generation == plan->current.id && worker->state != WORKER_FREE;
    if (!ours || worker->leaving)
        return;
    struct group *group = &plan->current.groups[worker->group];
    if (group->target > 0)
        group->target--;
    sl_plan_ask_to_leave(plan, event->slot, event->number);
}

/* USR1 would end a worker that has no handler for it yet, so booting ones get it when ready. */
void
sl_plan_reopen_logs(struct sl_plan *plan)
{
    for (unsigned slot = 0; slot < plan->slot_count; slot++) {
        struct worker *worker = &plan->workers[slot];
        if (worker->state == WORKER_FORKING || worker->state == WORKER_BOOTING)
            worker->reopen = true;
        else if (worker->booted &&
                 (worker->state == WORKER_READY || worker->state == WORKER_LEAVING))
            sl_plan_kill(plan, slot, SIGUSR1);
    }
}
