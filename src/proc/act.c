/* Carrying out what the plan decided, one function an action. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <base/clock.h>
#include <proc/arbiter_state.h>
#include <proc/stacks.h>

static void
say(struct sl_arbiter *arbiter, const struct sl_plan_action *action)
{
    char text[1200], requests[640];
    struct sl_plan_action full = *action;
    const struct child *child = &arbiter->children[action->slot];
    if (sl_plan_message_wants_requests(action->message) && child->pid == action->pid) {
        sl_slot_requests_print(child->slot, sl_clock_ns(), requests, sizeof requests);
        full.why = requests;
    }
    sl_plan_message_format(&full, text, sizeof text);
    sl_arbiter_log(arbiter, sl_plan_message_level(action->message), "%s", text);
}

/* Tells the workers of a generation which of its sockets end with them; before they are asked to
 * leave. */
static void
tell_ending(struct sl_arbiter *arbiter, const struct generation *generation, bool ends)
{
    uint64_t ending = sl_binds_ending(&arbiter->binds, &generation->binds, ends);
    for (unsigned slot = 0; slot < arbiter->child_count; slot++) {
        const struct child *child = &arbiter->children[slot];
        if (child->slot != NULL && atomic_load(&child->slot->generation) == generation->id)
            sl_slot_end_listeners(child->slot, ending);
    }
}

static void
kill_worker(struct sl_arbiter *arbiter, const struct sl_plan_action *action)
{
    struct child *child = &arbiter->children[action->slot];
    if (child->pid == 0 || child->pid != action->pid)
        return; /* reaped meanwhile */
    if (action->number == SIGABRT && arbiter->host->worker_aborted != NULL)
        arbiter->host->worker_aborted(arbiter->ctx, child->worker);
    if (action->number == SIGTERM || action->number == SIGQUIT) {
        if (child->exclusive) { /* its successor waits for it */
            sl_slot_announce_stop(child->slot);
            if (arbiter->next.binds.count > 0)
                tell_ending(arbiter, &arbiter->current, false);
        }
        sl_slot_stopping(child->slot);
    }
    if (action->number == SIGABRT) {
        sl_slot_condemn(child->slot);
        (void)kill(child->pid, sl_stacks_signal());
    }
    int rc = kill(child->pid, action->number);
    if (action->number == SIGABRT)
        (void)kill(child->pid, SIGCONT); /* one that is stopped shows where, too */
    if (rc < 0)
        sl_arbiter_log(arbiter, SL_LOG_ERROR, "Worker (pid:%d) cannot be signalled: %s",
                       (int)child->pid, strerror(errno));
}

/* ---- reload -------------------------------------------------------------------------------- */

static void
answer(struct sl_arbiter *arbiter, enum sl_plan_event_kind kind, const struct sl_error *err)
{
    snprintf(arbiter->why, sizeof arbiter->why, "%s", err == NULL ? "" : err->text);
    sl_arbiter_feed(arbiter, (struct sl_plan_event){.kind = kind, .why = arbiter->why});
}

static void
load(struct sl_arbiter *arbiter, unsigned id)
{
    struct sl_error err = {.text = "no reason was given"};
    struct sl_config *config = NULL;
    if (arbiter->host->generation_load(arbiter->ctx, true, &config, &err) != SL_OK) {
        answer(arbiter, SL_EV_LOAD_FAILED, &err);
        return;
    }
    arbiter->next = (struct generation){.id = id, .config = config};
    arbiter->host->reopen_logs(arbiter->ctx);
    if (sl_arbiter_prepare(arbiter, &arbiter->next, &err) != SL_OK) {
        answer(arbiter, SL_EV_LOAD_FAILED, &err);
        return;
    }
    sl_arbiter_feed(arbiter, (struct sl_plan_event){.kind = SL_EV_LOADED,
                                                    .groups = arbiter->next.groups,
                                                    .group_count = arbiter->next.group_count});
}

static void
listen_next(struct sl_arbiter *arbiter)
{
    struct sl_error err;
    struct generation *next = &arbiter->next;
    char names[1024];
    if (sl_binds_open(&arbiter->binds, next->config, &next->binds, &err) != SL_OK) {
        answer(arbiter, SL_EV_LISTEN_FAILED, &err);
        return;
    }
    if (sl_arbiter_binds_differ(arbiter)) {
        sl_bind_set_print(&next->binds, names, sizeof names);
        sl_arbiter_log(arbiter, SL_LOG_INFO, "Listening at: %s (%d)", names, (int)arbiter->pid);
        sl_arbiter_tell_binds(arbiter, next);
    }
    answer(arbiter, SL_EV_LISTENING, NULL);
}

static void
settle_host(struct sl_arbiter *arbiter, bool accepted)
{
    if (arbiter->host->generation_settle != NULL)
        arbiter->host->generation_settle(arbiter->ctx, accepted);
}

static void
adopt(struct sl_arbiter *arbiter)
{
    struct generation old = arbiter->current;
    tell_ending(arbiter, &old, false);
    arbiter->current = arbiter->next;
    arbiter->next = (struct generation){0};
    sl_arbiter_tell_binds(arbiter, &arbiter->current);
    sl_arbiter_drop_generation(arbiter, &old);
    settle_host(arbiter, true);
    sl_arbiter_pidfile_follow(arbiter);
    sl_arbiter_tell_name(arbiter);
}

