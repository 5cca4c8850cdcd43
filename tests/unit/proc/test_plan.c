/* The plan's rules one by one, with a clock that the test sets. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <saola/host.h>
#include <proc/plan_state.h>

enum { SLOTS = 16 };

struct bench {
    struct sl_plan *plan;
    struct sl_plan_group group;
    struct sl_plan_action actions[SLOTS * 6 + 32]; /* of the last event */
    size_t count;
    long long now_ms;
    pid_t pids[SLOTS], last_pid;
};

static void
feed(struct bench *bench, struct sl_plan_event event)
{
    event.now_ms = bench->now_ms;
    bench->count = sl_plan_step(bench->plan, &event, bench->actions);
}

static unsigned
count(const struct bench *bench, enum sl_plan_action_kind kind, int number)
{
    unsigned found = 0;
    for (size_t i = 0; i < bench->count; i++)
        found +=
            bench->actions[i].kind == kind && (number == 0 || bench->actions[i].number == number);
    return found;
}

static bool
says(const struct bench *bench, enum sl_plan_message message)
{
    for (size_t i = 0; i < bench->count; i++) {
        if (bench->actions[i].kind == SL_DO_LOG && bench->actions[i].message == message)
            return true;
    }
    return false;
}

static void
signal_arrives(struct bench *bench, int number)
{
    feed(bench, (struct sl_plan_event){.kind = SL_EV_SIGNAL, .number = number});
}

static void
fork_slot(struct bench *bench, unsigned slot)
{
    bench->pids[slot] = ++bench->last_pid;
    feed(bench,
         (struct sl_plan_event){.kind = SL_EV_FORKED, .slot = slot, .pid = bench->pids[slot]});
}

static void
make_ready(struct bench *bench, unsigned slot)
{
    feed(bench, (struct sl_plan_event){.kind = SL_EV_READY, .slot = slot});
}

static void
dies(struct bench *bench, unsigned slot, int status)
{
    feed(bench, (struct sl_plan_event){.kind = SL_EV_EXITED, .slot = slot, .number = status});
}

static void
tick_at(struct bench *bench, long long now_ms)
{
    bench->now_ms = now_ms;
    feed(bench, (struct sl_plan_event){.kind = SL_EV_TICK});
}

/* workers that boot in slots 0, 1, ... */
static struct bench *
booting(unsigned workers, bool exclusive, bool daemon)
{
    struct bench *bench = calloc(1, sizeof *bench);
    bench->plan = sl_plan_new(SLOTS, daemon, false);
    bench->now_ms = 1000;
    bench->group = (struct sl_plan_group){.name = "web",
                                          .workers = workers,
                                          .exclusive = exclusive,
                                          .boot_ms = 60000,
                                          .timeout_ms = 30000,
                                          .graceful_ms = 30000,
                                          .exit_ms = 20000};
    feed(bench,
         (struct sl_plan_event){.kind = SL_EV_START, .groups = &bench->group, .group_count = 1});
    assert_int_equal(count(bench, SL_DO_SPAWN, 0), workers);
    for (unsigned slot = 0; slot < workers; slot++)
        fork_slot(bench, slot);
    return bench;
}

/* workers ready workers in slots 0, 1, ... */
static struct bench *
serving(unsigned workers, bool exclusive, bool daemon)
{
    struct bench *bench = booting(workers, exclusive, daemon);
    for (unsigned slot = 0; slot < workers; slot++)
        make_ready(bench, slot);
    return bench;
}

static void
done(struct bench *bench)
{
    sl_plan_free(bench->plan);
    free(bench);
}

static void
test_deaths_in_a_row_back_off_up_to_5_seconds(void **state)
{
    (void)state;
    static const long long delays_ms[] = {0, 100, 400, 1600, 5000, 5000};
    struct bench *bench = serving(1, false, false);
    for (size_t i = 0; i < sizeof delays_ms / sizeof delays_ms[0]; i++) {
        dies(bench, 0, SIGSEGV);
        if (delays_ms[i] > 0) {
            assert_int_equal(count(bench, SL_DO_SPAWN, 0), 0);
            assert_int_equal(sl_plan_wake_ms(bench->plan), bench->now_ms + delays_ms[i]);
            tick_at(bench, bench->now_ms + delays_ms[i]);
        }
        assert_int_equal(count(bench, SL_DO_SPAWN, 0), 1);
        fork_slot(bench, 0);
        make_ready(bench, 0);
    }
    bench->now_ms += 10000; /* it lived long: forgiven */
    dies(bench, 0, SIGSEGV);
    assert_int_equal(count(bench, SL_DO_SPAWN, 0), 1);
    done(bench);
}

/* Four workers that die as soon as they serve: how many are made in the first ten seconds? */
static void
test_a_crash_loop_makes_at_most_12_forks_in_10_seconds(void **state)
{
    (void)state;
    struct bench *bench = serving(4, false, false);
    long long begun_ms = bench->now_ms;
    unsigned made[4] = {0, 1, 2, 3}, alive = 4, forks = 4;
    while (bench->now_ms < begun_ms + 10000) {
        unsigned next[SLOTS], count_next = 0;
        for (unsigned i = 0; i < alive; i++) {
            dies(bench, made[i], SIGSEGV);
            for (size_t k = 0; k < bench->count; k++)
                if (bench->actions[k].kind == SL_DO_SPAWN)
                    next[count_next++] = bench->actions[k].slot;
        }
        if (count_next == 0) {
            assert_true(sl_plan_wake_ms(bench->plan) > bench->now_ms);
            tick_at(bench, sl_plan_wake_ms(bench->plan));
            for (size_t k = 0; k < bench->count; k++)
                if (bench->actions[k].kind == SL_DO_SPAWN)
                    next[count_next++] = bench->actions[k].slot;
        }
        if (bench->now_ms < begun_ms + 10000)
            forks += count_next;
        alive = count_next;
        for (unsigned i = 0; i < alive; i++) {
            made[i] = next[i];
            fork_slot(bench, made[i]);
            make_ready(bench, made[i]);
        }
    }
    assert_in_range(forks, 8, 12);
    /* The cause is gone: one shows it, the others follow. */
    assert_int_equal(alive, 1);
    tick_at(bench, bench->now_ms + 999);
    assert_int_equal(count(bench, SL_DO_SPAWN, 0), 0);
    assert_int_equal(sl_plan_wake_ms(bench->plan), bench->now_ms + 1);
    tick_at(bench, bench->now_ms + 1);
    assert_int_equal(count(bench, SL_DO_SPAWN, 0), 3);
    done(bench);
}

