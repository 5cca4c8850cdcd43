/* The clock of single requests.
 *
 * A worker in which a request is overdue is aborted if it can do nothing else. One that serves
 * others meanwhile (threads) is replaced: its successor is made, then it is asked to leave, the
 * others get graceful_timeout, and once only overdue requests are left it is aborted. A successor
 * that does not get ready within boot_timeout is waited for no longer.
 */
#include <signal.h>
#include <proc/plan_state.h>

enum {
    SILENT_MS = 1500,   /* more than what lies between two beats of a worker with threads */
    BEAT_SLACK_MS = 50, /* the beats' clock and that of the requests may differ by so much */
    LEAVE_MS = 1000,    /* a worker that leaves has idle connections to see off */
    WAIT_MS = 60000,    /* for the successor, where there is no boot_timeout */
};

static long long
later(long long a, long long b)
{
    return a > b ? a : b;
}

void
sl_plan_on_requests(struct sl_plan *plan, const struct sl_plan_event *event)
{
    struct worker *worker = &plan->workers[event->slot];
    worker->oldest_ms = event->oldest_ms;
    worker->newest_ms = event->newest_ms;
}

static long long
wait_ms(const struct worker *worker)
{
    return worker->boot_ms > 0 ? worker->boot_ms : WAIT_MS;
}

/* When a request may be overdue, by what is known now; -1 = this clock is not running. */
long long
sl_plan_request_wake_ms(const struct sl_plan *plan, const struct worker *worker)
{
    if (worker->request_ms == 0 || !HOLDS(plan, RULE_REQUEST_CLOCK))
        return -1;
    long long due_ms = later(worker->oldest_ms, plan->judge_from_ms) + worker->request_ms;
    if (worker->state == WORKER_READY && !worker->overdue)
        return due_ms;
    if (worker->state == WORKER_READY && HOLDS(plan, RULE_REQUEST_WAITS_NO_LONGER))
        return later(due_ms, later(worker->overdue_ms, plan->judge_from_ms) + wait_ms(worker));
    if (worker->state == WORKER_LEAVING)
        return later(later(worker->newest_ms, plan->judge_from_ms) + worker->request_ms,
                     worker->left_ms + LEAVE_MS);
    return -1;
}

/* Nothing but the overdue request has run since it began. */
static bool
is_silent(const struct sl_plan *plan, const struct worker *worker)
{
    return worker->beat_ms <= worker->oldest_ms + BEAT_SLACK_MS &&
           plan->now_ms - worker->beat_ms >= SILENT_MS;
}

void
sl_plan_judge_requests(struct sl_plan *plan, unsigned slot)
{
    struct worker *worker = &plan->workers[slot];
    long long due_ms = sl_plan_request_wake_ms(plan, worker);
    if (due_ms < 0 || plan->now_ms < due_ms)
        return;
    if (worker->state == WORKER_LEAVING || is_silent(plan, worker)) {
        sl_plan_abort(plan, slot, SL_SAY_REQUEST_CUT, worker->request_ms, worker->oldest_ms);
        return;
    }
    struct sl_plan_action *action;
    if (worker->overdue) {
        action = sl_plan_say(plan, SL_SAY_REQUEST_WAITED);
        action->slot = slot;
        action->pid = worker->pid;
        action->ms = wait_ms(worker);
        sl_plan_ask_to_leave(plan, slot, SIGTERM);
        return;
    }
    worker->replaced = worker->overdue = true;
    worker->overdue_ms = plan->now_ms;
    action = sl_plan_say(plan, SL_SAY_REQUEST_LATE);
    action->slot = slot;
    action->pid = worker->pid;
    action->ms = worker->request_ms;
    action = sl_plan_emit(plan, SL_DO_SHOW);
    action->slot = slot;
    action->pid = worker->pid;
}
