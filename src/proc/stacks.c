/* The handler's side and the reader's side of a worker's stacks. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#if __has_include(<execinfo.h>)
#include <execinfo.h>
#define HAVE_NATIVE_STACKS
#endif
#include <proc/scoreboard.h>
#include <proc/stacks.h>

enum { FRAMES = 24, TEXT_MAX = 1 << 20 };
enum { TURN_MS = 50, TURNS_MS = 200 }; /* for one other thread, for all of them */

/* Set after the fork; read by the handler. */
static struct {
    struct sl_slot *slot;
    int fd;
    size_t checked; /* shown when sl_stacks_show() looked last */
    void (*inner)(int number);
    struct sl_engine *engine;
    void (*_Atomic stop)(struct sl_engine *engine); /* written after the engine */
    atomic_int turn;                                /* the thread that is to write; 0: none */
    atomic_bool showing, told_all;
} here = {.fd = -1};

int
sl_stacks_signal(void)
{
    return SIGRTMAX - 2;
}

int
sl_stacks_fd(void)
{
    return here.fd;
}

/* ---- the handler --------------------------------------------------------------------------- */

static void
write_native(int fd)
{
    char title[64];
    int len = snprintf(title, sizeof title, "Native stack of thread %d:\n", (int)gettid());
    ssize_t n = write(fd, title, (size_t)len);
    (void)n;
#ifdef HAVE_NATIVE_STACKS
    void *frames[FRAMES];
    backtrace_symbols_fd(frames, backtrace(frames, FRAMES), fd);
#endif
}

#ifdef HAVE_NATIVE_STACKS
static void
nap(void)
{
    (void)nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

/* Returns about how many milliseconds it took; it does not answer while it has the signal blocked
 * or sleeps deep in the kernel. */
static int
give_turn(int tid, int most_ms)
{
    int ms = 0;
    atomic_store(&here.turn, tid);
    if (syscall(SYS_tgkill, getpid(), tid, sl_stacks_signal()) == 0) {
        while (ms < most_ms && atomic_load(&here.turn) == tid) {
            nap();
            ms++;
        }
    }
    atomic_store(&here.turn, 0);
    return ms;
}

/* Each other thread writes its own, one after the other. Their system calls are interrupted by
 * that, so it is done only to a worker that is about to die. */
static void
show_others(void)
{
    char entries[4096];
    int left_ms = TURNS_MS, self = gettid();
    int dir = open("/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return;
    for (long n; left_ms > 0 && (n = syscall(SYS_getdents64, dir, entries, sizeof entries)) > 0;) {
        for (long at = 0; at < n && left_ms > 0;) {
            const struct dirent64 *entry = (const void *)(entries + at);
            int tid = 0;
            for (const char *c = entry->d_name; *c >= '0' && *c <= '9'; c++)
                tid = 10 * tid + *c - '0';
            if (tid != 0 && tid != self)
                left_ms -= give_turn(tid, TURN_MS < left_ms ? TURN_MS : left_ms);
            at += entry->d_reclen;
        }
    }
    close(dir);
}
#else
static void
show_others(void)
{
}
#endif

static void
show_here(int number)
{
    bool condemned = sl_slot_condemned(here.slot);
    if (here.inner != NULL)
        here.inner(number);
    write_native(here.fd);
    if (condemned)
        show_others();
    off_t end = lseek(here.fd, 0, SEEK_CUR);
    sl_slot_shown(here.slot, end > 0 ? (size_t)end : 0);
    if (condemned)
        atomic_store(&here.told_all, true); /* a thread may take the signal late */
}

static void
show(int number)
{
    int saved = errno, self = gettid();
    if (atomic_load(&here.turn) == self) {
        write_native(here.fd);
        (void)atomic_compare_exchange_strong(&here.turn, &self, 0);
        errno = saved;
        return;
    }
    void (*stop)(struct sl_engine *) = atomic_load(&here.stop);
    if (stop != NULL && sl_slot_condemned(here.slot))
        stop(here.engine);
    if (here.fd >= 0 && !atomic_load(&here.told_all) && !atomic_exchange(&here.showing, true)) {
        show_here(number);
        atomic_store(&here.showing, false);
    }
    errno = saved;
}

/* The arbiter asks before it aborts, so that mostly there is nothing left to show. */
static void
show_and_die(int number)
{
    if (sl_slot_bytes_shown(here.slot) == 0)
        show(number);
    signal(number, SIG_DFL);
    raise(number); /* pending until this handler returns */
}

static void
install(int number, void (*handler)(int), int flags)
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
    sigset_t set;
    sigaction(number, &action, NULL);
    sigaddset(&action.sa_mask, SIGABRT); /* first it is shown, then it dies */
    sigemptyset(&set);
    sigaddset(&set, number);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
}

void
sl_stacks_prepare(struct sl_slot *slot, int fd)
{
    here.slot = slot;
    here.fd = fd;
    install(sl_stacks_signal(), show, SA_RESTART);
    install(SIGABRT, show_and_die, 0);
}

void
sl_stacks_wrap(void)
{
    struct sigaction now;
    if (here.slot == NULL || sigaction(sl_stacks_signal(), NULL, &now) < 0 ||
        now.sa_handler == show || now.sa_handler == SIG_DFL || now.sa_handler == SIG_IGN ||
        (now.sa_flags & SA_SIGINFO))
        return;
    here.inner = now.sa_handler;
    install(sl_stacks_signal(), show, now.sa_flags | SA_RESTART);
}

void
sl_worker_on_abort(void (*stop)(struct sl_engine *engine), struct sl_engine *engine)
{
    atomic_store(&here.stop, NULL);
    here.engine = engine;
    atomic_store(&here.stop, stop);
}

bool
sl_stacks_show(void)
{
    if (here.fd < 0 || sl_worker_orphaned(here.slot))
        return false;
    if (sl_slot_bytes_shown(here.slot) == here.checked)
        raise(sl_stacks_signal());
    here.checked = sl_slot_bytes_shown(here.slot);
    return true;
}

/* ---- in the arbiter ------------------------------------------------------------------------ */

void
sl_stacks_warm_up(void)
{
#ifdef HAVE_NATIVE_STACKS
    void *frame;
    (void)backtrace(&frame, 1);
#endif
}

void
sl_stacks_clear(int *fd)
{
    if (*fd < 0)
        *fd = memfd_create("saola-stacks", MFD_CLOEXEC);
    else if (ftruncate(*fd, 0) < 0 || lseek(*fd, 0, SEEK_SET) < 0) {
        close(*fd);
        *fd = -1;
    }
}

char *
sl_stacks_read(int fd, size_t *told)
{
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0 || (size_t)st.st_size <= *told)
        return NULL;
    size_t from = *told, size = (size_t)st.st_size - from;
    *told += size;
    if (size > TEXT_MAX)
        size = TEXT_MAX;
    char *text = malloc(size + 1);
    ssize_t n = text == NULL ? -1 : pread(fd, text, size, (off_t)from);
    if (n <= 0) {
        free(text);
        return NULL;
    }
    while (n > 0 && text[n - 1] == '\n')
        n--;
    text[n] = '\0';
    return text;
}
