/* Going into the background: the first child leaves the terminal's session, the second can never
 * get a controlling terminal again. The first process waits for the first child, so that a failure
 * in between is seen in the exit status. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <proc/daemon.h>

static pid_t
plain_fork(void *ctx)
{
    (void)ctx;
    return fork();
}

/* SL_OK or SL_ESYS. */
static int
redirect_stdio(bool inherit_stdio)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0)
        return SL_ESYS;
    int rc = SL_OK;
    for (int fd = 0; fd <= 2; fd++) {
        bool keep = inherit_stdio && fd > 0 && fcntl(fd, F_GETFD) >= 0 && !isatty(fd);
        if (keep)
            continue;
        /* a descriptor that was closed may be null itself: then only its flag is to be cleared */
        int done = null == fd ? fcntl(fd, F_SETFD, 0) : dup2(null, fd);
        if (done < 0)
            rc = SL_ESYS;
    }
    if (null > 2)
        close(null);
    return rc;
}

static void
wait_and_exit(pid_t pid)
{
    int status;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            _exit(1);
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
}

int
sl_daemonize(bool inherit_stdio, sl_fork_fn fork_fn, void *ctx, struct sl_error *err)
{
    if (fork_fn == NULL)
        fork_fn = plain_fork;
    fflush(NULL); /* or both processes would write what is buffered */
    pid_t pid = fork_fn(ctx);
    if (pid < 0)
        return sl_error_set(err, SL_ESYS, "cannot fork into the background: %s", strerror(errno));
    if (pid > 0)
        wait_and_exit(pid);
    if (setsid() < 0)
        _exit(1);
    pid = fork_fn(ctx);
    if (pid != 0)
        _exit(pid < 0);
    umask(022);
    if (redirect_stdio(inherit_stdio) != SL_OK)
        return sl_error_set(err, SL_ESYS, "cannot redirect to /dev/null: %s", strerror(errno));
    return SL_OK;
}
