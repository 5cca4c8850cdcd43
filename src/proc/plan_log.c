/* The plan in words. What its decisions say in the error log: one row a message, gunicorn's words
 * where it has them. In the texts: %p pid, %n number, %G signal name, %h its short form, %s
 * seconds, %e seconds elapsed, %b bytes, %l their limit, %w why, %W the same where there is
 * something to say, %r the requests in progress (the shell's to know).
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <proc/plan_state.h>

static const struct row {
    enum sl_log_level level;
    const char *text;
} rows[SL_SAY_COUNT] = {
    [SL_SAY_SIGNAL] = {SL_LOG_INFO, "Handling signal: %h"},
    [SL_SAY_HANG_UP] = {SL_LOG_INFO, "Hang up: Master"},
    [SL_SAY_RELOAD_WAITS] = {SL_LOG_INFO,
                             "A reload is in progress; one more follows when it is done."},
    [SL_SAY_RELOAD_DONE] = {SL_LOG_INFO, "Reload done: generation %n is in force."},
    [SL_SAY_RELOAD_FAILED] = {SL_LOG_ERROR, "Reload failed, generation %n goes on unchanged: %w"},
    [SL_SAY_FORK_FAILED] = {SL_LOG_ERROR,
                            "A worker could not be started: %w; next attempt in %s seconds."},
    [SL_SAY_TIMEOUT] = {SL_LOG_CRITICAL, "WORKER TIMEOUT (pid:%p) silent for %e s: %r"},
    [SL_SAY_BOOT_TIMEOUT] = {SL_LOG_CRITICAL,
                             "WORKER TIMEOUT (pid:%p) not ready %e s after its start"},
    [SL_SAY_REQUEST_LATE] = {SL_LOG_ERROR,
                             "REQUEST TIMEOUT (pid:%p) after %s s, the worker is replaced: %r"},
    [SL_SAY_REQUEST_CUT] = {SL_LOG_CRITICAL,
                            "REQUEST TIMEOUT (pid:%p) after %s s, the worker is aborted: %r"},
    [SL_SAY_REQUEST_WAITED] = {SL_LOG_ERROR,
                               "REQUEST TIMEOUT (pid:%p) no successor was ready within %s s, the "
                               "worker leaves without: %r"},
    [SL_SAY_GRACE_OVER] = {SL_LOG_WARNING,
                           "Worker (pid:%p) did not stop within %s seconds, aborting it: %r"},
    [SL_SAY_EXIT_OVER] =
        {SL_LOG_ERROR, "Exit hooks of worker (pid:%p) did not end within %s seconds, killing it."},
    [SL_SAY_LOCKED] = {SL_LOG_WARNING,
                       "The exclusive worker waits until the one before it is gone: %w"},
    [SL_SAY_SIGNALED] = {SL_LOG_WARNING, "Worker (pid:%p) was sent %G!%W"},
    [SL_SAY_TERMINATED] = {SL_LOG_INFO, "Worker (pid:%p) was sent %G!"},
    [SL_SAY_KILLED] = {SL_LOG_ERROR, "Worker (pid:%p) was sent SIGKILL! %w"},
    [SL_SAY_EXITED] = {SL_LOG_ERROR, "Worker (pid:%p) exited with code %n.%W"},
    [SL_SAY_CRASH_LOOP] = {SL_LOG_ERROR,
                           "Workers died %n times in a row; next attempt in %s seconds."},
    [SL_SAY_READY] = {SL_LOG_DEBUG, "Worker ready (pid: %p)"},
    [SL_SAY_LIVED] = {SL_LOG_INFO, "Worker (pid:%p) has lived for %s seconds and is replaced."},
    [SL_SAY_MEMORY_SOFT] = {SL_LOG_WARNING,
                            "Worker (pid:%p) uses %b %e s after its start, more than "
                            "max_worker_memory (%l), and is replaced."},
    [SL_SAY_MEMORY_HARD] = {SL_LOG_CRITICAL,
                            "WORKER MEMORY (pid:%p) uses %b, more than max_worker_memory_hard "
                            "(%l), and is aborted: %r"},
    [SL_SAY_QUICK] = {SL_LOG_INFO, "Quick shutdown requested"},
    [SL_SAY_UNKILLABLE] = {SL_LOG_ERROR, "Worker (pid:%p) cannot be killed and is left behind."},
    [SL_SAY_STOP_LATER] = {SL_LOG_INFO, "Serving on for %s seconds (drain_delay), then stopping."},
    [SL_SAY_WINCH] = {SL_LOG_INFO, "graceful stop of workers"},
    [SL_SAY_WINCH_IGNORED] = {SL_LOG_DEBUG, "SIGWINCH ignored. Not daemonized"},
    [SL_SAY_EXCLUSIVE] = {SL_LOG_WARNING,
                          "%G refused: this group is exclusive and has exactly one worker."},
    [SL_SAY_TOO_MANY] = {SL_LOG_WARNING,
                         "No more than %n workers until a restart with a higher workers setting."},
    [SL_SAY_CHILD_EXISTS] = {SL_LOG_WARNING, "USR2 signal ignored. Child exists."},
    [SL_SAY_PARENT_EXISTS] = {SL_LOG_WARNING, "USR2 signal ignored. Parent exists."},
    [SL_SAY_UPGRADE_FAILED] = {SL_LOG_ERROR, "The new arbiter could not be started: %w"},
    [SL_SAY_UPGRADE_GONE] = {SL_LOG_WARNING,
                             "The new arbiter (pid:%p) is gone; this one serves on alone: %w"},
    [SL_SAY_UPGRADE_LOST] = {SL_LOG_ERROR,
                             "The new arbiter (pid:%p) is gone while this one stops: %w"},
    [SL_SAY_PROMOTED] = {SL_LOG_INFO, "Master has been promoted."},
};

static int
format_signal(const struct sl_plan_action *action, bool brief, char *buf, size_t size)
{
    const char *name = sigabbrev_np(action->number);
    if (name == NULL)
        return snprintf(buf, size, "signal %d", action->number);
    int len = snprintf(buf, size, "%s%s", brief ? "" : "SIG", name);
    for (char *p = buf; brief && *p != '\0'; p++)
        *p = (char)tolower((unsigned char)*p);
    return len;
}

static int
format_bytes(long long bytes, char *buf, size_t size)
{
    if (bytes >= 10LL << 30)
        return snprintf(buf, size, "%.1f GiB", (double)bytes / (1 << 30));
    return snprintf(buf, size, "%.1f MiB", (double)bytes / (1 << 20));
}

static int
format_field(const struct sl_plan_action *action, char field, char *buf, size_t size)
{
    switch (field) {
    case 'p':
        return snprintf(buf, size, "%d", (int)action->pid);
    case 'n':
        return snprintf(buf, size, "%d", action->number);
    case 'w':
        return snprintf(buf, size, "%s", action->why ? action->why : "unknown reason");
    case 'W':
        return snprintf(buf, size, "%s%s", action->why ? " " : "", action->why ? action->why : "");
    case 'r':
        return snprintf(buf, size, "%s", action->why ? action->why : "requests unknown");
    case 's':
        return snprintf(buf, size, "%g", (double)action->ms / 1000.0);
    case 'e':
        return snprintf(buf, size, "%.1f", (double)action->elapsed_ms / 1000.0);
    case 'b':
        return format_bytes(action->bytes, buf, size);
    case 'l':
        return format_bytes(action->limit, buf, size);
    case 'G':
        return format_signal(action, false, buf, size);
    case 'h':
        return format_signal(action, true, buf, size);
    default:
        return snprintf(buf, size, "%c", field);
    }
}

void
sl_plan_message_format(const struct sl_plan_action *action, char *buf, size_t size)
{
    size_t at = 0;
    buf[0] = '\0';
    for (const char *p = rows[action->message].text; *p != '\0' && at + 1 < size; p++) {
        if (*p == '%' && p[1] != '\0') {
            int len = format_field(action, *++p, buf + at, size - at);
            at += len > 0 ? (size_t)len : 0;
        } else {
            buf[at++] = *p;
            buf[at] = '\0';
        }
    }
}

bool
sl_plan_message_wants_requests(enum sl_plan_message message)
{
    return strstr(rows[message].text, "%r") != NULL;
}

enum sl_log_level
sl_plan_message_level(enum sl_plan_message message)
{
    return rows[message].level;
}

const char *
sl_plan_event_name(enum sl_plan_event_kind kind)
{
    static const char *const names[SL_EV_COUNT] = {
        "start",     "tick",          "signal",         "beat",           "requests",
        "memory",    "forked",        "fork failed",    "locked",         "ready",
        "spent",     "drained",       "exited",         "loaded",         "load failed",
        "listening", "listen failed", "upgrade forked", "upgrade failed", "upgrade exited",
        "promoted",  "set workers",   "remove"};
    return names[kind];
}

const char *
sl_plan_action_name(enum sl_plan_action_kind kind)
{
    static const char *const names[] = {"log",
                                        "spawn",
                                        "kill",
                                        "show stacks",
                                        "load",
                                        "listen",
                                        "on_reload hook",
                                        "adopt",
                                        "give up",
                                        "workers changed",
                                        "close listeners",
                                        "reopen logs",
                                        "upgrade",
                                        "notify ready",
                                        "notify reloading",
                                        "notify stopping",
                                        "announce stop",
                                        "exit"};
    return names[kind];
}

const char *
sl_plan_phase_name(const struct sl_plan *plan)
{
    static const char *const names[PHASE_COUNT] = {"starting", "serving", "stopping", "stopped"};
    return names[plan->phase];
}

const char *
sl_plan_reload_name(const struct sl_plan *plan)
{
    static const char *const names[RELOAD_COUNT] = {"steady", "loading", "binding", "filling",
                                                    "handing over"};
    return names[plan->reload];
}
