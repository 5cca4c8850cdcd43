/* Worker processes: fork, the first steps inside the child, and reaping. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <base/clock.h>
#include <proc/arbiter_state.h>
#include <proc/exclusive.h>
#include <proc/orphan.h>
#include <proc/privileges.h>
#include <proc/stacks.h>

/* What a worker process is asked about itself; set once, right after its fork. */
static struct {
    int death_fd;
    pid_t parent;
    const struct sl_config *config;
} self = {.death_fd = -1};

int
sl_worker_death_fd(void)
{
    return self.death_fd;
}

/* ---- in the child -------------------------------------------------------------------------- */

static void
close_arbiters(struct sl_arbiter *arbiter, const struct child *own)
{
    for (unsigned slot = 0; slot < arbiter->child_count; slot++) {
        if (&arbiter->children[slot] != own && arbiter->stacks_fds[slot] >= 0)
            close(arbiter->stacks_fds[slot]);
    }
    close(arbiter->death_fds[1]);
    close(arbiter->ready_fds[0]);
    if (arbiter->parent_fd >= 0)
        close(arbiter->parent_fd);
    if (arbiter->upgrade_fd >= 0)
        close(arbiter->upgrade_fd);
    if (arbiter->words_fd >= 0)
        close(arbiter->words_fd);
    sl_notice_close(&arbiter->notice);
    sl_pidfile_forget(&arbiter->pidfile);
}

int
sl_worker_drop_privileges(struct sl_error *err)
{
    const struct sl_config *config = self.config;
    uid_t uid;
    gid_t gid;
    if (config == NULL)
        return sl_error_set(err, SL_EINVAL, "this is not a worker");
    int rc = sl_user_find(config->user, &uid, err);
    if (rc == SL_OK)
        rc = sl_group_find(config->group, &gid, err);
    /* A worker that is root, or whoever started the server, keeps what that user has. */
    bool named = rc == SL_OK && config->user != NULL && *config->user != '\0' && uid != 0;
    if (named && !config->allow_setuid_programs)
        rc = sl_privileges_seal(err);
    if (rc == SL_OK)
        rc = sl_privileges_drop(uid, gid, config->initgroups, err);
    if (rc == SL_OK && named)
        rc = sl_privileges_clear(err);
    if (rc == SL_OK)
        sl_orphan_check(self.parent);
    return rc;
}

static void
leave(int status)
{
    fflush(NULL);
    _exit(status);
}

static void
run_child(struct sl_arbiter *arbiter, struct child *child, struct generation *generation,
          const sigset_t *mask)
{
    const struct sl_host *host = arbiter->host;
    struct sl_error err;
    self.parent = arbiter->pid;
    self.config = generation->config;
    sl_signals_leave(&arbiter->signals);
    sl_orphan_prepare(&(struct sl_orphan_setup){
        .parent = arbiter->pid,
        .grace_ms = generation->groups[child->group].graceful_ms,
        .exit_ms = generation->groups[child->group].exit_ms,
        .slot = child->slot,
        .exclusive = child->lock_fd >= 0,
    });
    close_arbiters(arbiter, child);
    self.death_fd = sl_orphan_continue(arbiter->death_fds[0]);
    sl_stacks_prepare(child->slot, arbiter->stacks_fds[child - arbiter->children]);
    sl_slot_forked(child->slot, getpid());
    if (child->lock_fd >= 0)
        sl_exclusive_sign(child->lock_fd);
    sl_signals_unblock(mask);
    if (child->serves &&
        sl_binds_enter_worker(&arbiter->binds, &generation->binds, &err) != SL_OK) {
        sl_arbiter_log(arbiter, SL_LOG_ERROR, "Worker cannot listen: %s", err.text);
        leave(SL_EXIT_WORKER_BOOT);
    }
    host->worker_forked(arbiter->ctx, child->worker, getpid(), true);
    leave(host->worker_main(arbiter->ctx, child->worker));
}

/* ---- in the arbiter ------------------------------------------------------------------------ */

static int
prepare(struct sl_arbiter *arbiter, struct child *child, struct generation *generation,
        const struct sl_plan_action *action, struct sl_error *err)
{
    child->slot = sl_scoreboard_take(&arbiter->board, generation->id, arbiter->ready_fds[1]);
    if (child->slot == NULL)
        return sl_error_set(err, SL_EFULL, "no free place in the scoreboard");
    if (arbiter->stop_is_near)
        sl_slot_announce_end(child->slot);
    struct sl_worker_info info = {
        .group = generation->groups[action->group].name,
        .age = ++arbiter->ages,
        .generation = generation->id,
        .slot_index = sl_scoreboard_index(&arbiter->board, child->slot),
        .slot = child->slot,
    };
    sl_arbiter_tell_binds(arbiter, generation);
    int rc = arbiter->host->worker_new(arbiter->ctx, &info, &child->worker, err);
    if (rc != SL_OK)
        return rc;
    if (sl_arbiter_hook(arbiter, SL_HOOK_pre_fork, child->worker) != SL_OK)
        return sl_error_set(err, SL_EHOST, "the pre_fork hook failed");
    return SL_OK;
}

