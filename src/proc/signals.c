/* The self-pipe. One byte a signal, in their order; of what does not fit (65,536 are waiting) one
 * of each kind is kept beside it, so that no TERM is lost behind a storm. */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>
#include <proc/signals.h>

enum { BESIDE_BITS = 8 * sizeof(unsigned long) };

static const int handled[SL_SIGNALS_COUNT] = {
    SIGHUP,  SIGINT,  SIGQUIT,  SIGTERM, SIGTTIN, SIGTTOU,
    SIGUSR1, SIGUSR2, SIGWINCH, SIGCHLD, SIGPIPE, SIGCONT,
};

static atomic_int note_fd = -1;
static atomic_ulong beside; /* bit n: signal n */

void
sl_signals_note(int number)
{
    int saved = errno;
    int fd = atomic_load(&note_fd);
    unsigned char byte = (unsigned char)number;
    if (fd >= 0) {
        ssize_t n = write(fd, &byte, 1);
        if (n != 1 && number < BESIDE_BITS)
            atomic_fetch_or(&beside, 1ul << number);
    }
    errno = saved;
}

static void
take(int number, siginfo_t *info, void *context)
{
    (void)context;
    bool of_terminal = info->si_code == SI_KERNEL;
    if (of_terminal && number == SIGHUP)
        sl_signals_note(SL_SIGNALS_TERMINAL_GONE);
    else if (!of_terminal || number != SIGWINCH) /* a window has another size: nobody's wish */
        sl_signals_note(number);
}

static sigset_t
handled_set(void)
{
    sigset_t set;
    sigemptyset(&set);
    for (int i = 0; i < SL_SIGNALS_COUNT; i++)
        sigaddset(&set, handled[i]);
    return set;
}

int
sl_signals_open(struct sl_signals *signals, struct sl_error *err)
{
    int fds[2];
    if (atomic_load(&note_fd) >= 0)
        return sl_error_set(err, SL_EBUSY, "this process runs an arbiter already");
    if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
        return sl_error_set(err, SL_ESYS, "no pipe for signals: %s", strerror(errno));
    signals->read_fd = fds[0];
    signals->write_fd = fds[1];
    atomic_store(&note_fd, fds[1]);
    struct sigaction action = {.sa_sigaction = take, .sa_flags = SA_RESTART | SA_SIGINFO};
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigfillset(&action.sa_mask);
    for (int i = 0; i < SL_SIGNALS_COUNT; i++) {
        if (sigaction(handled[i], handled[i] == SIGPIPE ? &ignore : &action, NULL) < 0)
            return sl_error_set(err, SL_ESYS, "no handler for signal %d: %s", handled[i],
                                strerror(errno));
    }
    sigset_t set = handled_set();
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    return SL_OK;
}

static void
close_pipe(struct sl_signals *signals)
{
    atomic_store(&note_fd, -1);
    atomic_store(&beside, 0);
    close(signals->read_fd);
    close(signals->write_fd);
    signals->read_fd = signals->write_fd = -1;
}

void
sl_signals_close(struct sl_signals *signals)
{
    if (signals->read_fd < 0)
        return;
    struct sigaction action = {.sa_handler = SIG_IGN};
    for (int i = 0; i < SL_SIGNALS_COUNT; i++) {
        bool by_default = handled[i] == SIGINT || handled[i] == SIGCHLD;
        action.sa_handler = by_default ? SIG_DFL : SIG_IGN;
        sigaction(handled[i], &action, NULL);
    }
    close_pipe(signals);
}

static int
next_beside(void)
{
    unsigned long bits = atomic_load(&beside);
    if (bits == 0)
        return 0;
    int number = __builtin_ctzl(bits);
    atomic_fetch_and(&beside, ~(1ul << number));
    return number;
}

int
sl_signals_next(struct sl_signals *signals)
{
    unsigned char byte;
    ssize_t n;
    do
        n = read(signals->read_fd, &byte, 1);
    while (n < 0 && errno == EINTR);
    return n == 1 ? byte : next_beside();
}

void
sl_signals_block(sigset_t *ret_before)
{
    sigset_t set = handled_set();
    pthread_sigmask(SIG_BLOCK, &set, ret_before);
}

void
sl_signals_unblock(const sigset_t *before)
{
    pthread_sigmask(SIG_SETMASK, before, NULL);
}

void
sl_signals_leave(struct sl_signals *signals)
{
    struct sigaction action = {.sa_handler = SIG_DFL};
    for (int i = 0; i < SL_SIGNALS_COUNT; i++) {
        bool ignored = handled[i] == SIGTTIN || handled[i] == SIGTTOU || handled[i] == SIGPIPE;
        action.sa_handler = ignored ? SIG_IGN : SIG_DFL;
        sigaction(handled[i], &action, NULL);
    }
    action.sa_handler = SIG_DFL;
    sigaction(SIGABRT, &action, NULL);
    close_pipe(signals);
}
