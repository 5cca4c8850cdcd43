/* The parent-death signal is one of our own: its handler starts the timer and passes TERM on. */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>
#include <proc/orphan.h>

/* Set once, after the fork; read by the handler. */
static struct {
    timer_t timer;
    struct itimerspec grace;
} last;

static int
death_signal(void)
{
    return SIGRTMAX - 1;
}

static void
leave(int number)
{
    (void)number;
    int saved = errno;
    timer_settime(last.timer, 0, &last.grace, NULL);
    kill(getpid(), SIGTERM);
    errno = saved;
}

/* True if the worker can be given time; without timer or handler it dies at once. */
static bool
prepare_grace(long long grace_ms)
{
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGKILL};
    struct sigaction action = {.sa_handler = leave, .sa_flags = SA_RESTART};
    last.grace.it_value.tv_sec = (time_t)(grace_ms / 1000);
    last.grace.it_value.tv_nsec = (long)(grace_ms % 1000) * 1000000 + 1; /* 0 would be never */
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, death_signal());
    return timer_create(CLOCK_MONOTONIC, &event, &last.timer) == 0 &&
           sigaction(death_signal(), &action, NULL) == 0 &&
           sigprocmask(SIG_UNBLOCK, &set, NULL) == 0;
}

void
sl_orphan_check(pid_t parent)
{
    if (getppid() != parent)
        _exit(0);
}

void
sl_orphan_prepare(pid_t parent, long long grace_ms)
{
    prctl(PR_SET_PDEATHSIG, prepare_grace(grace_ms) ? death_signal() : SIGKILL);
    sl_orphan_check(parent);
}
