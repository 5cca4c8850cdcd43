/* Descriptors that the arbiter keeps for bad times: when user code has used up all others (EMFILE),
 * a worker can still be spawned and boot, a configuration be loaded, a log file be opened anew.
 *
 * Process: arbiter. Thread: the main one.
 */
#ifndef SL_PROC_RESERVE_H
#define SL_PROC_RESERVE_H

enum { SL_RESERVE = 16 };

struct sl_reserve {
    int fds[SL_RESERVE];
    int count;
};

/* Takes as many descriptors as there are and it lacks. It may get fewer: the next time, perhaps. */
void sl_reserve_fill(struct sl_reserve *reserve);

/* Gives them all back: there is room now, until the next fill. */
void sl_reserve_lend(struct sl_reserve *reserve);

#endif
