/* USR2: a second arbiter is executed beside this one and takes over when this one is told to go. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <proc/arbiter_state.h>

enum { WORDS_MAX = 1500 }; /* of a successor's last ones that are kept */

/* The directory as the user named it: behind $PWD may be a link that points to the next release by
 * the time of the upgrade. */
void
sl_arbiter_find_start_dir(struct sl_arbiter *arbiter)
{
    const char *name = getenv("PWD");
    struct stat named, here;
    if (name != NULL && name[0] == '/' && strlen(name) < sizeof arbiter->start_dir &&
        stat(name, &named) == 0 && stat(".", &here) == 0 && named.st_dev == here.st_dev &&
        named.st_ino == here.st_ino)
        snprintf(arbiter->start_dir, sizeof arbiter->start_dir, "%s", name);
    else if (getcwd(arbiter->start_dir, sizeof arbiter->start_dir) == NULL)
        arbiter->start_dir[0] = '\0';
}

/* ---- the child ----------------------------------------------------------------------------- */

/* Nothing that happens here may touch the arbiter's workers, files or pid: every way out is
 * _exit(). */
static void __attribute__((noreturn)) give_up(struct sl_arbiter *arbiter, const char *why)
{
    sl_arbiter_log(arbiter, SL_LOG_ERROR, "The new arbiter could not be started: %s", why);
    if (arbiter->upgrade_fd >= 0)
        dprintf(arbiter->upgrade_fd, "%s\n", why);
    fflush(NULL);
    _exit(SL_EXIT_ERROR);
}

/* Where the successor may say why it does not come up; without it only its exit status tells. */
static int
export_words(const struct sl_arbiter *arbiter)
{
    char fd[16];
    snprintf(fd, sizeof fd, "%d", arbiter->upgrade_fd);
    if (arbiter->upgrade_fd < 0 || fcntl(arbiter->upgrade_fd, F_SETFD, 0) != 0)
        return unsetenv("SAOLA_UPGRADE_FD");
    return setenv("SAOLA_UPGRADE_FD", fd, 1);
}

static void __attribute__((noreturn)) become_successor(struct sl_arbiter *arbiter)
{
    const struct sl_host *host = arbiter->host;
    struct sl_error err;
    char text[512], pid[32];
    if (sl_arbiter_hook(arbiter, SL_HOOK_pre_exec, NULL) != SL_OK)
        give_up(arbiter, "the pre_exec hook failed");
    const char *dir = host->exec_dir != NULL ? host->exec_dir : arbiter->start_dir;
    if (dir[0] != '\0' && chdir(dir) < 0) {
        snprintf(text, sizeof text, "the directory in which this one was started, %.200s: %s", dir,
                 strerror(errno));
        give_up(arbiter, text);
    }
    snprintf(pid, sizeof pid, "%d", (int)arbiter->pid);
    if (setenv("GUNICORN_PID", pid, 1) != 0 || export_words(arbiter) != 0)
        give_up(arbiter, "out of memory");
    if (sl_binds_export(&arbiter->binds, &err) != SL_OK)
        give_up(arbiter, err.text);
    fflush(NULL);
    /* execvp() would give a file that is no program to the shell */
    if (strchr(host->exec_program, '/') != NULL)
        execv(host->exec_program, host->exec_argv);
    else
        execvp(host->exec_program, host->exec_argv);
    snprintf(text, sizeof text, "%.200s: %s", host->exec_program, strerror(errno));
    give_up(arbiter, text);
}

/* ---- the parent ---------------------------------------------------------------------------- */

static void
remember_why(struct sl_arbiter *arbiter, const char *why)
{
    free(arbiter->upgrade_why);
    arbiter->upgrade_why = why == NULL ? NULL : strdup(why);
}

/* The arbiter's signals stay blocked in the child and across exec, until the new arbiter has its
 * own handlers: none can kill it half-way. */
