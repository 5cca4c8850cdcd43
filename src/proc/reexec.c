/* USR2: a second arbiter is executed beside this one and takes over when this one is told to go. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <proc/arbiter_state.h>

/* ---- the child ----------------------------------------------------------------------------- */

/* Nothing that happens here may touch the arbiter's workers, files or pid: every way out is
 * _exit(). */
static void __attribute__((noreturn)) give_up(struct sl_arbiter *arbiter, const char *why)
{
    sl_arbiter_log(arbiter, SL_LOG_ERROR, "The new arbiter could not be started: %s", why);
    fflush(NULL);
    _exit(SL_EXIT_ERROR);
}

static void __attribute__((noreturn)) become_successor(struct sl_arbiter *arbiter)
{
    const struct sl_host *host = arbiter->host;
    struct sl_error err;
    char text[512], pid[32];
    if (arbiter->start_dir[0] != '\0' && chdir(arbiter->start_dir) < 0) {
        snprintf(text, sizeof text, "%.200s: %s", arbiter->start_dir, strerror(errno));
        give_up(arbiter, text);
    }
    if (sl_arbiter_hook(arbiter, SL_HOOK_pre_exec, NULL) != SL_OK)
        give_up(arbiter, "the pre_exec hook failed");
    snprintf(pid, sizeof pid, "%d", (int)arbiter->pid);
    if (setenv("GUNICORN_PID", pid, 1) != 0)
        give_up(arbiter, "out of memory");
    if (sl_binds_export(&arbiter->binds, &err) != SL_OK)
        give_up(arbiter, err.text);
    fflush(NULL);
    execvp(host->exec_program, host->exec_argv);
    snprintf(text, sizeof text, "%.200s: %s", host->exec_program, strerror(errno));
    give_up(arbiter, text);
}

/* ---- the parent ---------------------------------------------------------------------------- */

/* The arbiter's signals stay blocked in the child and across exec, until the new arbiter has its
 * own handlers: none can kill it half-way. */
void
sl_arbiter_upgrade(struct sl_arbiter *arbiter)
{
    sigset_t mask;
    sl_signals_block(&mask);
    pid_t pid = arbiter->host->fork(arbiter->ctx);
    int saved = errno;
    if (pid == 0)
        become_successor(arbiter);
    sl_signals_unblock(&mask);
    if (pid < 0) {
        snprintf(arbiter->why, sizeof arbiter->why, "fork failed: %s", strerror(saved));
        sl_arbiter_feed(arbiter,
                        (struct sl_plan_event){.kind = SL_EV_UPGRADE_FAILED, .why = arbiter->why});
        return;
    }
    arbiter->upgrade_pid = pid;
    arbiter->binds.keep_files = true;
    sl_arbiter_feed(arbiter, (struct sl_plan_event){.kind = SL_EV_UPGRADE_FORKED, .pid = pid});
}

void
sl_arbiter_upgrade_gone(struct sl_arbiter *arbiter)
{
    pid_t pid = arbiter->upgrade_pid;
    arbiter->upgrade_pid = 0;
    arbiter->binds.keep_files = arbiter->parent != 0;
    sl_arbiter_feed(arbiter, (struct sl_plan_event){.kind = SL_EV_UPGRADE_EXITED, .pid = pid});
}

/* ---- on the successor's side --------------------------------------------------------------- */

void
sl_arbiter_find_parent(struct sl_arbiter *arbiter)
{
    const char *text = getenv("GUNICORN_PID");
    pid_t pid = text == NULL ? 0 : (pid_t)strtol(text, NULL, 10);
    unsetenv("GUNICORN_PID");
    arbiter->parent_fd = -1;
    if (pid <= 0 || pid != getppid())
        return;
    arbiter->parent = pid;
    arbiter->binds.keep_files = true;
    arbiter->parent_fd = (int)syscall(SYS_pidfd_open, pid, 0);
}

/* The arbiter that started this one is gone: its name and its pid file are ours now. */
void
sl_arbiter_watch_parent(struct sl_arbiter *arbiter)
{
    if (arbiter->parent == 0 || getppid() == arbiter->parent)
        return;
    if (arbiter->parent_fd >= 0)
        close(arbiter->parent_fd);
    arbiter->parent_fd = -1;
    arbiter->parent = 0;
    arbiter->binds.keep_files = arbiter->upgrade_pid != 0;
    sl_arbiter_feed(arbiter, (struct sl_plan_event){.kind = SL_EV_PROMOTED});
    sl_arbiter_pidfile_promote(arbiter);
    sl_arbiter_tell_name(arbiter);
    sl_arbiter_notify_promoted(arbiter);
}