/* web and a pool of two, all ready: slot 0 is web's, 1 and 2 are the pool's. */
static struct bench *
serving_with_pool(enum sl_restart restart)
{
    struct bench *bench = calloc(1, sizeof *bench);
    bench->plan = sl_plan_new(SLOTS, false, false);
    bench->now_ms = 1000;
    struct sl_plan_group groups[] = {
        {.name = "web", .workers = 1, .graceful_ms = 30000},
        {.name = "pool", .workers = 2, .keeps_place = true, .restart = restart, .exit_ms = 5000},
    };
    groups[1].graceful_ms = 30000;
    feed(bench, (struct sl_plan_event){.kind = SL_EV_START, .groups = groups, .group_count = 2});
    for (unsigned slot = 0; slot < 3; slot++)
        fork_slot(bench, slot);
    for (unsigned slot = 0; slot < 3; slot++)
        make_ready(bench, slot);
    return bench;
}

static void
test_a_worker_that_keeps_its_place_has_a_successor_only_when_it_is_reaped(void **state)
{
    (void)state;
    struct bench *bench = serving_with_pool(SL_RESTART_ALWAYS);
    bench->plan->workers[1].spent = true; /* recycled: a pool's leaves first */
    feed(bench, (struct sl_plan_event){.kind = SL_EV_TICK});
    assert_int_equal(count(bench, SL_DO_KILL, SIGTERM), 1);
    assert_int_equal(count(bench, SL_DO_SPAWN, 0), 0);
    feed(bench, (struct sl_plan_event){.kind = SL_EV_DRAINED, .slot = 1});
    assert_int_equal(count(bench, SL_DO_SPAWN, 0), 0);
    dies(bench, 1, 0);
    assert_int_equal(count(bench, SL_DO_SPAWN, 0), 1);
    done(bench);
}

static void
test_a_restart_policy_leaves_ends_at_that(void **state)
{
    (void)state;
    struct bench *bench = serving_with_pool(SL_RESTART_ON_FAILURE);
    dies(bench, 1, 0);
    assert_int_equal(count(bench, SL_DO_SPAWN, 0), 0);
    assert_int_equal(sl_plan_wake_ms(bench->plan), -1);
    dies(bench, 2, SIGSEGV);
    assert_int_equal(count(bench, SL_DO_SPAWN, 0), 1);
    done(bench);
    bench = serving_with_pool(SL_RESTART_NEVER);
    dies(bench, 1, SIGSEGV);
    dies(bench, 2, 1 << 8);
    assert_int_equal(count(bench, SL_DO_SPAWN, 0), 0);
    dies(bench, 0, SIGKILL); /* web has a policy of its own */
    assert_int_equal(count(bench, SL_DO_SPAWN, 0), 1);
    done(bench);
}

static void
test_a_group_is_resized_and_one_worker_of_it_removed(void **state)
{
    (void)state;
    struct bench *bench = serving_with_pool(SL_RESTART_ALWAYS);
    feed(bench, (struct sl_plan_event){.kind = SL_EV_SET_WORKERS, .group = 1, .number = 4});
    assert_int_equal(count(bench, SL_DO_SPAWN, 0), 2);
    assert_int_equal(sl_plan_workers_wanted(bench->plan), 1); /* web's */
    fork_slot(bench, 3);
    fork_slot(bench, 4);
    feed(bench, (struct sl_plan_event){.kind = SL_EV_REMOVE, .slot = 2, .number = SIGTERM});
    assert_int_equal(count(bench, SL_DO_KILL, SIGTERM), 1);
    dies(bench, 2, 0);
    assert_int_equal(count(bench, SL_DO_SPAWN, 0), 0);
    done(bench);
}

static void
test_a_start_waits_for_a_worker_of_each_group(void **state)
{
    (void)state;
    struct bench *bench = calloc(1, sizeof *bench);
    bench->plan = sl_plan_new(SLOTS, false, false);
    struct sl_plan_group groups[] = {{.name = "web", .workers = 1}, {.name = "pool", .workers = 1}};
    feed(bench, (struct sl_plan_event){.kind = SL_EV_START, .groups = groups, .group_count = 2});
    fork_slot(bench, 0);
    fork_slot(bench, 1);
    make_ready(bench, 0);
    assert_string_equal(sl_plan_phase_name(bench->plan), "starting");
    dies(bench, 1, SL_EXIT_WORKER_BOOT << 8);
    assert_string_equal(sl_plan_phase_name(bench->plan), "stopping");
    done(bench);
}

static void
test_orderly_exits_and_deaths_together_are_no_crash_loop(void **state)
{
    (void)state;
    struct bench *bench = serving(4, false, false);
    for (unsigned slot = 0; slot < 4; slot++) {
        dies(bench, slot, SIGKILL);
        assert_int_equal(count(bench, SL_DO_SPAWN, 0), 1);
        fork_slot(bench, slot);
        make_ready(bench, slot);
    }
    for (int i = 0; i < 50; i++) {
        dies(bench, 0, 0);
        assert_int_equal(count(bench, SL_DO_SPAWN, 0), 1);
        fork_slot(bench, 0);
        make_ready(bench, 0);
    }
    done(bench);
}

static void
test_interrupt_shortens_a_stop_to_2_seconds(void **state)
{
    (void)state;
    struct bench *bench = serving(2, false, false);
    signal_arrives(bench, SIGTERM);
    assert_int_equal(count(bench, SL_DO_KILL, SIGTERM), 2);
    assert_int_equal(sl_plan_wake_ms(bench->plan), bench->now_ms + 30000);
    signal_arrives(bench, SIGTERM);
    assert_int_equal(count(bench, SL_DO_KILL, 0), 0);
    signal_arrives(bench, SIGINT);
    assert_true(says(bench, SL_SAY_QUICK));
    assert_int_equal(count(bench, SL_DO_KILL, SIGQUIT), 2);
    assert_int_equal(sl_plan_wake_ms(bench->plan), bench->now_ms + 2000);
    tick_at(bench, bench->now_ms + 2000);
    assert_int_equal(count(bench, SL_DO_KILL, SIGABRT), 2);
    tick_at(bench, bench->now_ms + 1000);
    assert_int_equal(count(bench, SL_DO_KILL, SIGKILL), 2);
    dies(bench, 0, SIGKILL);
    dies(bench, 1, SIGKILL);
    assert_int_equal(count(bench, SL_DO_EXIT, 0), 1);
    done(bench);
}