void
sl_arbiter_upgrade(struct sl_arbiter *arbiter)
{
    sigset_t mask;
    arbiter->upgrades++;
    remember_why(arbiter, NULL);
    arbiter->upgrade_fd = memfd_create("saola-upgrade", MFD_CLOEXEC);
    if (arbiter->upgrade_fd >= 0)
        (void)fcntl(arbiter->upgrade_fd, F_SETFL, O_APPEND);
    sl_signals_block(&mask);
    pid_t pid = arbiter->host->fork(arbiter->ctx);
    int saved = errno;
    if (pid == 0)
        become_successor(arbiter);
    sl_signals_unblock(&mask);
    if (pid < 0) {
        if (arbiter->upgrade_fd >= 0)
            close(arbiter->upgrade_fd);
        arbiter->upgrade_fd = -1;
        snprintf(arbiter->why, sizeof arbiter->why, "fork failed: %s", strerror(saved));
        remember_why(arbiter, arbiter->why);
        sl_arbiter_feed(arbiter,
                        (struct sl_plan_event){.kind = SL_EV_UPGRADE_FAILED, .why = arbiter->why});
        return;
    }
    arbiter->upgrade_pid = pid;
    arbiter->binds.keep_files = true;
    sl_arbiter_feed(arbiter, (struct sl_plan_event){.kind = SL_EV_UPGRADE_FORKED, .pid = pid});
}

/* The end of what the successor has said, without blanks around it; "" when it said nothing. */
static void
take_words(struct sl_arbiter *arbiter, char *words, size_t size)
{
    words[0] = '\0';
    if (arbiter->upgrade_fd < 0)
        return;
    off_t end = lseek(arbiter->upgrade_fd, 0, SEEK_END);
    off_t from = end > (off_t)size - 1 ? end - (off_t)size + 1 : 0;
    ssize_t n = pread(arbiter->upgrade_fd, words, size - 1, from);
    close(arbiter->upgrade_fd);
    arbiter->upgrade_fd = -1;
    words[n > 0 ? n : 0] = '\0';
    for (size_t len = strlen(words); len > 0 && strchr(" \n", words[len - 1]) != NULL;)
        words[--len] = '\0';
}

static void
describe_end(int status, char *buf, size_t size)
{
    const char *name = WIFSIGNALED(status) ? sigabbrev_np(WTERMSIG(status)) : NULL;
    if (name != NULL)
        snprintf(buf, size, "it was ended by SIG%s", name);
    else if (WIFSIGNALED(status))
        snprintf(buf, size, "it was ended by signal %d", WTERMSIG(status));
    else
        snprintf(buf, size, "it exited with code %d", WEXITSTATUS(status));
}

/* The log has the successor's words already; here its last line is enough. */
void
sl_arbiter_upgrade_gone(struct sl_arbiter *arbiter, int status)
{
    char words[WORDS_MAX], end[64], why[WORDS_MAX + 80];
    pid_t pid = arbiter->upgrade_pid;
    take_words(arbiter, words, sizeof words);
    describe_end(status, end, sizeof end);
    const char *line = strrchr(words, '\n');
    line = line == NULL ? words : line + 1;
    snprintf(arbiter->why, sizeof arbiter->why, "%s%s%.380s", end, *line == '\0' ? "." : ": ",
             line);
    snprintf(why, sizeof why, "%s%s%s", end, words[0] == '\0' ? "." : ":\n", words);
    remember_why(arbiter, why);
    arbiter->upgrade_pid = 0;
    arbiter->binds.keep_files = arbiter->parent != 0;
    sl_arbiter_pidfile_bury(arbiter, pid);
    sl_arbiter_feed(arbiter, (struct sl_plan_event){
                                 .kind = SL_EV_UPGRADE_EXITED, .pid = pid, .why = arbiter->why});
}

/* ---- on the successor's side --------------------------------------------------------------- */

/* A number in the environment proves nothing: the descriptor must be the file. */
void
sl_arbiter_find_words(struct sl_arbiter *arbiter)
{
    const char *text = getenv("SAOLA_UPGRADE_FD");
    char name[64], target[64] = "";
    int fd = text == NULL ? -1 : (int)strtol(text, NULL, 10);
    unsetenv("SAOLA_UPGRADE_FD");
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    if (fd <= STDERR_FILENO || readlink(name, target, sizeof target - 1) < 0 ||
        strncmp(target, "/memfd:saola-upgrade", strlen("/memfd:saola-upgrade")) != 0)
        return;
    (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
    arbiter->words_fd = fd;
}

void
sl_arbiter_tell_parent(const struct sl_arbiter *arbiter, const char *text)
{
    if (arbiter->words_fd >= 0)
        dprintf(arbiter->words_fd, "%s\n", text);
}

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