/* Signals wait while the process forks: taken on the wrong side they would be lost or seen twice.
 */
static pid_t
fork_worker(struct sl_arbiter *arbiter, struct child *child, struct generation *generation)
{
    sigset_t mask;
    sl_signals_block(&mask);
    pid_t pid = arbiter->host->fork(arbiter->ctx);
    int saved = errno;
    if (pid == 0)
        run_child(arbiter, child, generation, &mask);
    sl_signals_unblock(&mask);
    errno = saved;
    return pid;
}

/* The child has its own by inheritance, or there is none. */
static void
let_go(struct child *child)
{
    if (child->lock_fd >= 0)
        close(child->lock_fd);
    child->lock_fd = -1;
}

static void
forget(struct sl_arbiter *arbiter, struct child *child, int status)
{
    let_go(child);
    if (child->worker != NULL)
        arbiter->host->worker_free(arbiter->ctx, child->worker, child->pid, status);
    if (child->slot != NULL)
        sl_slot_dead(child->slot);
    sl_slot_give(child->slot);
    *child = (struct child){.lock_fd = -1};
}

static void
not_spawned(struct sl_arbiter *arbiter, unsigned slot, enum sl_plan_event_kind how, const char *why)
{
    forget(arbiter, &arbiter->children[slot], 0);
    snprintf(arbiter->why, sizeof arbiter->why, "%s", why);
    sl_arbiter_feed(arbiter,
                    (struct sl_plan_event){.kind = how, .slot = slot, .why = arbiter->why});
}

/* An exclusive worker gets the lock, or there is none now and the plan was told. */
static bool
take_lock(struct sl_arbiter *arbiter, struct child *child, struct generation *generation,
          unsigned slot)
{
    struct sl_error err;
    const char *path = generation->lock_paths[child->group];
    child->exclusive = path != NULL;
    if (path == NULL)
        return true;
    int rc = sl_exclusive_take(path, &child->lock_fd, &err);
    if (rc != SL_OK)
        not_spawned(arbiter, slot, rc == SL_EBUSY ? SL_EV_LOCKED : SL_EV_FORK_FAILED, err.text);
    return rc == SL_OK;
}

void
sl_arbiter_spawn(struct sl_arbiter *arbiter, const struct sl_plan_action *action)
{
    struct child *child = &arbiter->children[action->slot];
    struct generation *generation = sl_arbiter_generation(arbiter, action->generation);
    struct sl_error err;
    *child = (struct child){.lock_fd = -1, .group = action->group};
    child->serves = generation->serves && action->group == 0;
    if (!take_lock(arbiter, child, generation, action->slot))
        return;
    if (prepare(arbiter, child, generation, action, &err) != SL_OK) {
        not_spawned(arbiter, action->slot, SL_EV_FORK_FAILED, err.text);
        return;
    }
    pid_t pid = fork_worker(arbiter, child, generation);
    if (pid < 0) {
        char text[128];
        snprintf(text, sizeof text, "fork failed: %s", strerror(errno));
        not_spawned(arbiter, action->slot, SL_EV_FORK_FAILED, text);
        return;
    }
    let_go(child);
    child->pid = pid;
    sl_slot_forked(child->slot, pid);
    arbiter->host->worker_forked(arbiter->ctx, child->worker, pid, false);
    sl_arbiter_feed(arbiter,
                    (struct sl_plan_event){.kind = SL_EV_FORKED, .slot = action->slot, .pid = pid});
}

/* ---- ready and gone ------------------------------------------------------------------------ */

static void
note(struct sl_arbiter *arbiter, unsigned slot, bool *told, const _Atomic uint64_t *when_ms,
     enum sl_plan_event_kind kind)
{
    if (*told || atomic_load(when_ms) == 0)
        return;
    *told = true;
    sl_arbiter_feed(arbiter, (struct sl_plan_event){.kind = kind, .slot = slot});
}

/* One record, through the host's logger. */
static void
log_stacks(struct sl_arbiter *arbiter, unsigned slot)
{
    struct child *child = &arbiter->children[slot];
    char *stacks = sl_stacks_read(arbiter->stacks_fds[slot], &child->told_stacks), *text;
    if (stacks != NULL &&
        asprintf(&text, "Stacks of worker (pid:%d):\n%s", (int)child->pid, stacks) >= 0) {
        arbiter->host->log(arbiter->ctx, SL_LOG_ERROR, text);
        free(text);
    }
    free(stacks);
}

