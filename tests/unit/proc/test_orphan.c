/* Processes whose parent is killed: idle, stopped, hanging, busy. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>
#include <proc/orphan.h>
#include <proc/scoreboard.h>

enum { GRACE_MS = 700, LONG_MS = 60000, OLD_MS = 60000 };

/* What the orphan is like. */
struct orphan {
    bool watched, stopped, acknowledges, exclusive, drained, ready_to_go;
    bool fresh; /* its heart has just beaten */
    bool stuck; /* what the host says */
    int grace_ms;
    unsigned spinners; /* threads that run, beside the main one if it sleeps */
    bool main_sleeps;
};

static bool says_stuck;

static bool
stuck(bool this_thread_ran)
{
    (void)this_thread_ran;
    return says_stuck;
}

static void
acknowledge(int number)
{
    (void)number;
    sl_worker_acknowledge();
}

static void
ignore(int number)
{
    (void)number;
}

static void *
spin(void *arg)
{
    (void)arg;
    for (;;)
        atomic_signal_fence(memory_order_seq_cst);
    return NULL;
}

static void *
spin_unseen(void *arg)
{
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    return spin(arg);
}

static void
be(const struct orphan *like, struct sl_slot *slot, pid_t parent, int death_fd)
{
    pthread_t thread;
    sl_orphan_prepare(&(struct sl_orphan_setup){.parent = parent,
                                                .grace_ms = like->grace_ms,
                                                .exit_ms = like->grace_ms,
                                                .slot = slot,
                                                .exclusive = like->exclusive});
    death_fd = sl_orphan_continue(death_fd);
    signal(sl_worker_acknowledge_signal(), like->acknowledges ? acknowledge : ignore);
    if (!like->ready_to_go)
        signal(SIGTERM, ignore);
    says_stuck = like->stuck;
    if (like->watched)
        sl_worker_watch(stuck);
    if (like->drained)
        sl_orphan_drained();
    for (unsigned i = 0; i < like->spinners; i++)
        pthread_create(&thread, NULL, spin_unseen, NULL);
    atomic_store(&slot->ready_ms, 1); /* sl_slot_ready() would be a beat */
    while (like->main_sleeps)
        pause();
    spin(NULL);
}

static long long
now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

static void
until_ready(const struct sl_slot *slot)
{
    while (atomic_load(&slot->ready_ms) == 0)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

/* Makes a parent with such a child, kills the parent; returns the milliseconds until the child was
 * gone, and its status. */
static long long
die(const struct orphan *like, int *ret_status)
{
    struct sl_scoreboard board;
    int death[2], status;
    assert_int_equal(sl_scoreboard_open(1, &board), SL_OK);
    struct sl_slot *slot = sl_scoreboard_take(&board, 1, -1);
    assert_int_equal(pipe(death), 0);
    pid_t parent = fork();
    assert_true(parent >= 0);
    if (parent == 0) {
        pid_t self = getpid(), child = fork();
        if (child == 0) {
            close(death[1]);
            sl_slot_forked(slot, getpid());
            be(like, slot, self, death[0]);
        }
        for (;;)
            pause();
    }
    close(death[0]);
    close(death[1]);
    until_ready(slot);
    pid_t child = atomic_load(&slot->pid);
    if (!like->fresh)
        atomic_store(&slot->heartbeat_ms, atomic_load(&slot->heartbeat_ms) - OLD_MS);
    if (like->stopped)
        kill(child, SIGSTOP);
    long long begin = now_ms();
    kill(parent, SIGKILL);
    assert_int_equal(waitpid(parent, &status, 0), parent);
    assert_int_equal(waitpid(child, ret_status, 0), child); /* ours: a subreaper's */
    sl_scoreboard_close(&board);
    return now_ms() - begin;
}

static void
is_ended_at_once(struct orphan like, int by)
{
    int status;
    like.grace_ms = LONG_MS;
    assert_true(die(&like, &status) < LONG_MS / 2);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), by);
}

/* Of many threads only one may have run between two looks when the machine has far more to do than
 * it can, and that is taken for a hanging one; a heart that has just beaten may be old before it is
 * looked at. But not again and again. */
static void
gets_its_time(struct orphan like)
{
    int status, tries = like.spinners > 1 ? 20 : like.fresh ? 3 : 1;
    long long ms;
    like.grace_ms = GRACE_MS;
    do
        ms = die(&like, &status);
    while (--tries > 0 && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_true(ms >= GRACE_MS - 1);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
}

static void
test_one_that_rests_is_told_to_leave(void **state)
{
    (void)state;
    is_ended_at_once((struct orphan){.main_sleeps = true, .ready_to_go = true}, SIGTERM);
}

static void
test_one_that_is_stopped_is_continued(void **state)
{
    (void)state;
    is_ended_at_once((struct orphan){.main_sleeps = true, .ready_to_go = true, .stopped = true},
                     SIGTERM);
}

static void
test_one_that_hangs_is_killed(void **state)
{
    (void)state;
    is_ended_at_once((struct orphan){.watched = true, .stuck = true}, SIGKILL);
    is_ended_at_once(
        (struct orphan){.watched = true, .stuck = true, .spinners = 1, .main_sleeps = true},
        SIGKILL);
    is_ended_at_once((struct orphan){.watched = true, .stuck = true, .stopped = true}, SIGKILL);
}

static void
test_one_that_may_be_busy_gets_its_time(void **state)
{
    (void)state;
    static const struct orphan like[] = {
        {.stuck = true},                                 /* a host that tells nothing */
        {.watched = true},                               /* the lock can be had */
        {.watched = true, .stuck = true, .fresh = true}, /* not for long */
        {.watched = true, .stuck = true, .acknowledges = true},
        {.watched = true, .stuck = true, .exclusive = true},
        {.watched = true, .stuck = true, .main_sleeps = true},
        {.watched = true, .stuck = true, .spinners = 16, .main_sleeps = true},
        {.watched = true, .stuck = true, .drained = true},
    };
    for (size_t i = 0; i < sizeof like / sizeof *like; i++)
        gets_its_time(like[i]);
}

static void
test_without_proc_the_pipe_is_used_as_it_is(void **state)
{
    (void)state;
    assert_int_equal(sl_orphan_continue(-1), -1);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_that_rests_is_told_to_leave),
        cmocka_unit_test(test_one_that_is_stopped_is_continued),
        cmocka_unit_test(test_one_that_hangs_is_killed),
        cmocka_unit_test(test_one_that_may_be_busy_gets_its_time),
        cmocka_unit_test(test_without_proc_the_pipe_is_used_as_it_is),
    };
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