static void
test_drain_delay_puts_the_stop_off(void **state)
{
    (void)state;
    struct bench *bench = serving(2, false, false);
    bench->plan->current.groups[0].spec.drain_ms = 5000;
    signal_arrives(bench, SIGHUP);
    signal_arrives(bench, SIGTERM);
    assert_int_equal(count(bench, SL_DO_GIVE_UP, 0), 1); /* nothing new is begun */
    assert_int_equal(count(bench, SL_DO_ANNOUNCE_STOP, 0), 1);
    assert_true(says(bench, SL_SAY_STOP_LATER));
    assert_int_equal(count(bench, SL_DO_KILL, 0), 0);
    assert_int_equal(count(bench, SL_DO_CLOSE_LISTENERS, 0), 0);
    long long stop_ms = bench->now_ms + 5000;
    assert_int_equal(sl_plan_wake_ms(bench->plan), stop_ms);
    tick_at(bench, stop_ms - 1000);
    signal_arrives(bench, SIGTERM); /* changes nothing */
    assert_int_equal(count(bench, SL_DO_ANNOUNCE_STOP, 0), 0);
    signal_arrives(bench, SIGHUP);
    signal_arrives(bench, SIGTTOU);
    signal_arrives(bench, SIGUSR2);
    assert_int_equal(count(bench, SL_DO_LOAD, 0) + count(bench, SL_DO_KILL, 0), 0);
    assert_int_equal(count(bench, SL_DO_UPGRADE, 0), 0);
    dies(bench, 0, SIGKILL); /* who dies is replaced */
    assert_int_equal(count(bench, SL_DO_SPAWN, 0), 1);
    fork_slot(bench, 0);
    make_ready(bench, 0);
    tick_at(bench, stop_ms);
    assert_int_equal(count(bench, SL_DO_CLOSE_LISTENERS, 0), 1);
    assert_int_equal(count(bench, SL_DO_KILL, SIGTERM), 2);
    assert_int_equal(sl_plan_wake_ms(bench->plan), stop_ms + 30000); /* all of graceful_timeout */
    dies(bench, 0, 0);
    dies(bench, 1, 0);
    assert_int_equal(count(bench, SL_DO_EXIT, 0), 1);
    done(bench);
}

static void
test_quit_and_an_upgrade_do_not_wait_for_drain_delay(void **state)
{
    (void)state;
    struct bench *bench = serving(1, false, false);
    bench->plan->current.groups[0].spec.drain_ms = 5000;
    signal_arrives(bench, SIGTERM);
    signal_arrives(bench, SIGQUIT);
    assert_int_equal(count(bench, SL_DO_KILL, SIGQUIT), 1);
    dies(bench, 0, 0);
    assert_int_equal(count(bench, SL_DO_EXIT, 0), 1);
    done(bench);
    bench = serving(1, false, false);
    bench->plan->current.groups[0].spec.drain_ms = 5000;
    signal_arrives(bench, SIGUSR2);
    feed(bench, (struct sl_plan_event){.kind = SL_EV_UPGRADE_FORKED, .pid = 999});
    signal_arrives(bench, SIGTERM);
    assert_int_equal(count(bench, SL_DO_KILL, SIGTERM), 1);
    dies(bench, 0, 0);
    done(bench);
}

static void
test_hangups_during_a_reload_are_one_more_reload(void **state)
{
    (void)state;
    struct bench *bench = serving(1, false, false);
    signal_arrives(bench, SIGHUP);
    assert_int_equal(count(bench, SL_DO_LOAD, 0), 1);
    for (int i = 0; i < 5; i++) {
        signal_arrives(bench, SIGHUP);
        assert_int_equal(count(bench, SL_DO_LOAD, 0), 0);
    }
    feed(bench, (struct sl_plan_event){.kind = SL_EV_LOAD_FAILED, .why = "broken"});
    assert_true(says(bench, SL_SAY_RELOAD_FAILED));
    assert_int_equal(count(bench, SL_DO_LOAD, 0), 1);
    feed(bench, (struct sl_plan_event){.kind = SL_EV_LOAD_FAILED, .why = "broken"});
    assert_int_equal(count(bench, SL_DO_LOAD, 0), 0);
    assert_int_equal(count(bench, SL_DO_KILL, 0), 0);
    done(bench);
}

static void
test_old_workers_leave_only_when_all_new_ones_are_ready(void **state)
{
    (void)state;
    struct bench *bench = serving(2, false, false);
    signal_arrives(bench, SIGHUP);
    feed(bench,
         (struct sl_plan_event){.kind = SL_EV_LOADED, .groups = &bench->group, .group_count = 1});
    feed(bench, (struct sl_plan_event){.kind = SL_EV_LISTENING});
    assert_int_equal(count(bench, SL_DO_SPAWN, 0), 2);
    fork_slot(bench, 2);
    fork_slot(bench, 3);
    make_ready(bench, 2);
    assert_int_equal(count(bench, SL_DO_KILL, 0), 0);
    make_ready(bench, 3);
    assert_int_equal(count(bench, SL_DO_KILL, SIGTERM), 2);
    assert_int_equal(count(bench, SL_DO_ADOPT, 0), 1);
    done(bench);
}

static void
test_a_stop_wins_over_a_reload(void **state)
{
    (void)state;
    struct bench *bench = serving(1, false, false);
    signal_arrives(bench, SIGHUP);
    signal_arrives(bench, SIGTERM);
    assert_int_equal(count(bench, SL_DO_GIVE_UP, 0), 1);
    feed(bench,
         (struct sl_plan_event){.kind = SL_EV_LOADED, .groups = &bench->group, .group_count = 1});
    assert_int_equal(bench->count, 0);
    dies(bench, 0, 0);
    assert_int_equal(count(bench, SL_DO_EXIT, 0), 1);
    done(bench);
}

static void
test_an_exclusive_group_has_one_worker(void **state)
{
    (void)state;
    struct bench *bench = serving(1, true, false);
    signal_arrives(bench, SIGTTIN);
    assert_true(says(bench, SL_SAY_EXCLUSIVE));
    assert_int_equal(count(bench, SL_DO_SPAWN, 0), 0);
    signal_arrives(bench, SIGHUP);
    feed(bench,
         (struct sl_plan_event){.kind = SL_EV_LOADED, .groups = &bench->group, .group_count = 1});
    feed(bench, (struct sl_plan_event){.kind = SL_EV_LISTENING});
    assert_int_equal(count(bench, SL_DO_KILL, SIGTERM), 1);
    assert_int_equal(count(bench, SL_DO_SPAWN, 0), 0);
    dies(bench, 0, 0);
    assert_int_equal(count(bench, SL_DO_SPAWN, 0), 1);
    fork_slot(bench, 0);
    dies(bench, 0, 4 << 8);
    assert_true(says(bench, SL_SAY_RELOAD_FAILED));
    assert_int_equal(count(bench, SL_DO_SPAWN, 0), 1);
    done(bench);
}

