/* The parent-death signal is one of our own: its handler starts the timers and passes TERM on. */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>
#include <proc/orphan.h>

enum { ABORT_MS = 1000 };

/* Set once, after the fork; read by the handler. */
static struct {
    timer_t abort, kill;
    struct itimerspec grace[2], exit[2]; /* until ABRT, until KILL */
    atomic_bool prepared, orphaned, drained;
} last;

static int
death_signal(void)
{
    return SIGRTMAX - 1;
}

/* Sets the clocks by what is known now; whoever comes last of the two that call it knows all. */
static void
set_clocks(void)
{
    const struct itimerspec *until = atomic_load(&last.drained) ? last.exit : last.grace;
    timer_settime(last.abort, 0, &until[0], NULL);
    timer_settime(last.kill, 0, &until[1], NULL);
}

static void
leave(int number)
{
    (void)number;
    int saved = errno;
    atomic_store(&last.orphaned, true);
    bool drained = atomic_load(&last.drained);
    set_clocks();
    if (drained != atomic_load(&last.drained)) /* meanwhile, in another thread */
        set_clocks();
    if (!drained)
        kill(getpid(), SIGTERM);
    errno = saved;
}

static struct itimerspec
after_ms(long long ms)
{
    struct itimerspec spec = {.it_value.tv_sec = (time_t)(ms / 1000)};
    spec.it_value.tv_nsec = (long)(ms % 1000) * 1000000 + 1; /* 0 would be never */
    return spec;
}

static bool
make_timer(int number, timer_t *ret_timer)
{
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = number};
    return timer_create(CLOCK_MONOTONIC, &event, ret_timer) == 0;
}

/* True if the worker can be given time; without timers or handler it dies at once. */
static bool
prepare_grace(long long grace_ms, long long exit_ms)
{
    struct sigaction action = {.sa_handler = leave, .sa_flags = SA_RESTART};
    last.grace[0] = after_ms(grace_ms);
    last.grace[1] = after_ms(grace_ms + ABORT_MS);
    if (exit_ms > 0) { /* else zeros, which stop a timer */
        last.exit[0] = after_ms(exit_ms);
        last.exit[1] = after_ms(exit_ms + ABORT_MS);
    }
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, death_signal());
    return make_timer(SIGABRT, &last.abort) && make_timer(SIGKILL, &last.kill) &&
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
sl_orphan_prepare(pid_t parent, long long grace_ms, long long exit_ms)
{
    bool prepared = prepare_grace(grace_ms, exit_ms);
    atomic_store(&last.prepared, prepared);
    prctl(PR_SET_PDEATHSIG, prepared ? death_signal() : SIGKILL);
    sl_orphan_check(parent);
}

void
sl_orphan_drained(void)
{
    if (!atomic_load(&last.prepared) || atomic_exchange(&last.drained, true))
        return;
    if (atomic_load(&last.orphaned))
        set_clocks();
}