/* What the worker in this slot has said of itself. */
static void
listen_to(struct sl_arbiter *arbiter, unsigned slot)
{
    struct child *child = &arbiter->children[slot];
    if (child->pid == 0)
        return;
    note(arbiter, slot, &child->told_ready, &child->slot->ready_ms, SL_EV_READY);
    note(arbiter, slot, &child->told_spent, &child->slot->spent_ms, SL_EV_SPENT);
    note(arbiter, slot, &child->told_drained, &child->slot->drained_ms, SL_EV_DRAINED);
    if (sl_slot_bytes_shown(child->slot) > child->told_stacks)
        log_stacks(arbiter, slot);
}

void
sl_arbiter_listen_to_workers(struct sl_arbiter *arbiter)
{
    char bytes[512];
    while (read(arbiter->ready_fds[0], bytes, sizeof bytes) == (ssize_t)sizeof bytes)
        continue;
    for (unsigned slot = 0; slot < arbiter->child_count; slot++)
        listen_to(arbiter, slot);
}

/* The dead worker's hook and object: after the log lines of its death, before anything that follows
 * from it (a successor may be forked into the same slot). */
void
sl_arbiter_bury(struct sl_arbiter *arbiter)
{
    struct child dead = arbiter->dead;
    if (dead.pid == 0)
        return;
    arbiter->dead.pid = 0;
    sl_arbiter_hook(arbiter, SL_HOOK_child_exit, dead.worker);
    forget(arbiter, &dead, arbiter->dead_status);
}

/* Of a worker that was killed by SIGKILL; NULL for any other death. */
static const char *
who_killed(struct sl_arbiter *arbiter, int status, bool *ret_outside)
{
    bool known;
    *ret_outside = false;
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
        return NULL;
    if (sl_oom_struck(&arbiter->oom, &known))
        return "The kernel killed it: out of memory.";
    *ret_outside = known;
    return known ? "Not by the kernel: another process sent it." : "Perhaps out of memory?";
}

/* What is known of a death that nobody wanted: who, whether there is a core file, which requests.
 * Those of a worker that the arbiter aborted were named then. NULL: nothing. */
static const char *
epitaph(struct sl_arbiter *arbiter, const struct child *dead, int status, bool *ret_outside)
{
    char *words = arbiter->dead_words, requests[640];
    const char *who = who_killed(arbiter, status, ret_outside);
    bool orderly = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    if (orderly || !dead->serves || sl_slot_condemned(dead->slot) ||
        atomic_load(&dead->slot->ready_ms) == 0)
        return who;
    bool busy = sl_slot_requests_print(dead->slot, sl_clock_ns(), requests, sizeof requests);
    snprintf(words, sizeof arbiter->dead_words, "%s%s%s%s%s", who == NULL ? "" : who,
             who == NULL ? "" : " ",
             WIFSIGNALED(status) && WCOREDUMP(status) ? "Core dumped. " : "",
             busy ? "In progress: " : "No request was in progress.", busy ? requests : "");
    return words;
}

static void
reaped(struct sl_arbiter *arbiter, unsigned slot, int status)
{
    struct child *child = &arbiter->children[slot];
    listen_to(arbiter, slot);  /* it may have been ready, for a moment */
    log_stacks(arbiter, slot); /* it may not have come to the end of them */
    arbiter->dead = *child;
    arbiter->dead_status = status;
    *child = (struct child){0}; /* never signal a pid that is not ours any more */
    bool outside;
    const char *who = epitaph(arbiter, &arbiter->dead, status, &outside);
    sl_arbiter_feed(arbiter, (struct sl_plan_event){.kind = SL_EV_EXITED,
                                                    .slot = slot,
                                                    .pid = arbiter->dead.pid,
                                                    .number = status,
                                                    .outside = outside,
                                                    .why = who});
    sl_arbiter_bury(arbiter);
}

static bool
find_child(const struct sl_arbiter *arbiter, pid_t pid, unsigned *ret_slot)
{
    for (unsigned slot = 0; slot < arbiter->child_count; slot++) {
        if (arbiter->children[slot].pid == pid) {
            *ret_slot = slot;
            return true;
        }
    }
    return false;
}

/* Collects every child that has ended. Those that are nobody's (process 1 inherits orphans) are
 * collected without a word. */
void
sl_arbiter_reap(struct sl_arbiter *arbiter)
{
    int status;
    unsigned slot;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0 || (pid < 0 && errno == EINTR)) {
        if (pid < 0)
            continue;
        if (pid == arbiter->upgrade_pid)
            sl_arbiter_upgrade_gone(arbiter, status);
        else if (find_child(arbiter, pid, &slot))
            reaped(arbiter, slot, status);
        else if (arbiter->host->child_gone != NULL)
            arbiter->host->child_gone(arbiter->ctx, pid, status);
    }
}