static void
drained(struct bench *bench, unsigned slot)
{
    feed(bench, (struct sl_plan_event){.kind = SL_EV_DRAINED, .slot = slot});
}

/* From the drain on only exit_timeout counts, whatever made the worker leave. */
static void
test_exit_hooks_have_a_clock_of_their_own(void **state)
{
    (void)state;
    for (int way = 0; way < 4; way++) {
        struct bench *bench = serving(1, false, false);
        if (way == 1)
            signal_arrives(bench, SIGTERM);
        if (way >= 2)
            tick_at(bench, bench->now_ms + 30000); /* silent for timeout: ABRT */
        if (way == 3)
            bench->now_ms += 999;
        drained(bench, 0);
        long long begun_ms = bench->now_ms;
        if (way == 1)
            signal_arrives(bench, SIGINT); /* hurries drains, not hooks */
        assert_int_equal(count(bench, SL_DO_KILL, 0), 0);
        tick_at(bench, begun_ms + 19999);
        assert_int_equal(count(bench, SL_DO_KILL, 0), 0);
        assert_int_equal(sl_plan_wake_ms(bench->plan), begun_ms + 20000);
        tick_at(bench, begun_ms + 20000);
        assert_true(says(bench, SL_SAY_EXIT_OVER));
        assert_int_equal(count(bench, SL_DO_KILL, SIGABRT), 1);
        drained(bench, 0); /* said again: no second clock */
        tick_at(bench, begun_ms + 21000);
        assert_int_equal(count(bench, SL_DO_KILL, SIGKILL), 1);
        done(bench);
    }
}

static void
test_an_exit_timeout_of_0_is_no_limit(void **state)
{
    (void)state;
    struct bench *bench = serving(1, false, false);
    sl_plan_free(bench->plan);
    bench->plan = sl_plan_new(SLOTS, false, false);
    bench->group.exit_ms = 0;
    feed(bench,
         (struct sl_plan_event){.kind = SL_EV_START, .groups = &bench->group, .group_count = 1});
    fork_slot(bench, 0);
    make_ready(bench, 0);
    signal_arrives(bench, SIGTERM);
    drained(bench, 0);
    assert_int_equal(sl_plan_wake_ms(bench->plan), -1);
    dies(bench, 0, 0);
    assert_int_equal(count(bench, SL_DO_EXIT, 0), 1);
    done(bench);
}

/* max_requests of an exclusive group: it holds its place until it is gone. */
static void
test_an_exclusive_worker_in_its_exit_hooks_has_no_successor_yet(void **state)
{
    (void)state;
    struct bench *bench = serving(1, true, false);
    drained(bench, 0);
    assert_int_equal(count(bench, SL_DO_SPAWN, 0), 0);
    tick_at(bench, bench->now_ms + 10000);
    assert_int_equal(count(bench, SL_DO_SPAWN, 0), 0);
    dies(bench, 0, 0);
    assert_int_equal(count(bench, SL_DO_SPAWN, 0), 1);
    done(bench);
}

static void
test_a_lock_held_elsewhere_is_waited_for_and_told_once(void **state)
{
    (void)state;
    struct bench *bench = serving(1, true, false);
    dies(bench, 0, 0);
    for (int i = 0; i < 50; i++) { /* more often than failures are forgiven */
        assert_int_equal(count(bench, SL_DO_SPAWN, 0), 1);
        feed(bench, (struct sl_plan_event){.kind = SL_EV_LOCKED, .slot = 0, .why = "pid 7"});
        assert_int_equal(says(bench, SL_SAY_LOCKED), i == 0);
        assert_int_equal(count(bench, SL_DO_SPAWN, 0), 0);
        assert_int_equal(sl_plan_wake_ms(bench->plan), bench->now_ms + 100);
        tick_at(bench, bench->now_ms + 100);
    }
    fork_slot(bench, 0);
    make_ready(bench, 0);
    dies(bench, 0, 0);
    feed(bench, (struct sl_plan_event){.kind = SL_EV_LOCKED, .slot = 0, .why = "pid 8"});
    assert_true(says(bench, SL_SAY_LOCKED));
    signal_arrives(bench, SIGTERM);
    assert_int_equal(count(bench, SL_DO_EXIT, 0), 1);
    done(bench);
}

static void
test_a_hangup_ends_a_reload_that_no_clock_would_end(void **state)
{
    (void)state;
    struct bench *bench = serving(1, false, false);
    for (unsigned slot = 1; slot < 3; slot++) {
        bench->group.boot_ms = 0;
        signal_arrives(bench, SIGHUP);
        assert_int_equal(says(bench, SL_SAY_RELOAD_FAILED), slot > 1);
        assert_int_equal(count(bench, SL_DO_LOAD, 0), 1);
        feed(bench, (struct sl_plan_event){
                        .kind = SL_EV_LOADED, .groups = &bench->group, .group_count = 1});
        feed(bench, (struct sl_plan_event){.kind = SL_EV_LISTENING});
        assert_int_equal(count(bench, SL_DO_SPAWN, 0), 1);
        fork_slot(bench, slot);
    }
    make_ready(bench, 2);
    assert_int_equal(count(bench, SL_DO_ADOPT, 0), 1);
    assert_int_equal(sl_plan_generation(bench->plan), 3);
    done(bench);
}

static void
test_usr1_waits_until_a_worker_can_take_it(void **state)
{
    (void)state;
    struct bench *bench = serving(1, false, false);
    signal_arrives(bench, SIGTTIN);
    fork_slot(bench, 1);
    signal_arrives(bench, SIGUSR1);
    assert_int_equal(count(bench, SL_DO_REOPEN_LOGS, 0), 1);
    assert_int_equal(count(bench, SL_DO_KILL, SIGUSR1), 1);
    make_ready(bench, 1);
    assert_int_equal(count(bench, SL_DO_KILL, SIGUSR1), 1);
    done(bench);
}

static void
test_nobody_is_called_hung_because_everything_stood_still(void **state)
{
    (void)state;
    struct bench *bench = serving(1, false, false);
    tick_at(bench, bench->now_ms + 60000); /* due after 30 s: the arbiter itself was stopped */
    assert_int_equal(count(bench, SL_DO_KILL, 0), 0);
    tick_at(bench, bench->now_ms + 30000);
    assert_true(says(bench, SL_SAY_TIMEOUT));
    assert_int_equal(count(bench, SL_DO_KILL, SIGABRT), 1);
    tick_at(bench, bench->now_ms + 1000);
    assert_int_equal(count(bench, SL_DO_KILL, SIGKILL), 1);
    done(bench);
}

