/* Whether the shared objects of a generation can be loaded: tried in a process of its own, so that
 * a broken one costs neither the arbiter nor the workers that serve.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <fcntl.h>
#include "host_c.h"

struct verdict {
    int code, exit_status;
    struct sl_error err;
};

static void
try_tables(struct sl_generation *generation, int fd)
{
    struct verdict verdict = {.err = {.text = ""}};
    verdict.code = sl_generation_load_tables(generation, &verdict.exit_status, &verdict.err);
    if (verdict.code == SL_OK && generation->worker_class->check != NULL) {
        verdict.code = generation->worker_class->check(generation->config, &verdict.err);
        verdict.exit_status = SL_EXIT_ERROR;
        if (verdict.code < 0 && verdict.err.text[0] == '\0')
            sl_error_set(&verdict.err, verdict.code, "the worker class refuses these settings");
    }
    _exit(write(fd, &verdict, sizeof verdict) == (ssize_t)sizeof verdict ? 0 : 1);
}

/* Reads the verdict; false when there is none, or none in time. */
static bool
await(int fd, long long limit_ms, struct verdict *verdict)
{
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    bool limited = limit_ms > 0 && limit_ms < 3600000;
    long long until_ms = sl_now_ms() + limit_ms;
    int rc;
    do {
        long long left_ms = until_ms - sl_now_ms();
        rc = poll(&ready, 1, !limited ? -1 : left_ms > 0 ? (int)left_ms : 0);
    } while (rc < 0 && errno == EINTR);
    return rc > 0 && read(fd, verdict, sizeof *verdict) == (ssize_t)sizeof *verdict;
}

int
sl_generation_check(struct sl_generation *generation, int *ret_exit, struct sl_error *err)
{
    int fds[2], status = 0;
    sigset_t all, before;
    struct verdict verdict;
    *ret_exit = SL_EXIT_ERROR;
    if (pipe2(fds, O_CLOEXEC) < 0)
        return sl_error_set(err, SL_ESYS, "no pipe: %s", strerror(errno));
    /* The arbiter's handlers are not for the child. */
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    sigfillset(&all);
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
        sigdelset(&all, faults[i]);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pid_t pid = fork();
    if (pid == 0) {
        close(fds[0]);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        try_tables(generation, fds[1]);
    }
    int saved = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    close(fds[1]);
    if (pid < 0) {
        close(fds[0]);
        return sl_error_set(err, SL_ESYS, "no process to try the application in: %s",
                            strerror(saved));
    }
    bool told =
        await(fds[0], sl_config_number(generation->config, "boot_timeout") * 1000, &verdict);
    close(fds[0]);
    if (!told)
        kill(pid, SIGKILL); /* it may have ended already */
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (told) {
        *ret_exit = verdict.exit_status;
        if (verdict.code != SL_OK)
            *err = verdict.err;
        return verdict.code;
    }
    *ret_exit = SL_EXIT_APP_LOAD;
    if (WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL)
        return sl_error_set(err, SL_EHOST, "loading the application ends with SIG%s",
                            sigabbrev_np(WTERMSIG(status)));
    return sl_error_set(err, SL_ETIMEOUT, "loading the application ended before it was done");
}