static void
give_up(struct sl_arbiter *arbiter)
{
    bool loaded = arbiter->next.id != 0;
    sl_arbiter_tell_binds(arbiter, &arbiter->current);
    tell_ending(arbiter, &arbiter->next, false);
    sl_arbiter_drop_generation(arbiter, &arbiter->next);
    if (loaded)
        settle_host(arbiter, false);
}

/* ---- the rest ------------------------------------------------------------------------------ */

static void
workers_changed(struct sl_arbiter *arbiter, const struct sl_plan_action *action)
{
    struct sl_hook_call call = {
        .hook = SL_HOOK_nworkers_changed, .new_value = action->number, .old_value = action->old};
    arbiter->host->hook(arbiter->ctx, &call);
}

static void
notify_ready(struct sl_arbiter *arbiter)
{
    if (!arbiter->settled)
        settle_host(arbiter, true);
    if (!arbiter->settled && arbiter->words_fd >= 0) {
        close(arbiter->words_fd);
        arbiter->words_fd = -1;
    }
    arbiter->settled = true;
    sl_arbiter_notify_ready(arbiter);
}

static void
tell_stop(struct sl_arbiter *arbiter)
{
    for (unsigned slot = 0; slot < arbiter->child_count; slot++) {
        if (arbiter->children[slot].slot != NULL)
            sl_slot_announce_end(arbiter->children[slot].slot);
    }
}

static void
announce_stop(struct sl_arbiter *arbiter)
{
    arbiter->stop_is_near = true; /* workers that are forked from now on are told at once */
    tell_stop(arbiter);
    sl_arbiter_notify_stopping(arbiter);
}

static void
close_listeners(struct sl_arbiter *arbiter)
{
    tell_ending(arbiter, &arbiter->current, true);
    if (!arbiter->binds.keep_files) /* another arbiter: the service goes on */
        tell_stop(arbiter);
    sl_binds_drop(&arbiter->binds, &arbiter->current.binds);
}

static void
leave(struct sl_arbiter *arbiter, const struct sl_plan_action *action)
{
    enum sl_log_level level = action->why == NULL ? SL_LOG_INFO : SL_LOG_ERROR;
    sl_arbiter_log(arbiter, level, "Shutting down: %s", sl_arbiter_name(arbiter));
    if (action->why != NULL)
        sl_arbiter_log(arbiter, level, "Reason: %s", action->why);
    arbiter->status = action->number;
    arbiter->done = true;
}

/* These open files, or make a process that does. */
static bool
needs_descriptors(enum sl_plan_action_kind kind)
{
    return kind == SL_DO_SPAWN || kind == SL_DO_LOAD || kind == SL_DO_LISTEN ||
           kind == SL_DO_ADOPT || kind == SL_DO_REOPEN_LOGS || kind == SL_DO_UPGRADE;
}

void
sl_arbiter_act(struct sl_arbiter *arbiter, const struct sl_plan_action *action)
{
    bool lent = needs_descriptors(action->kind);
    if (action->kind == SL_DO_SPAWN) /* before the reserve is lent: not for something that stays */
        sl_stacks_clear(&arbiter->stacks_fds[action->slot]);
    if (action->kind != SL_DO_LOG)
        sl_arbiter_bury(arbiter);
    if (lent)
        sl_reserve_lend(&arbiter->reserve);
    switch (action->kind) {
    case SL_DO_LOG:
        say(arbiter, action);
        break;
    case SL_DO_SPAWN:
        sl_arbiter_spawn(arbiter, action);
        break;
    case SL_DO_KILL:
        kill_worker(arbiter, action);
        break;
    case SL_DO_SHOW:
        if (arbiter->children[action->slot].pid == action->pid && action->pid != 0)
            (void)kill(action->pid, sl_stacks_signal());
        break;
    case SL_DO_LOAD:
        load(arbiter, action->generation);
        break;
    case SL_DO_LISTEN:
        listen_next(arbiter);
        break;
    case SL_DO_HOOK_RELOAD:
        sl_arbiter_hook(arbiter, SL_HOOK_on_reload, NULL);
        break;
    case SL_DO_ADOPT:
        adopt(arbiter);
        break;
    case SL_DO_GIVE_UP:
        give_up(arbiter);
        break;
    case SL_DO_WORKERS_CHANGED:
        workers_changed(arbiter, action);
        break;
    case SL_DO_CLOSE_LISTENERS:
        close_listeners(arbiter);
        break;
    case SL_DO_REOPEN_LOGS:
        arbiter->host->reopen_logs(arbiter->ctx);
        break;
    case SL_DO_UPGRADE:
        sl_arbiter_upgrade(arbiter);
        break;
    case SL_DO_NOTIFY_READY:
        notify_ready(arbiter);
        break;
    case SL_DO_NOTIFY_RELOADING:
        sl_arbiter_notify_reloading(arbiter);
        break;
    case SL_DO_NOTIFY_STOPPING:
        if (!arbiter->stop_is_near)
            sl_arbiter_notify_stopping(arbiter);
        break;
    case SL_DO_ANNOUNCE_STOP:
        announce_stop(arbiter);
        break;
    case SL_DO_EXIT:
        leave(arbiter, action);
        break;
    }
    if (lent)
        sl_reserve_fill(&arbiter->reserve);
}