/* Stopped and continued between two ticks, so that no tick is late by much. */
static void
test_after_a_continue_silence_counts_afresh(void **state)
{
    (void)state;
    struct bench *bench = serving(2, false, false);
    signal_arrives(bench, SIGTTOU);
    assert_int_equal(count(bench, SL_DO_KILL, SIGTERM), 1);
    bench->now_ms += 29990;
    signal_arrives(bench, SIGCONT);
    assert_int_equal(bench->count, 0);
    tick_at(bench, bench->now_ms + 29989);
    assert_int_equal(count(bench, SL_DO_KILL, 0), 0);
    tick_at(bench, bench->now_ms + 11);
    assert_true(says(bench, SL_SAY_TIMEOUT));
    assert_true(says(bench, SL_SAY_GRACE_OVER)); /* the leaving one had lost the time, too */
    assert_int_equal(count(bench, SL_DO_KILL, SIGABRT), 2);
    done(bench);
}

static void
test_the_successor_of_a_hung_worker_is_made_while_it_is_aborted(void **state)
{
    (void)state;
    struct bench *bench = serving(1, false, false);
    tick_at(bench, bench->now_ms + 30000);
    assert_int_equal(count(bench, SL_DO_KILL, SIGABRT), 1);
    assert_int_equal(count(bench, SL_DO_SPAWN, 0), 1);
    fork_slot(bench, 1);
    make_ready(bench, 1);
    tick_at(bench, bench->now_ms + 1000);
    assert_int_equal(count(bench, SL_DO_KILL, SIGKILL), 1);
    dies(bench, 0, SIGKILL);
    assert_int_equal(bench->count, 1); /* its death is told and nothing else */
    assert_true(says(bench, SL_SAY_SIGNALED));
    done(bench);
}

static void
test_who_is_killed_from_outside_is_replaced_at_once_every_time(void **state)
{
    (void)state;
    struct bench *bench = serving(1, false, false);
    for (int i = 0; i < 10; i++) {
        bench->now_ms += 500;
        feed(bench, (struct sl_plan_event){
                        .kind = SL_EV_EXITED, .slot = 0, .number = SIGKILL, .outside = true});
        assert_int_equal(count(bench, SL_DO_SPAWN, 0), 1);
        fork_slot(bench, 0);
        make_ready(bench, 0);
    }
    /* In its first moments it counts, whoever it was: it may have killed itself. */
    for (int i = 0; i < 2; i++) {
        feed(bench, (struct sl_plan_event){
                        .kind = SL_EV_EXITED, .slot = 0, .number = SIGKILL, .outside = true});
        assert_int_equal(count(bench, SL_DO_SPAWN, 0), i == 0);
        if (i == 0) {
            fork_slot(bench, 0);
            make_ready(bench, 0);
        }
    }
    done(bench);
}

static void
test_a_hung_exclusive_worker_is_gone_within_400_ms(void **state)
{
    (void)state;
    struct bench *bench = serving(1, true, false);
    tick_at(bench, bench->now_ms + 30000);
    assert_int_equal(count(bench, SL_DO_KILL, SIGABRT), 1);
    tick_at(bench, bench->now_ms + 399);
    assert_int_equal(bench->count, 0);
    tick_at(bench, bench->now_ms + 1);
    assert_int_equal(count(bench, SL_DO_KILL, SIGKILL), 1);
    dies(bench, 0, SIGKILL);
    assert_int_equal(count(bench, SL_DO_SPAWN, 0), 1);
    done(bench);
}

static void
test_workers_that_hang_again_and_again_back_off(void **state)
{
    (void)state;
    static const long long delays_ms[] = {0, 100, 400, 1600};
    struct bench *bench = serving(1, false, false);
    unsigned slot = 0, spawned = 0;
    for (int i = 0; i < 4; i++) {
        tick_at(bench, bench->now_ms + (i == 0 ? 30000 : 60000)); /* timeout, then boot_timeout */
        assert_int_equal(count(bench, SL_DO_KILL, SIGABRT), 1);
        spawned += count(bench, SL_DO_SPAWN, 0);
        dies(bench, slot, SIGKILL);
        if (i > 0) {
            assert_int_equal(sl_plan_wake_ms(bench->plan) - bench->now_ms, delays_ms[i]);
            tick_at(bench, bench->now_ms + delays_ms[i]);
            spawned += count(bench, SL_DO_SPAWN, 0);
        }
        slot = i == 0 ? 1 : 0;
        fork_slot(bench, slot);
    }
    assert_int_equal(spawned, 4);
    done(bench);
}

static void
test_a_start_in_which_everybody_hangs_is_given_up_with_one_report(void **state)
{
    (void)state;
    struct bench *bench = booting(2, false, false);
    tick_at(bench, bench->now_ms + 60000);
    assert_true(says(bench, SL_SAY_BOOT_TIMEOUT));
    assert_int_equal(count(bench, SL_DO_KILL, SIGABRT), 1);
    assert_int_equal(count(bench, SL_DO_KILL, SIGKILL), 1);
    assert_int_equal(count(bench, SL_DO_SPAWN, 0), 0);
    dies(bench, 1, SIGKILL);
    dies(bench, 0, SIGKILL);
    assert_int_equal(count(bench, SL_DO_EXIT, SL_EXIT_WORKER_BOOT), 1);
    done(bench);
}

/* count workers, recycled by percent, that live for lifetime_ms; ready in the slots from 0. */
static struct bench *
recycling(unsigned count_workers, unsigned percent, long long lifetime_ms)
{
    struct bench *bench = calloc(1, sizeof *bench);
    bench->plan = sl_plan_new(SLOTS, false, false);
    bench->now_ms = 1000;
    bench->group = (struct sl_plan_group){.name = "web",
                                          .workers = count_workers,
                                          .lifetime_ms = lifetime_ms,
                                          .recycle_percent = percent,
                                          .graceful_ms = 30000,
                                          .exit_ms = 20000};
    feed(bench,
         (struct sl_plan_event){.kind = SL_EV_START, .groups = &bench->group, .group_count = 1});
    for (unsigned slot = 0; slot < count_workers; slot++) {
        fork_slot(bench, slot);
        make_ready(bench, slot);
    }
    return bench;
}

static void
test_a_spent_worker_leaves_when_its_successor_is_ready(void **state)
{
    (void)state;
    struct bench *bench = recycling(1, 25, 0);
    feed(bench, (struct sl_plan_event){.kind = SL_EV_SPENT, .slot = 0});
    assert_int_equal(count(bench, SL_DO_SPAWN, 0), 1);
    assert_int_equal(count(bench, SL_DO_KILL, SIGTERM), 0);
    fork_slot(bench, 1);
    assert_int_equal(count(bench, SL_DO_KILL, SIGTERM), 0);
    make_ready(bench, 1);
    assert_int_equal(count(bench, SL_DO_KILL, SIGTERM), 1);
    dies(bench, 0, 0);
    assert_int_equal(bench->count, 0);
    done(bench);
}

