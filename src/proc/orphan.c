/* The parent-death signal is one of our own: its handler starts the timers and passes TERM on.
 *
 * A worker that hangs in C with the interpreter's lock held does not hear TERM. It is told from one
 * that is busy by what must all be true of it, or it keeps its time: its heart had stood still for
 * HUNG_MS when the arbiter died; the host's lock cannot be had (stuck()); and in each of LOOKS
 * intervals of LOOK_MS, in which its host could have acknowledged, exactly one thread has run.
 * None: it waits for something, a database perhaps, or the machine is too busy. More: they pass the
 * lock on, and one day it is the main thread's turn.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <base/clock.h>
#include <proc/orphan.h>
#include <proc/scoreboard.h>

enum {
    ABORT_MS = 1000,
    HUNG_MS = 2000,
    LOOK_MS = 35,
    LOOKS = 2,
    THREADS = 128, /* with more of them nobody is called hung */
    RAN_NS = 2000000,
};

struct times {
    unsigned count;
    struct {
        pid_t tid;
        uint64_t cpu_ns;
    } threads[THREADS];
};

/* Set after the fork, before the host runs; read by the handler. */
static struct {
    timer_t abort, kill, look;
    struct itimerspec grace[2], exit[2]; /* until ABRT, until KILL */
    atomic_bool prepared, orphaned, drained, acknowledged;
    bool exclusive;
    const struct sl_slot *slot;
    _Atomic(sl_worker_stuck_fn) stuck;
    /* The handler's. */
    bool suspected;
    unsigned looks, hung; /* hung: in a row */
    struct times times;
} last;

/* ---- does it hang? (signal handler: no malloc, no stdio) ----------------------------------- */

/* linux_dirent64 of getdents64(2), which libc's headers do not have. */
struct entry {
    uint64_t inode;
    int64_t offset;
    unsigned short size;
    unsigned char type;
    char name[];
};

static pid_t
number_in(const char *name)
{
    pid_t number = 0;
    for (; *name >= '0' && *name <= '9'; name++)
        number = number * 10 + (*name - '0');
    return number;
}

static bool
add_thread(struct times *times, pid_t tid)
{
    struct timespec used;
    clockid_t clock = (clockid_t)((~(unsigned)tid << 3) | 6); /* its own CPU time */
    if (times->count == THREADS || clock_gettime(clock, &used) != 0)
        return false;
    times->threads[times->count].tid = tid;
    times->threads[times->count++].cpu_ns =
        (uint64_t)used.tv_sec * 1000000000 + (uint64_t)used.tv_nsec;
    return true;
}

static bool
add_entries(struct times *times, const char *buf, long size)
{
    for (long at = 0; at < size;) {
        const struct entry *entry = (const void *)(buf + at);
        pid_t tid = number_in(entry->name); /* 0: . and .. */
        if (tid != 0 && !add_thread(times, tid))
            return false;
        at += entry->size;
    }
    return true;
}

