/* The scoreboard between real processes, and the sequence lock between two threads. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include <base/clock.h>
#include <proc/scoreboard.h>

static void
test_slots_are_taken_given_and_run_out(void **state)
{
    (void)state;
    struct sl_scoreboard board;
    assert_int_equal(sl_scoreboard_open(0, &board), SL_EINVAL);
    assert_int_equal(sl_scoreboard_open(2, &board), SL_OK);
    assert_int_equal((uintptr_t)&board.slots[1] % SL_CACHE_LINE, 0);
    struct sl_slot *a = sl_scoreboard_take(&board, 7, -1);
    struct sl_slot *b = sl_scoreboard_take(&board, 8, -1);
    assert_int_equal(sl_scoreboard_index(&board, a), 0);
    assert_int_equal(sl_scoreboard_index(&board, b), 1);
    assert_null(sl_scoreboard_take(&board, 9, -1));
    assert_int_equal(b->generation, 8);
    assert_int_equal(b->parent, getpid());
    sl_slot_dead(a);
    assert_null(sl_scoreboard_take(&board, 9, -1)); /* dead is not given back yet */
    a->requests = 99;
    sl_slot_give(a);
    sl_slot_give(NULL);
    assert_ptr_equal(sl_scoreboard_take(&board, 9, -1), a);
    assert_int_equal(a->requests, 0);
    sl_scoreboard_close(&board);
    sl_scoreboard_close(&board);
    sl_scoreboard_close(NULL);
}

static void
test_the_heartbeat_starts_at_fork(void **state)
{
    (void)state;
    struct sl_scoreboard board;
    assert_int_equal(sl_scoreboard_open(1, &board), SL_OK);
    uint64_t before = sl_clock_ms();
    struct sl_slot *slot = sl_scoreboard_take(&board, 1, -1);
    assert_int_equal(sl_slot_state(slot), SL_SLOT_SPAWNING);
    assert_in_range(slot->heartbeat_ms, before, sl_clock_ms());
    slot->heartbeat_ms = 1;
    sl_slot_forked(slot, 4242);
    assert_int_equal(sl_slot_state(slot), SL_SLOT_BOOTING);
    assert_int_equal(slot->pid, 4242);
    assert_in_range(slot->heartbeat_ms, before, sl_clock_ms());
    slot->heartbeat_ms = 1;
    sl_slot_forked(slot, 4242); /* the other side of the fork comes second: no second start */
    assert_int_equal(slot->heartbeat_ms, 1);
    sl_slot_beat(slot);
    assert_in_range(slot->heartbeat_ms, before, sl_clock_ms());
    sl_slot_beat(NULL);
    sl_scoreboard_close(&board);
}

static void
test_a_child_becomes_ready_and_wakes_the_arbiter(void **state)
{
    (void)state;
    struct sl_scoreboard board;
    int notify[2];
    assert_int_equal(pipe2(notify, O_CLOEXEC | O_NONBLOCK), 0);
    assert_int_equal(sl_scoreboard_open(1, &board), SL_OK);
    struct sl_slot *slot = sl_scoreboard_take(&board, 1, notify[1]);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        sl_slot_forked(slot, getpid());
        sl_slot_count(slot, SL_LIFE_LOAD);
        sl_slot_count(slot, SL_LIFE_LOAD);
        sl_slot_connections(slot, 12);
        sl_slot_request_begin(slot, 0, "GET /", 5, 1);
        sl_slot_request_begin(slot, 1, "GET /", 5, 1);
        sl_slot_set_cause(slot, 3);
        sl_slot_set_cause(slot, 4); /* too late */
        sl_slot_ready(slot);
        sl_slot_ready(slot); /* no second notice */
        _exit(sl_worker_orphaned(slot) ? 1 : 0);
    }
    struct pollfd poller = {.fd = notify[0], .events = POLLIN};
    assert_int_equal(poll(&poller, 1, 10000), 1);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    sl_slot_forked(slot, pid); /* late: must not undo READY */
    assert_int_equal(sl_slot_state(slot), SL_SLOT_READY);
    assert_string_equal(sl_slot_state_name(sl_slot_state(slot)), "READY");
    assert_int_equal(slot->pid, pid);
    assert_true(slot->ready_ms >= slot->forked_ms);
    uint64_t ms = 1;
    assert_int_equal(sl_slot_counted(slot, SL_LIFE_LOAD, &ms), 2);
    assert_true(ms < 100000);
    assert_int_equal(sl_slot_counted(slot, SL_LIFE_READY, &ms), 1);
    assert_int_equal(sl_slot_counted(slot, SL_LIFE_REQUEST, &ms), 1);
    assert_int_equal(sl_slot_counted(slot, SL_LIFE_EXIT, &ms), 0);
    assert_int_equal(ms, 0);
    assert_int_equal(sl_slot_cause(slot), 3);
    assert_int_equal(sl_slot_generation(slot), 1);
    assert_true(sl_slot_age_ms(slot) < 100000);
    assert_int_equal(slot->connections, 12);
    char bytes[8];
    assert_int_equal(read(notify[0], bytes, sizeof bytes), 1);
    close(notify[0]);
    close(notify[1]);
    sl_scoreboard_close(&board);
}