static void
test_only_a_share_of_the_workers_is_recycled_at_once(void **state)
{
    (void)state;
    struct bench *bench = recycling(4, 50, 0);
    for (unsigned slot = 0; slot < 4; slot++)
        feed(bench, (struct sl_plan_event){.kind = SL_EV_SPENT, .slot = slot});
    assert_int_equal(bench->plan->workers[0].replaced, true);
    assert_int_equal(bench->plan->workers[1].replaced, true);
    assert_int_equal(bench->plan->workers[2].replaced, false);
    for (unsigned slot = 4; slot < 6; slot++) {
        fork_slot(bench, slot);
        make_ready(bench, slot);
    }
    assert_int_equal(bench->plan->workers[2].replaced, false); /* the first two still leave */
    dies(bench, 0, 0);
    assert_int_equal(bench->plan->workers[2].replaced, true);
    assert_int_equal(bench->plan->workers[3].replaced, false);
    assert_int_equal(count(bench, SL_DO_SPAWN, 0), 1);
    done(bench);
}

static void
test_recycling_makes_room_for_a_reload(void **state)
{
    (void)state;
    struct bench *bench = recycling(2, 100, 0);
    feed(bench, (struct sl_plan_event){.kind = SL_EV_SPENT, .slot = 0});
    fork_slot(bench, 2); /* its successor */
    feed(bench, (struct sl_plan_event){.kind = SL_EV_SPENT, .slot = 1});
    assert_int_equal(count(bench, SL_DO_SPAWN, 0), 1);
    feed(bench, (struct sl_plan_event){.kind = SL_EV_FORK_FAILED, .slot = 3, .why = "EAGAIN"});
    signal_arrives(bench, SIGHUP);
    feed(bench,
         (struct sl_plan_event){.kind = SL_EV_LOADED, .groups = &bench->group, .group_count = 1});
    feed(bench, (struct sl_plan_event){.kind = SL_EV_LISTENING});
    assert_int_equal(count(bench, SL_DO_SPAWN, 0), 2); /* the new generation's, no successor */
    assert_int_equal(bench->plan->workers[3].generation, 2);
    assert_int_equal(bench->plan->workers[4].generation, 2);
    tick_at(bench, bench->now_ms + 10000);
    assert_int_equal(count(bench, SL_DO_SPAWN, 0), 0);
    make_ready(bench, 2);
    assert_int_equal(count(bench, SL_DO_KILL, SIGTERM), 1); /* who has a successor */
    fork_slot(bench, 3);
    dies(bench, 3, 3 << 8); /* the reload fails: the other one's turn comes again */
    assert_true(says(bench, SL_SAY_RELOAD_FAILED));
    assert_int_equal(count(bench, SL_DO_SPAWN, 0), 1);
    assert_true(bench->plan->workers[1].replaced || bench->plan->workers[0].replaced);
    done(bench);
}

static void
test_a_worker_that_has_lived_long_enough_is_recycled(void **state)
{
    (void)state;
    struct bench *bench = recycling(1, 25, 60000);
    long long born_ms = bench->now_ms;
    assert_int_equal(sl_plan_wake_ms(bench->plan), born_ms + 60000);
    tick_at(bench, born_ms + 59999);
    assert_int_equal(bench->count, 0);
    tick_at(bench, born_ms + 60000);
    assert_true(says(bench, SL_SAY_LIVED));
    assert_int_equal(count(bench, SL_DO_SPAWN, 0), 1);
    assert_int_equal(sl_plan_wake_ms(bench->plan), -1);
    done(bench);
}

/* A bench whose only worker has limits of 100 and 200 bytes. */
static struct bench *
with_limits(void)
{
    struct bench *bench = recycling(1, 25, 0);
    struct worker *worker = &bench->plan->workers[0];
    bench->plan->current.groups[0].spec.memory_soft = 100;
    bench->plan->current.groups[0].spec.memory_hard = 200;
    sl_plan_memory_begin(worker, &bench->plan->current.groups[0].spec);
    sl_plan_memory_ready(bench->plan, worker);
    assert_int_equal(sl_plan_memory_limit(bench->plan, 0), 100);
    return bench;
}

/* Weighs the worker in this slot when it is due. */
static void
weigh(struct bench *bench, unsigned slot, long long bytes)
{
    unsigned due;
    long long wake_ms = sl_plan_wake_ms(bench->plan);
    assert_in_range(wake_ms, bench->now_ms + 1, bench->now_ms + 6000);
    assert_false(sl_plan_wants_memory(bench->plan, wake_ms - 1, &due));
    assert_true(sl_plan_wants_memory(bench->plan, wake_ms, &due));
    assert_int_equal(due, slot);
    bench->now_ms = wake_ms;
    feed(bench, (struct sl_plan_event){.kind = SL_EV_MEMORY, .slot = slot, .bytes = bytes});
}

static void
test_a_worker_above_its_limit_of_memory_is_recycled(void **state)
{
    (void)state;
    struct bench *bench = with_limits();
    weigh(bench, 0, 100);
    assert_int_equal(bench->count, 0);
    weigh(bench, 0, 101);
    assert_true(says(bench, SL_SAY_MEMORY_SOFT));
    assert_int_equal(count(bench, SL_DO_SPAWN, 0), 1);
    assert_int_equal(count(bench, SL_DO_KILL, 0), 0);
    weigh(bench, 0, 150); /* its successor boots: nothing new */
    assert_int_equal(bench->count, 0);
    fork_slot(bench, 1);
    make_ready(bench, 1);
    assert_int_equal(count(bench, SL_DO_KILL, SIGTERM), 1);
    feed(bench, (struct sl_plan_event){.kind = SL_EV_DRAINED, .slot = 0});
    unsigned due;
    if (sl_plan_wants_memory(bench->plan, bench->now_ms + 60000, &due)) /* not in its exit hooks */
        assert_int_equal(due, 1);
    done(bench);
}

static void
test_a_limit_of_memory_that_is_too_low_is_obeyed_less_and_less(void **state)
{
    (void)state;
    struct bench *bench = with_limits();
    long long last_ms = 0, between_ms = 0;
    unsigned slot = 0;
    for (int i = 0; i < 5; i++) {
        do
            weigh(bench, slot, 150);
        while (!says(bench, SL_SAY_MEMORY_SOFT));
        assert_true(bench->now_ms - last_ms >= between_ms || i > 3); /* at a minute it is no longer
                                                                        young */
        between_ms = i == 0 ? 5000 : between_ms * 2;
        last_ms = bench->now_ms;
        fork_slot(bench, 1 - slot);
        make_ready(bench, 1 - slot);
        dies(bench, slot, 0);
        slot = 1 - slot;
    }
    done(bench);
}