/* False: not known. */
static bool
read_times(struct times *ret)
{
    _Alignas(struct entry) char buf[2048];
    int fd = open("/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ret->count = 0;
    long n;
    bool known = true;
    while (known && (n = syscall(SYS_getdents64, fd, buf, sizeof buf)) > 0)
        known = add_entries(ret, buf, n);
    close(fd);
    return known && n == 0;
}

static uint64_t
time_then(pid_t tid)
{
    for (unsigned i = 0; i < last.times.count; i++) {
        if (last.times.threads[i].tid == tid)
            return last.times.threads[i].cpu_ns;
    }
    return 0;
}

/* Exactly one thread has run since the last look. *ret_this: it is the one that asks. */
static bool
one_has_run(bool *ret_this)
{
    struct times now;
    unsigned ran = 0;
    if (!read_times(&now))
        return false;
    *ret_this = false;
    for (unsigned i = 0; i < now.count; i++) {
        if (now.threads[i].cpu_ns - time_then(now.threads[i].tid) < RAN_NS)
            continue;
        ran++;
        if (now.threads[i].tid == gettid())
            *ret_this = true;
    }
    last.times = now;
    return ran == 1;
}

static void
judge(void)
{
    bool this_ran;
    last.hung = one_has_run(&this_ran) && atomic_load(&last.stuck)(this_ran) ? last.hung + 1 : 0;
    if (last.hung < LOOKS)
        return;
    static const char text[] = "A worker hangs and its arbiter is gone: killed.\n";
    ssize_t n = write(STDERR_FILENO, text, sizeof text - 1);
    (void)n;
    kill(getpid(), SIGKILL);
}

static void
look(void)
{
    if (atomic_load(&last.acknowledged) || atomic_load(&last.drained) || gettid() != getpid())
        return;
    if (last.looks++ == 0) /* it may have come just before a system call that waits */
        kill(getpid(), sl_worker_acknowledge_signal());
    if (last.suspected)
        judge();
}

static void
start_looking(void)
{
    static const long ns = LOOK_MS * 1000000L;
    static const struct itimerspec often = {.it_value.tv_nsec = ns, .it_interval.tv_nsec = ns};
    last.suspected = !last.exclusive && last.slot != NULL &&
                     sl_clock_ms() >= sl_slot_last_beat_ms(last.slot) + HUNG_MS &&
                     read_times(&last.times);
    timer_settime(last.look, 0, &often, NULL);
}

int
sl_worker_acknowledge_signal(void)
{
    return SIGRTMAX - 3;
}

void
sl_worker_acknowledge(void)
{
    static const struct itimerspec never = {.it_value.tv_sec = 0};
    if (!atomic_load(&last.prepared) || !atomic_load(&last.orphaned))
        return;
    atomic_store(&last.acknowledged, true);
    timer_settime(last.look, 0, &never, NULL);
}

void
sl_worker_watch(sl_worker_stuck_fn stuck)
{
    atomic_store(&last.stuck, stuck);
}

/* ---- the clocks ---------------------------------------------------------------------------- */

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
leave(void)
{
    atomic_store(&last.orphaned, true);
    bool drained = atomic_load(&last.drained);
    set_clocks();
    if (drained != atomic_load(&last.drained)) /* meanwhile, in another thread */
        set_clocks();
    if (drained)
        return;
    kill(getpid(), SIGTERM);
    if (atomic_load(&last.stuck) == NULL)
        return;
    start_looking();
    kill(getpid(), sl_worker_acknowledge_signal());
}

static void
take(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)context;
    int saved = errno;
    if (info->si_code == SI_TIMER)
        look();
    else
        leave();
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
    struct sigaction action = {.sa_sigaction = take, .sa_flags = SA_RESTART | SA_SIGINFO};
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
           make_timer(death_signal(), &last.look) &&
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
sl_orphan_prepare(const struct sl_orphan_setup *setup)
{
    last.exclusive = setup->exclusive;
    last.slot = setup->slot;
    bool prepared = prepare_grace(setup->grace_ms, setup->exit_ms);
    atomic_store(&last.prepared, prepared);
    prctl(PR_SET_PDEATHSIG, prepared ? death_signal() : SIGKILL);
    sl_orphan_check(setup->parent);
}

int
sl_orphan_continue(int death_fd)
{
    char path[32];
    struct f_owner_ex self = {.type = F_OWNER_PID, .pid = getpid()};
    snprintf(path, sizeof path, "/proc/self/fd/%d", death_fd);
    int own = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (own < 0)
        return death_fd;
    if (fcntl(own, F_SETOWN_EX, &self) < 0 || fcntl(own, F_SETSIG, SIGCONT) < 0 ||
        fcntl(own, F_SETFL, O_NONBLOCK | O_ASYNC) < 0) {
        close(own);
        return death_fd;
    }
    close(death_fd);
    return own;
}

void
sl_orphan_drained(void)
{
    if (!atomic_load(&last.prepared) || atomic_exchange(&last.drained, true))
        return;
    if (atomic_load(&last.orphaned))
        set_clocks();
}