static void
test_ready_after_stop_was_asked_changes_nothing(void **state)
{
    (void)state;
    struct sl_scoreboard board;
    assert_int_equal(sl_scoreboard_open(1, &board), SL_OK);
    struct sl_slot *slot = sl_scoreboard_take(&board, 1, -1);
    uint64_t ago_ms = 99999;
    assert_false(sl_slot_asked_to_leave(slot, &ago_ms));
    sl_slot_stopping(slot); /* even before the fork came back */
    assert_true(sl_slot_asked_to_leave(slot, &ago_ms));
    assert_true(ago_ms < 99999);
    assert_false(sl_slot_asked_to_leave(NULL, &ago_ms));
    sl_slot_forked(slot, 1);
    sl_slot_ready(slot);
    assert_int_equal(sl_slot_state(slot), SL_SLOT_STOPPING);
    sl_slot_dead(slot);
    sl_slot_stopping(slot);
    assert_int_equal(sl_slot_state(slot), SL_SLOT_DEAD);
    assert_string_equal(sl_slot_state_name((enum sl_slot_state)99), "?");
    sl_scoreboard_close(&board);
}

static void
test_ready_survives_an_arbiter_that_is_gone(void **state)
{
    (void)state;
    struct sl_scoreboard board;
    int notify[2];
    assert_int_equal(sl_scoreboard_open(1, &board), SL_OK);
    assert_int_equal(pipe2(notify, O_CLOEXEC), 0);
    struct sl_slot *slot = sl_scoreboard_take(&board, 1, notify[1]);
    close(notify[0]);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        signal(SIGPIPE, SIG_DFL);
        sl_slot_ready(slot);
        sigset_t pending;
        sigpending(&pending);
        _exit(sigismember(&pending, SIGPIPE) ? 2 : 0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    close(notify[1]);
    sl_scoreboard_close(&board);
}

static void
test_a_worker_whose_parent_died_is_an_orphan(void **state)
{
    (void)state;
    struct sl_scoreboard board;
    int result[2];
    assert_int_equal(pipe2(result, O_CLOEXEC), 0);
    assert_int_equal(sl_scoreboard_open(1, &board), SL_OK);
    pid_t arbiter = fork();
    assert_true(arbiter >= 0);
    if (arbiter == 0) {
        struct sl_slot *slot = sl_scoreboard_take(&board, 1, -1);
        int death[2];
        if (pipe(death) != 0)
            _exit(1);
        if (fork() == 0) { /* the worker, waiting for the end of its parent */
            close(death[1]);
            char answer = sl_worker_orphaned(slot) ? 'y' : 'n', byte;
            (void)!write(result[1], &answer, 1);
            (void)!read(death[0], &byte, 1);
            while (
                !sl_worker_orphaned(slot)) /* descriptors are closed just before the reparenting */
                sched_yield();
            (void)!write(result[1], "y", 1);
            _exit(0);
        }
        close(death[0]);
        struct pollfd poller = {.fd = result[0], .events = POLLIN};
        poll(&poller, 1, 10000); /* the worker has looked once */
        _exit(0);
    }
    close(result[1]);
    int status;
    assert_int_equal(waitpid(arbiter, &status, 0), arbiter);
    assert_int_equal(status, 0);
    char answers[3];
    ssize_t n = 0, got;
    while ((got = read(result[0], answers + n, sizeof answers - (size_t)n)) > 0)
        n += got;
    assert_int_equal(n, 2);
    assert_memory_equal(answers, "ny", 2);
    assert_false(sl_worker_orphaned(NULL));
    close(result[0]);
    sl_scoreboard_close(&board);
}

static void
test_the_oldest_request_is_found_and_its_line_is_cut(void **state)
{
    (void)state;
    struct sl_scoreboard board;
    struct sl_slot_request seen;
    assert_int_equal(sl_scoreboard_open(1, &board), SL_OK);
    struct sl_slot *slot = sl_scoreboard_take(&board, 1, -1);
    assert_false(sl_slot_oldest_request(slot, &seen));
    char longest[300];
    memset(longest, 'a', sizeof longest);
    sl_slot_request_begin(slot, 0, "GET /new HTTP/1.1", 17, 300);
    sl_slot_request_begin(slot, 3, longest, sizeof longest, 100);
    sl_slot_request_begin(slot, 5, NULL, 0, 200);
    sl_slot_request_begin(slot, SL_SLOT_THREADS, "GET / HTTP/1.1", 14, 1); /* counted only */
    assert_int_equal(sl_slot_requests(slot), 4);
    assert_true(sl_slot_oldest_request(slot, &seen));
    assert_int_equal(seen.thread, 3);
    assert_int_equal(seen.started_ns, 100);
    assert_int_equal(strlen(seen.line), SL_SLOT_LINE);
    sl_slot_request_end(slot, 3);
    sl_slot_request_end(slot, 5);
    sl_slot_request_end(slot, SL_SLOT_THREADS);
    assert_true(sl_slot_oldest_request(slot, &seen));
    assert_string_equal(seen.line, "GET /new HTTP/1.1");
    assert_false(sl_slot_request(slot, SL_SLOT_THREADS, &seen));
    sl_slot_request_end(slot, 0);
    assert_false(sl_slot_oldest_request(slot, &seen));
    sl_slot_request_begin(NULL, 0, "", 0, 0);
    sl_slot_request_end(NULL, 0);
    sl_slot_connections(NULL, 0);
    sl_slot_count(NULL, SL_LIFE_EXIT);
    sl_slot_ready(NULL);
    slot->threads[0].mark++; /* killed in the middle of begin: the reader must come back */
    assert_false(sl_slot_request(slot, 0, &seen));
    sl_scoreboard_close(&board);
}

static void
test_requests_in_progress_are_printed_oldest_first(void **state)
{
    (void)state;
    struct sl_scoreboard board;
    char text[256];
    assert_int_equal(sl_scoreboard_open(1, &board), SL_OK);
    struct sl_slot *slot = sl_scoreboard_take(&board, 1, -1);
    sl_slot_requests_print(slot, 0, text, sizeof text);
    assert_string_equal(text, "no request in progress");
    sl_slot_request_begin(slot, 1, "POST /\nb", 8, 3000000000u);
    sl_slot_request_begin(slot, 7, "GET /a", 6, 1000000000u);
    sl_slot_requests_print(slot, 3100000000u, text, sizeof text);
    assert_string_equal(text, "GET /a running 2.1 s, POST /?b running 0.1 s");
    for (unsigned i = 20; i < 24; i++)
        sl_slot_request_begin(slot, i, "GET /c", 6, 3100000000u);
    sl_slot_requests_print(slot, 3100000000u, text, sizeof text);
    assert_string_equal(text, "GET /a running 2.1 s, POST /?b running 0.1 s, GET /c running 0.0 s, "
                              "GET /c running 0.0 s and 2 more");
    sl_slot_requests_print(slot, 3100000000u, text, 30); /* too small: cut, never beyond */
    assert_true(strlen(text) < 30);
    sl_scoreboard_close(&board);
}

static void
test_a_reader_never_sees_two_requests_mixed(void **state)
{
    (void)state;
    struct sl_scoreboard board;
    assert_int_equal(sl_scoreboard_open(1, &board), SL_OK);
    struct sl_slot *slot = sl_scoreboard_take(&board, 1, -1);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) { /* dies with the test, whatever the test does */
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (uint64_t i = 0;; i++) {
            char line[80];
            memset(line, 'a' + (int)(i % 26), sizeof line);
            sl_slot_request_begin(slot, 0, line, sizeof line, i);
            sl_slot_request_end(slot, 0);
        }
    }
    int mixed = 0, got = 0;
    /* A hundred thousand where that is quick, and a thousand even where one of the two hardly runs.
     */
    uint64_t now_ms = sl_clock_ms(), enough_ms = now_ms + 5000, deadline_ms = now_ms + 40000;
    for (unsigned misses = 0; got < 100000 && now_ms < (got < 1000 ? deadline_ms : enough_ms);
         now_ms = sl_clock_ms()) {
        struct sl_slot_request seen;
        if (!sl_slot_request(slot, 0, &seen)) {
            if (++misses % 1024 == 0) /* the writer may wait for this very processor */
                sched_yield();
            continue;
        }
        got++;
        char expected = (char)('a' + (int)(seen.started_ns % 26));
        for (size_t j = 0; j < 80; j++)
            mixed += seen.line[j] != expected;
    }
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_true(got >= 1000);
    assert_int_equal(mixed, 0);
    sl_scoreboard_close(&board);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slots_are_taken_given_and_run_out),
        cmocka_unit_test(test_the_heartbeat_starts_at_fork),
        cmocka_unit_test(test_a_child_becomes_ready_and_wakes_the_arbiter),
        cmocka_unit_test(test_ready_after_stop_was_asked_changes_nothing),
        cmocka_unit_test(test_ready_survives_an_arbiter_that_is_gone),
        cmocka_unit_test(test_a_worker_whose_parent_died_is_an_orphan),
        cmocka_unit_test(test_the_oldest_request_is_found_and_its_line_is_cut),
        cmocka_unit_test(test_requests_in_progress_are_printed_oldest_first),
        cmocka_unit_test(test_a_reader_never_sees_two_requests_mixed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