static void
test_a_worker_above_its_hard_limit_is_aborted(void **state)
{
    (void)state;
    struct bench *bench = with_limits();
    weigh(bench, 0, 201);
    assert_true(says(bench, SL_SAY_MEMORY_HARD));
    assert_int_equal(count(bench, SL_DO_KILL, SIGABRT), 1);
    assert_int_equal(count(bench, SL_DO_SPAWN, 0), 1);
    char text[256];
    sl_plan_message_format(&(struct sl_plan_action){.message = SL_SAY_MEMORY_HARD,
                                                    .pid = 7,
                                                    .bytes = 300LL << 20,
                                                    .limit = 12LL << 30,
                                                    .why = "GET /a running 1.0 s"},
                           text, sizeof text);
    assert_string_equal(text, "WORKER MEMORY (pid:7) uses 300.0 MiB, more than "
                              "max_worker_memory_hard (12.0 GiB), and is aborted: "
                              "GET /a running 1.0 s");
    done(bench);
}

static void
test_the_jitter_of_lifetimes_spreads_them(void **state)
{
    (void)state;
    struct sl_plan_group spec = {.lifetime_ms = 60000, .lifetime_jitter_ms = 10000};
    long long least = 1000000, most = 0;
    for (unsigned long age = 1; age <= 100; age++) {
        long long ms = sl_plan_lifetime_ms(&spec, age);
        assert_in_range(ms, 60000, 70000);
        least = ms < least ? ms : least;
        most = ms > most ? ms : most;
    }
    assert_true(most - least > 8000);
    spec.lifetime_ms = 0;
    assert_int_equal(sl_plan_lifetime_ms(&spec, 1), 0);
}

/* Time goes on; each worker has beaten silent_ms ago, and has requests that began at these times.
 */
static void
look_at(struct bench *bench, long long now_ms, unsigned slot, long long silent_ms,
        long long oldest_ms, long long newest_ms)
{
    bench->now_ms = now_ms;
    for (unsigned i = 0; i < SLOTS; i++)
        feed(bench,
             (struct sl_plan_event){.kind = SL_EV_BEAT, .slot = i, .beat_ms = now_ms - silent_ms});
    feed(bench,
         (struct sl_plan_event){
             .kind = SL_EV_REQUESTS, .slot = slot, .oldest_ms = oldest_ms, .newest_ms = newest_ms});
    feed(bench, (struct sl_plan_event){.kind = SL_EV_TICK});
}

static struct bench *
serving_with_request_timeout(void)
{
    struct bench *bench = calloc(1, sizeof *bench);
    bench->plan = sl_plan_new(SLOTS, false, false);
    bench->now_ms = 1000;
    bench->group = (struct sl_plan_group){
        .name = "web", .workers = 1, .request_ms = 5000, .graceful_ms = 30000, .exit_ms = 20000};
    feed(bench,
         (struct sl_plan_event){.kind = SL_EV_START, .groups = &bench->group, .group_count = 1});
    fork_slot(bench, 0);
    make_ready(bench, 0);
    return bench;
}

static void
test_an_overdue_request_that_keeps_the_worker_from_all_else_costs_it_its_life(void **state)
{
    (void)state;
    struct bench *bench = serving_with_request_timeout();
    assert_int_equal(sl_plan_wake_ms(bench->plan), 6000); /* a request may begin right now */
    look_at(bench, 6000, 0, 4000, 2000, 2000);
    assert_int_equal(bench->count, 0);
    assert_int_equal(sl_plan_wake_ms(bench->plan), 7000);
    look_at(bench, 7000, 0, 5000, 2000, 2000);
    assert_true(says(bench, SL_SAY_REQUEST_CUT));
    assert_int_equal(count(bench, SL_DO_KILL, SIGABRT), 1);
    assert_int_equal(count(bench, SL_DO_SPAWN, 0), 1);
    done(bench);
}

static void
test_a_worker_that_serves_others_meanwhile_leaves_when_its_successor_is_ready(void **state)
{
    (void)state;
    struct bench *bench = serving_with_request_timeout();
    look_at(bench, 7000, 0, 500, 2000, 6900);
    assert_true(says(bench, SL_SAY_REQUEST_LATE));
    assert_int_equal(count(bench, SL_DO_SHOW, 0), 1);
    assert_int_equal(count(bench, SL_DO_SPAWN, 0), 1);
    assert_int_equal(count(bench, SL_DO_KILL, 0), 0);
    look_at(bench, 8000, 0, 500, 2000, 7900);
    assert_int_equal(bench->count, 0); /* once */
    fork_slot(bench, 1);
    make_ready(bench, 1);
    assert_int_equal(count(bench, SL_DO_KILL, SIGTERM), 1);
    look_at(bench, 12000, 0, 500, 2000, 7900); /* another one still has time */
    assert_int_equal(bench->count, 0);
    look_at(bench, 12900, 0, 500, 2000, 7900); /* that one is overdue as well */
    assert_true(says(bench, SL_SAY_REQUEST_CUT));
    assert_int_equal(count(bench, SL_DO_KILL, SIGABRT), 1);
    assert_int_equal(count(bench, SL_DO_SPAWN, 0), 0);
    done(bench);
}

static void
test_an_overdue_request_does_not_wait_for_ever_for_a_successor(void **state)
{
    (void)state;
    struct bench *bench = serving_with_request_timeout(); /* no boot_timeout: a minute */
    look_at(bench, 7000, 0, 500, 2000, 6900);
    assert_true(says(bench, SL_SAY_REQUEST_LATE));
    fork_slot(bench, 1);
    assert_int_equal(sl_plan_wake_ms(bench->plan), 67000);
    look_at(bench, 66999, 0, 500, 2000, 66900);
    assert_int_equal(count(bench, SL_DO_KILL, 0), 0);
    look_at(bench, 67000, 0, 500, 66990, 66990); /* it has come to an end by itself */
    assert_int_equal(count(bench, SL_DO_KILL, 0), 0);
    look_at(bench, 71990, 0, 500, 66990, 71900); /* but this one has not */
    assert_true(says(bench, SL_SAY_REQUEST_WAITED));
    assert_int_equal(count(bench, SL_DO_KILL, SIGTERM), 1);
    look_at(bench, 76900, 0, 500, 66990, 71900);
    assert_true(says(bench, SL_SAY_REQUEST_CUT));
    assert_int_equal(count(bench, SL_DO_KILL, SIGABRT), 1);
    assert_int_equal(count(bench, SL_DO_SPAWN, 0), 0);
    done(bench);
}

