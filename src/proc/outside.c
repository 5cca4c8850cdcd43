/* What the world outside is told: the pid file, the service manager, the host's process title. None
 * of it can end a running service: failures are logged. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <base/clock.h>
#include <config/config.h>
#include <proc/arbiter_state.h>
#include <proc/systemd.h>

/* ---- pid file ------------------------------------------------------------------------------ */

static const char *
suffix(const struct sl_arbiter *arbiter)
{
    return arbiter->parent != 0 ? ".2" : "";
}

/* While two arbiters run, the younger one's file is X.2. */
static bool
pidfile_path(const struct sl_arbiter *arbiter, char *buf, size_t size)
{
    const char *path = arbiter->current.config->pidfile;
    if (path == NULL || path[0] == '\0')
        return false;
    int n = snprintf(buf, size, "%s%s", path, suffix(arbiter));
    return n > 0 && (size_t)n < size;
}

int
sl_arbiter_pidfile_open(struct sl_arbiter *arbiter, struct sl_error *err)
{
    char path[4096];
    if (!pidfile_path(arbiter, path, sizeof path))
        return SL_OK;
    return sl_pidfile_open(path, &arbiter->pidfile, err);
}

void
sl_arbiter_pidfile_close(struct sl_arbiter *arbiter)
{
    sl_pidfile_close(&arbiter->pidfile);
}

static bool
is_at(const struct sl_pidfile *file, const char *path)
{
    struct stat mine, found;
    return file->path != NULL && fstat(file->fd, &mine) == 0 && stat(path, &found) == 0 &&
           mine.st_dev == found.st_dev && mine.st_ino == found.st_ino;
}

/* After a reload: the setting may name another file, or somebody has removed ours. */
void
sl_arbiter_pidfile_follow(struct sl_arbiter *arbiter)
{
    char path[4096];
    struct sl_error err;
    struct sl_pidfile file;
    bool wanted = pidfile_path(arbiter, path, sizeof path);
    if (wanted && is_at(&arbiter->pidfile, path))
        return;
    if (!wanted || !is_at(&arbiter->pidfile, arbiter->pidfile.path))
        sl_pidfile_close(&arbiter->pidfile);
    if (!wanted)
        return;
    if (sl_pidfile_open(path, &file, &err) != SL_OK) {
        sl_arbiter_log(arbiter, SL_LOG_WARNING, "The pid file was not written: %s", err.text);
        return;
    }
    sl_pidfile_close(&arbiter->pidfile);
    arbiter->pidfile = file;
}

void
sl_arbiter_pidfile_promote(struct sl_arbiter *arbiter)
{
    char path[4096];
    struct sl_error err;
    if (!pidfile_path(arbiter, path, sizeof path) || arbiter->pidfile.path == NULL)
        return;
    if (sl_pidfile_rename(&arbiter->pidfile, path, &err) != SL_OK)
        sl_arbiter_log(arbiter, SL_LOG_WARNING, "The pid file was not renamed: %s", err.text);
}

void
sl_arbiter_pidfile_bury(struct sl_arbiter *arbiter, pid_t successor)
{
    char path[4096];
    size_t len = pidfile_path(arbiter, path, sizeof path - 2) ? strlen(path) : 0;
    if (len == 0 || arbiter->parent != 0)
        return;
    memcpy(path + len, ".2", sizeof ".2");
    sl_pidfile_remove_left(path, successor);
}

void
sl_arbiter_tell_name(struct sl_arbiter *arbiter)
{
    if (arbiter->host->arbiter_named != NULL)
        arbiter->host->arbiter_named(arbiter->ctx, suffix(arbiter));
}

/* ---- service manager ------------------------------------------------------------------------ */

/* As long as the arbiter before lives the service is its: what this one does is no news. */
static void
notify(struct sl_arbiter *arbiter, const char *state)
{
    if (arbiter->parent != 0)
        return;
    int rc = sl_systemd_notify(state);
    if (rc != SL_OK && rc != SL_ENOENT)
        sl_arbiter_log(arbiter, SL_LOG_WARNING, "The service manager was not told \"%.40s\": %s",
                       state, sl_status_name(rc));
}

void
sl_arbiter_notify_ready(struct sl_arbiter *arbiter)
{
    char state[128];
    snprintf(state, sizeof state, "READY=1\nSTATUS=Saola arbiter booted, %u workers",
             sl_arbiter_workers_wanted(arbiter));
    notify(arbiter, state);
}

void
sl_arbiter_notify_reloading(struct sl_arbiter *arbiter)
{
    char state[96];
    snprintf(state, sizeof state, "RELOADING=1\nMONOTONIC_USEC=%llu",
             (unsigned long long)(sl_clock_ns() / 1000));
    notify(arbiter, state);
}

/* When a successor lives the service does not stop: its main process changes. */
void
sl_arbiter_notify_stopping(struct sl_arbiter *arbiter)
{
    char state[64];
    arbiter->stopping = true;
    if (arbiter->upgrade_pid == 0) {
        notify(arbiter, "STOPPING=1");
        return;
    }
    snprintf(state, sizeof state, "MAINPID=%d", (int)arbiter->upgrade_pid);
    notify(arbiter, state);
}

void
sl_arbiter_notify_promoted(struct sl_arbiter *arbiter)
{
    char state[64];
    snprintf(state, sizeof state, "MAINPID=%d\n%s", (int)arbiter->pid,
             arbiter->stopping ? "STOPPING=1" : "READY=1");
    notify(arbiter, state);
}

/* ---- notice -------------------------------------------------------------------------------- */

static long long
stop_limit_seconds(const struct sl_config *config)
{
    bool endless = config->graceful_timeout == 0 || config->exit_timeout == 0;
    return endless ? 0 : config->drain_delay + config->graceful_timeout + config->exit_timeout;
}

/* What `saola upgrade` reads, and whoever looks for the arbiter of a machine; docs/upgrade.md. */
void
sl_arbiter_tell_state(struct sl_arbiter *arbiter)
{
    char lines[SL_NOTICE_SIZE];
    const struct sl_plan *plan = arbiter->plan;
    bool begun = plan != NULL && sl_plan_generation(plan) != 0;
    const struct sl_config *config = arbiter->current.config;
    snprintf(
        lines, sizeof lines,
        "pid %d\nparent %d\nsuccessor %d\nstate %s\nreload %s\ngeneration %u\nworkers %u\n"
        "ready %u\nforks %lu\nexclusive %d\nlocked %d\nstop_limit %lld\nupgrades %u\nwhy\n%.2000s",
        (int)arbiter->pid, (int)arbiter->parent, (int)arbiter->upgrade_pid,
        plan == NULL ? "starting" : sl_plan_phase_name(plan),
        plan == NULL ? "steady" : sl_plan_reload_name(plan), arbiter->current.id,
        sl_arbiter_workers_wanted(arbiter), begun ? sl_plan_workers_ready(plan) : 0, arbiter->ages,
        config->hand_over == SL_HAND_OVER_EXCLUSIVE, begun && sl_plan_is_locked(plan),
        stop_limit_seconds(config), arbiter->upgrades,
        arbiter->upgrade_why == NULL ? "" : arbiter->upgrade_why);
    sl_notice_put(&arbiter->notice, lines);
}
