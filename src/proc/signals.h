/* Signals of the arbiter: handlers only note the number in a pipe that the arbiter's poll watches.
 *
 * A self-pipe and not signalfd, because threads that a preloaded application started do not share
 * the main thread's mask: a handler is right whichever thread the kernel picks.
 *
 * Process: one arbiter a process (the pipe's write end is a variable of the process). Thread:
 * the main one, except sl_signals_note().
 */
#ifndef SAOLA_PROC_SIGNALS_H
#define SAOLA_PROC_SIGNALS_H

#include <signal.h>
#include <saola/status.h>

enum {
    SL_SIGNALS_COUNT = 12,
    SL_SIGNALS_TERMINAL_GONE = 128, /* a HUP that nobody sent: the kernel's, of a lost terminal */
};

struct sl_signals {
    int read_fd, write_fd; /* non-blocking, close-on-exec; -1 = closed */
};

/* Installs the handlers and unblocks their signals (which the arbiter that executed this program by
 * USR2 had blocked). SL_ESYS, SL_EBUSY (there is one already). */
int sl_signals_open(struct sl_signals *signals, struct sl_error *err);

/* The process is about to end: INT, for the impatient, ends it now; all others are ignored, or one
 * that comes late would make a failure of an orderly end. */
void sl_signals_close(struct sl_signals *signals);

/* Next signal that arrived, or SL_SIGNALS_TERMINAL_GONE; 0 = none. */
int sl_signals_next(struct sl_signals *signals);

/* As if the signal had arrived. Async-signal-safe; without an open pipe nothing happens. */
void sl_signals_note(int number);

/* Around fork: from block to unblock no signal is taken, so none is lost or seen twice. */
void sl_signals_block(sigset_t *ret_before);
void sl_signals_unblock(const sigset_t *before);

/* (forked worker) Default actions for the arbiter's signals; TTIN and TTOU are ignored, since their
 * default would stop the process. Closes the pipe. They stay blocked until sl_signals_unblock(). */
void sl_signals_leave(struct sl_signals *signals);

#endif