static void
test_an_idle_worker_is_looked_at_once_in_a_request_timeout(void **state)
{
    (void)state;
    struct bench *bench = serving_with_request_timeout();
    look_at(bench, 6000, 0, 0, 6000, 6000);
    assert_int_equal(bench->count, 0);
    assert_int_equal(sl_plan_wake_ms(bench->plan), 11000);
    done(bench);
}

static void
test_winch_rests_the_workers_of_a_daemon_only(void **state)
{
    (void)state;
    struct bench *bench = serving(2, false, false);
    signal_arrives(bench, SIGWINCH);
    assert_true(says(bench, SL_SAY_WINCH_IGNORED));
    assert_int_equal(count(bench, SL_DO_KILL, 0), 0);
    done(bench);
    bench = serving(2, false, true);
    signal_arrives(bench, SIGWINCH);
    assert_int_equal(count(bench, SL_DO_KILL, SIGTERM), 2);
    assert_int_equal(sl_plan_workers_wanted(bench->plan), 0);
    done(bench);
}

static void
test_workers_that_rest_come_back_when_the_successor_dies(void **state)
{
    (void)state;
    struct bench *bench = serving(2, false, false);
    signal_arrives(bench, SIGUSR2);
    feed(bench, (struct sl_plan_event){.kind = SL_EV_UPGRADE_FORKED, .pid = 4711});
    signal_arrives(bench, SIGWINCH);
    assert_int_equal(sl_plan_workers_wanted(bench->plan), 0);
    feed(bench,
         (struct sl_plan_event){.kind = SL_EV_UPGRADE_EXITED, .pid = 4711, .why = "it was killed"});
    assert_true(says(bench, SL_SAY_UPGRADE_GONE));
    assert_int_equal(sl_plan_workers_wanted(bench->plan), 2);
    assert_int_equal(count(bench, SL_DO_SPAWN, 0), 2);
    done(bench);
}

static void
test_messages_are_gunicorns(void **state)
{
    (void)state;
    char text[128];
    struct sl_plan_action action = {.message = SL_SAY_SIGNAL, .number = SIGTTIN, .pid = 7};
    sl_plan_message_format(&action, text, sizeof text);
    assert_string_equal(text, "Handling signal: ttin");
    action.message = SL_SAY_SIGNALED;
    action.number = SIGSEGV;
    sl_plan_message_format(&action, text, sizeof text);
    assert_string_equal(text, "Worker (pid:7) was sent SIGSEGV!");
    action.why = "Core dumped.";
    sl_plan_message_format(&action, text, sizeof text);
    assert_string_equal(text, "Worker (pid:7) was sent SIGSEGV! Core dumped.");
    sl_plan_message_format(&action, text, 10); /* cut, not overrun */
    assert_string_equal(text, "Worker (p");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_deaths_in_a_row_back_off_up_to_5_seconds),
        cmocka_unit_test(test_a_crash_loop_makes_at_most_12_forks_in_10_seconds),
        cmocka_unit_test(test_orderly_exits_and_deaths_together_are_no_crash_loop),
        cmocka_unit_test(test_interrupt_shortens_a_stop_to_2_seconds),
        cmocka_unit_test(test_drain_delay_puts_the_stop_off),
        cmocka_unit_test(test_quit_and_an_upgrade_do_not_wait_for_drain_delay),
        cmocka_unit_test(test_hangups_during_a_reload_are_one_more_reload),
        cmocka_unit_test(test_old_workers_leave_only_when_all_new_ones_are_ready),
        cmocka_unit_test(test_a_stop_wins_over_a_reload),
        cmocka_unit_test(test_an_exclusive_group_has_one_worker),
        cmocka_unit_test(test_exit_hooks_have_a_clock_of_their_own),
        cmocka_unit_test(test_an_exit_timeout_of_0_is_no_limit),
        cmocka_unit_test(test_an_exclusive_worker_in_its_exit_hooks_has_no_successor_yet),
        cmocka_unit_test(test_a_lock_held_elsewhere_is_waited_for_and_told_once),
        cmocka_unit_test(test_a_hangup_ends_a_reload_that_no_clock_would_end),
        cmocka_unit_test(test_usr1_waits_until_a_worker_can_take_it),
        cmocka_unit_test(test_nobody_is_called_hung_because_everything_stood_still),
        cmocka_unit_test(test_after_a_continue_silence_counts_afresh),
        cmocka_unit_test(test_the_successor_of_a_hung_worker_is_made_while_it_is_aborted),
        cmocka_unit_test(test_who_is_killed_from_outside_is_replaced_at_once_every_time),
        cmocka_unit_test(test_a_hung_exclusive_worker_is_gone_within_400_ms),
        cmocka_unit_test(test_workers_that_hang_again_and_again_back_off),
        cmocka_unit_test(test_a_start_in_which_everybody_hangs_is_given_up_with_one_report),
        cmocka_unit_test(
            test_an_overdue_request_that_keeps_the_worker_from_all_else_costs_it_its_life),
        cmocka_unit_test(
            test_a_worker_that_serves_others_meanwhile_leaves_when_its_successor_is_ready),
        cmocka_unit_test(test_an_overdue_request_does_not_wait_for_ever_for_a_successor),
        cmocka_unit_test(test_an_idle_worker_is_looked_at_once_in_a_request_timeout),
        cmocka_unit_test(test_winch_rests_the_workers_of_a_daemon_only),
        cmocka_unit_test(test_workers_that_rest_come_back_when_the_successor_dies),
        cmocka_unit_test(test_a_spent_worker_leaves_when_its_successor_is_ready),
        cmocka_unit_test(test_only_a_share_of_the_workers_is_recycled_at_once),
        cmocka_unit_test(test_recycling_makes_room_for_a_reload),
        cmocka_unit_test(test_a_worker_that_has_lived_long_enough_is_recycled),
        cmocka_unit_test(test_the_jitter_of_lifetimes_spreads_them),
        cmocka_unit_test(test_a_worker_above_its_limit_of_memory_is_recycled),
        cmocka_unit_test(test_a_limit_of_memory_that_is_too_low_is_obeyed_less_and_less),
        cmocka_unit_test(test_a_worker_above_its_hard_limit_is_aborted),
        cmocka_unit_test(test_a_worker_that_keeps_its_place_has_a_successor_only_when_it_is_reaped),
        cmocka_unit_test(test_a_restart_policy_leaves_ends_at_that),
        cmocka_unit_test(test_a_group_is_resized_and_one_worker_of_it_removed),
        cmocka_unit_test(test_a_start_waits_for_a_worker_of_each_group),
        cmocka_unit_test(test_messages_are_gunicorns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
