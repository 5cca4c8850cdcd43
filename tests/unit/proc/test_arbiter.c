/* A real arbiter with real forked workers, in a child process of the test. After each test no
 * process and no descriptor is left. FAKE_VERBOSE=1 shows the log.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <base/clock.h>
#include "fakehost.h"

enum { PATIENCE_MS = 10000 };

struct scene {
    struct fake_world *world;
    int fd;
    pid_t arbiter;
};

static int descriptors_before;

/* Waits until condition holds; fails the test when it does not come true. */
#define wait_for(scene, condition)                                                                 \
    do {                                                                                           \
        uint64_t until_ms = sl_clock_ms() + PATIENCE_MS;                                           \
        while (!(condition) && sl_clock_ms() < until_ms)                                           \
            nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);                               \
        if (!(condition))                                                                          \
            fail_msg("never came true: %s; log:\n%s", #condition, (scene)->world->log);            \
    } while (0)

static bool
logged(struct scene *scene, const char *text)
{
    return strstr(scene->world->log, text) != NULL;
}

static unsigned
count_logged(struct scene *scene, const char *text)
{
    unsigned count = 0;
    for (const char *p = scene->world->log; (p = strstr(p, text)) != NULL; p++)
        count++;
    return count;
}

static unsigned
ready(struct scene *scene)
{
    unsigned count = 0;
    for (unsigned i = 0; i < atomic_load(&scene->world->worker_count); i++) {
        struct fake_worker *worker = &scene->world->workers[i];
        count += atomic_load(&worker->ready) && !atomic_load(&worker->gone);
    }
    return count;
}

/* Ready workers of one generation. */
static unsigned
ready_of(struct scene *scene, unsigned generation)
{
    unsigned count = 0;
    for (unsigned i = 0; i < atomic_load(&scene->world->worker_count); i++) {
        struct fake_worker *worker = &scene->world->workers[i];
        count += worker->generation == generation && atomic_load(&worker->ready) &&
                 !atomic_load(&worker->gone);
    }
    return count;
}

static pid_t
some_worker(struct scene *scene)
{
    for (unsigned i = 0; i < atomic_load(&scene->world->worker_count); i++) {
        struct fake_worker *worker = &scene->world->workers[i];
        if (atomic_load(&worker->ready) && !atomic_load(&worker->gone))
            return atomic_load(&worker->pid);
    }
    fail_msg("no worker is ready");
    return 0;
}

static void
start_arbiter(struct scene *scene)
{
    scene->arbiter = fork();
    assert_true(scene->arbiter >= 0);
    if (scene->arbiter == 0) {
        signal(SIGSEGV, SIG_DFL); /* cmocka's handler would go on with the tests in a worker */
        int status = fake_run(scene->world, scene->fd);
        fake_world_free(scene->world, scene->fd);
        _exit(status);
    }
}

static int
set_up(void **state)
{
    struct scene *scene = calloc(1, sizeof *scene);
    descriptors_before = fake_count_descriptors();
    scene->world = fake_world_new(&scene->fd);
    fake_world_set(scene->world, "bind", "127.0.0.1:0");
    fake_world_set(scene->world, "workers", "2");
    *state = scene;
    return 0;
}

/* Only if it is a child of ours still. Workers become ours when their arbiter is gone. */
static void
end_child(pid_t pid)
{
    if (pid <= 0 || waitpid(pid, NULL, WNOHANG) != 0)
        return;
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

/* Whatever went wrong: ends what the test started and says whether something is left. */
static int
tear_down(void **state)
{
    struct scene *scene = *state;
    int failed = 0;
    while (waitpid(-1, NULL, WNOHANG) > 0)
        continue;
    if (waitpid(-1, NULL, WNOHANG) == 0) {
        print_error("a process is left over; log:\n%s", scene->world->log);
        end_child(scene->arbiter);
        end_child(atomic_load(&scene->world->arbiter));
        for (unsigned i = 0; i < atomic_load(&scene->world->worker_count); i++)
            end_child(atomic_load(&scene->world->workers[i].pid));
        failed = -1;
    }
    for (unsigned i = 0; i < atomic_load(&scene->world->worker_count); i++) {
        if (scene->world->workers[i].descriptors > 0) {
            print_error("a worker has %d strange descriptors\n",
                        scene->world->workers[i].descriptors);
            failed = -1;
        }
    }
    if (atomic_load(&scene->world->leaks) > 0) {
        print_error("the arbiter leaked %d descriptors\n", atomic_load(&scene->world->leaks));
        failed = -1;
    }
    fake_world_free(scene->world, scene->fd);
    free(scene);
    if (fake_count_descriptors() != descriptors_before)
        failed = -1;
    return failed;
}

static int
wait_status(pid_t pid)
{
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void
assert_exits(struct scene *scene, int code)
{
    int status = wait_status(scene->arbiter);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != code)
        fail_msg("wait status %#x, not exit status %d; log:\n%s", status, code, scene->world->log);
}

static void
stop_arbiter(struct scene *scene)
{
    kill(scene->arbiter, SIGTERM);
    assert_exits(scene, 0);
}

static bool
can_connect(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool connected = connect(fd, (struct sockaddr *)&address, sizeof address) == 0;
    close(fd);
    return connected;
}

/* ---- start and stop ------------------------------------------------------------------------- */

static void
test_it_starts_serves_and_stops_with_gunicorns_words(void **state)
{
    struct scene *scene = *state;
    char listening[64];
    start_arbiter(scene);
    wait_for(scene, ready(scene) == 2);
    assert_true(can_connect(atomic_load(&scene->world->port)));
    stop_arbiter(scene);
    snprintf(listening, sizeof listening, "1 Listening at: http://127.0.0.1:%d (%d)",
             atomic_load(&scene->world->port), (int)scene->arbiter);
    assert_true(logged(scene, "1 Starting saola "));
    assert_true(logged(scene, listening));
    assert_true(logged(scene, "1 Using worker: "));
    assert_true(logged(scene, "1 Handling signal: term"));
    assert_true(logged(scene, "1 Shutting down: Master"));
    assert_false(can_connect(atomic_load(&scene->world->port)));
    assert_string_equal(scene->world->hooks,
                        "nworkers_changed on_starting when_ready pre_fork pre_fork child_exit "
                        "child_exit on_exit ");
}

static void
test_interrupt_stops_quickly(void **state)
{
    struct scene *scene = *state;
    atomic_store(&scene->world->mode, FAKE_STUBBORN);
    start_arbiter(scene);
    wait_for(scene, ready(scene) == 2);
    kill(scene->arbiter, SIGTERM);
    wait_for(scene, logged(scene, "Handling signal: term"));
    kill(scene->arbiter, SIGINT);
    assert_exits(scene, 0);
    assert_true(logged(scene, "Quick shutdown requested"));
}

static void
test_a_stop_kills_after_graceful_timeout(void **state)
{
    struct scene *scene = *state;
    fake_world_set(scene->world, "graceful_timeout", "1");
    atomic_store(&scene->world->mode, FAKE_STUBBORN);
    start_arbiter(scene);
    wait_for(scene, ready(scene) == 2);
    uint64_t begun_ms = sl_clock_ms();
    stop_arbiter(scene);
    assert_in_range(sl_clock_ms() - begun_ms, 900, 2500);
    assert_int_equal(count_logged(scene, "did not stop within 1 seconds, aborting it: no request"),
                     2);
}

static void
test_a_first_generation_that_cannot_boot_ends_with_its_code(void **state)
{
    struct scene *scene = *state;
    atomic_store(&scene->world->mode, FAKE_EXIT_3);
    start_arbiter(scene);
    assert_exits(scene, 3);
    assert_int_equal(count_logged(scene, "Reason: Worker failed to boot."), 1);
    assert_true(logged(scene, "exited with code 3."));
    assert_true(logged(scene, "3 Shutting down: Master"));
}

static void
test_an_application_that_cannot_be_loaded_ends_with_4(void **state)
{
    struct scene *scene = *state;
    atomic_store(&scene->world->mode, FAKE_EXIT_4);
    start_arbiter(scene);
    assert_exits(scene, 4);
    assert_true(logged(scene, "Reason: App failed to load."));
}

static void
test_a_port_in_use_is_one_line_and_exit_1(void **state)
{
    struct scene *scene = *state;
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t len = sizeof address;
    char bind_text[64], line[128];
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, 1), 0);
    getsockname(fd, (struct sockaddr *)&address, &len);
    snprintf(bind_text, sizeof bind_text, "127.0.0.1:%d", ntohs(address.sin_port));
    snprintf(line, sizeof line, "%s is in use by ", bind_text);
    fake_world_set(scene->world, "bind", bind_text);
    start_arbiter(scene);
    assert_exits(scene, 1);
    assert_int_equal(count_logged(scene, line), 1);
    assert_int_equal(count_logged(scene, "\n3 "), 1);
    close(fd);
}

static void
test_failing_start_hooks_end_the_start(void **state)
{
    struct scene *scene = *state;
    atomic_store(&scene->world->hook_fails, true);
    start_arbiter(scene);
    assert_exits(scene, 1);
    assert_true(logged(scene, "the on_starting hook failed"));
}

/* ---- deaths -----------------------------------------------------------------------------------
 */

static void
test_a_killed_worker_is_replaced(void **state)
{
    struct scene *scene = *state;
    char line[64];
    start_arbiter(scene);
    wait_for(scene, ready(scene) == 2);
    pid_t victim = some_worker(scene);
    uint64_t begun_ms = sl_clock_ms();
    kill(victim, SIGKILL);
    wait_for(scene, atomic_load(&scene->world->worker_count) == 3 && ready(scene) == 2);
    assert_true(sl_clock_ms() - begun_ms < 2000);
    snprintf(line, sizeof line, "Worker (pid:%d) was sent SIGKILL! ", (int)victim);
    assert_true(logged(scene, line));
    stop_arbiter(scene);
}

static void
test_a_crash_loop_backs_off(void **state)
{
    struct scene *scene = *state;
    start_arbiter(scene);
    wait_for(scene, ready(scene) == 2);
    atomic_store(&scene->world->mode, FAKE_CRASH);
    kill(some_worker(scene), SIGKILL);
    wait_for(scene, logged(scene, "Workers died 4 times in a row; next attempt in "));
    assert_in_range(atomic_load(&scene->world->worker_count), 5, 7);
    atomic_store(&scene->world->mode, FAKE_SERVE);
    wait_for(scene, ready(scene) == 2);
    stop_arbiter(scene);
}

static void
test_a_hung_worker_is_aborted_and_replaced(void **state)
{
    struct scene *scene = *state;
    char line[100];
    fake_world_set(scene->world, "timeout", "1");
    start_arbiter(scene);
    wait_for(scene, ready(scene) == 2);
    pid_t victim = some_worker(scene);
    kill(victim, SIGSTOP);
    snprintf(line, sizeof line, "Worker (pid:%d) was sent SIG", (int)victim);
    wait_for(scene, logged(scene, line));
    wait_for(scene, atomic_load(&scene->world->worker_count) == 3 && ready(scene) == 2);
    snprintf(line, sizeof line, "4 WORKER TIMEOUT (pid:%d) silent for 1.", (int)victim);
    assert_true(logged(scene, line));
    /* It was stopped, and could show where all the same. */
    snprintf(line, sizeof line, "3 Stacks of worker (pid:%d):\nNative stack of thread %d:\n",
             (int)victim, (int)victim);
    assert_int_equal(count_logged(scene, line), 1);
    stop_arbiter(scene);
}

static void
test_a_worker_that_hangs_at_boot_is_replaced(void **state)
{
    struct scene *scene = *state;
    fake_world_set(scene->world, "boot_timeout", "1");
    start_arbiter(scene);
    wait_for(scene, ready(scene) == 2);
    atomic_store(&scene->world->mode, FAKE_HANG_BOOT);
    kill(some_worker(scene), SIGKILL);
    wait_for(scene, logged(scene, ") not ready 1."));
    atomic_store(&scene->world->mode, FAKE_SERVE);
    wait_for(scene, ready(scene) == 2);
    stop_arbiter(scene);
}

static void
test_a_failing_fork_is_tried_again(void **state)
{
    struct scene *scene = *state;
    start_arbiter(scene);
    wait_for(scene, ready(scene) == 2);
    atomic_store(&scene->world->forks_to_fail, 3);
    kill(some_worker(scene), SIGKILL);
    wait_for(scene, atomic_load(&scene->world->forks_to_fail) == 0 && ready(scene) == 2);
    assert_int_equal(count_logged(scene, "A worker could not be started: fork failed: "), 3);
    stop_arbiter(scene);
}

/* Milliseconds until all workers of an arbiter that is killed are gone. */
static uint64_t
kill_arbiter(struct scene *scene, enum fake_mode mode)
{
    fake_world_set(scene->world, "workers", "4");
    fake_world_set(scene->world, "graceful_timeout", "1");
    atomic_store(&scene->world->mode, mode);
    start_arbiter(scene);
    wait_for(scene, ready(scene) == 4);
    kill(scene->arbiter, SIGKILL);
    uint64_t begun_ms = sl_clock_ms();
    wait_status(scene->arbiter);
    unsigned gone = 0; /* they are our children now: we are a subreaper */
    wait_for(scene, (gone += waitpid(-1, NULL, WNOHANG) > 0) == 4);
    return sl_clock_ms() - begun_ms;
}

static void
test_workers_leave_at_once_when_the_arbiter_is_killed(void **state)
{
    assert_true(kill_arbiter(*state, FAKE_SERVE) < 100);
}

static void
test_hung_workers_do_not_outlive_a_killed_arbiter_for_long(void **state)
{
    assert_in_range(kill_arbiter(*state, FAKE_HANG), 900, 2000);
}

static void
test_hooks_that_fail_do_not_end_the_service(void **state)
{
    struct scene *scene = *state;
    start_arbiter(scene);
    wait_for(scene, ready(scene) == 2);
    atomic_store(&scene->world->hook_fails, true);
    kill(some_worker(scene), SIGKILL);
    wait_for(scene, logged(scene, "the pre_fork hook failed"));
    assert_int_equal(ready(scene), 1);
    atomic_store(&scene->world->hook_fails, false);
    wait_for(scene, ready(scene) == 2);
    stop_arbiter(scene);
}

/* ---- counts and reload ------------------------------------------------------------------------
 */

static void
test_ttin_and_ttou_change_the_number(void **state)
{
    struct scene *scene = *state;
    start_arbiter(scene);
    wait_for(scene, ready(scene) == 2);
    kill(scene->arbiter, SIGTTIN);
    wait_for(scene, ready(scene) == 3);
    for (unsigned n = 1; n <= 4; n++) {
        kill(scene->arbiter, SIGTTOU);
        wait_for(scene, count_logged(scene, "Handling signal: ttou") == n);
    }
    wait_for(scene, ready(scene) == 1);
    stop_arbiter(scene);
}

static void
test_a_reload_replaces_all_workers(void **state)
{
    struct scene *scene = *state;
    start_arbiter(scene);
    wait_for(scene, ready(scene) == 2);
    fake_world_set(scene->world, "workers", "3");
    kill(scene->arbiter, SIGHUP);
    wait_for(scene, ready_of(scene, 2) == 3 && ready(scene) == 3);
    wait_for(scene, atomic_load(&scene->world->settled) == 2);
    assert_true(can_connect(atomic_load(&scene->world->port)));
    stop_arbiter(scene);
    assert_true(logged(scene, "1 Hang up: Master"));
    assert_non_null(strstr(scene->world->hooks, "(reopen) nworkers_changed on_reload pre_fork"));
}

static void
test_a_reload_that_does_not_load_changes_nothing(void **state)
{
    struct scene *scene = *state;
    start_arbiter(scene);
    wait_for(scene, ready(scene) == 2);
    atomic_store(&scene->world->load_fails, true);
    kill(scene->arbiter, SIGHUP);
    wait_for(scene, logged(scene, "goes on unchanged: the application has a syntax error"));
    assert_int_equal(ready_of(scene, 1), 2);
    assert_int_equal(atomic_load(&scene->world->worker_count), 2);
    stop_arbiter(scene);
}

static void
test_a_reload_whose_workers_do_not_boot_changes_nothing(void **state)
{
    struct scene *scene = *state;
    start_arbiter(scene);
    wait_for(scene, ready(scene) == 2);
    atomic_store(&scene->world->mode, FAKE_EXIT_3);
    kill(scene->arbiter, SIGHUP);
    wait_for(scene, logged(scene, "goes on unchanged: Worker failed to boot."));
    assert_int_equal(ready_of(scene, 1), 2);
    atomic_store(&scene->world->mode, FAKE_SERVE);
    kill(scene->arbiter, SIGHUP);
    wait_for(scene, ready_of(scene, 3) == 2 && ready(scene) == 2);
    stop_arbiter(scene);
}

static void
test_a_reload_with_another_address_opens_it_first(void **state)
{
    struct scene *scene = *state;
    start_arbiter(scene);
    wait_for(scene, ready(scene) == 2);
    int old_port = atomic_load(&scene->world->port);
    snprintf(scene->world->settings[0][1], 128, "localhost:0");
    kill(scene->arbiter, SIGHUP);
    wait_for(scene, ready_of(scene, 2) == 2 && ready(scene) == 2);
    int new_port = atomic_load(&scene->world->port);
    assert_int_not_equal(old_port, new_port);
    assert_true(can_connect(new_port));
    wait_for(scene, !can_connect(old_port));
    stop_arbiter(scene);
}

static void
test_an_exclusive_worker_is_gone_before_its_successor(void **state)
{
    struct scene *scene = *state;
    fake_world_set(scene->world, "hand_over", "exclusive");
    fake_world_set(scene->world, "workers", "1");
    fake_world_set(scene->world, "exclusive_lock", "arbiter-test.lock");
    start_arbiter(scene);
    wait_for(scene, ready(scene) == 1);
    pid_t old = some_worker(scene);
    kill(scene->arbiter, SIGHUP);
    wait_for(scene, ready_of(scene, 2) == 1);
    assert_int_equal(kill(old, 0), -1);
    assert_true(can_connect(atomic_load(&scene->world->port)));
    kill(scene->arbiter, SIGTTIN);
    wait_for(scene, logged(scene, "SIGTTIN refused"));
    atomic_store(&scene->world->mode, FAKE_EXIT_4);
    kill(scene->arbiter, SIGHUP);
    wait_for(scene, logged(scene, "goes on unchanged: App failed to load."));
    atomic_store(&scene->world->mode, FAKE_SERVE);
    wait_for(scene, ready_of(scene, 2) == 1);
    assert_int_equal(access("arbiter-test.lock", F_OK), 0);
    stop_arbiter(scene);
    assert_int_equal(access("arbiter-test.lock", F_OK), -1);
}

/* ---- upgrade -----------------------------------------------------------------------------------
 */

static void
upgrade(struct scene *scene, unsigned workers)
{
    start_arbiter(scene);
    wait_for(scene, ready(scene) == workers);
    int port = atomic_load(&scene->world->port);
    kill(scene->arbiter, SIGUSR2);
    wait_for(scene, count_logged(scene, "Starting saola") == 2 && ready(scene) == 2 * workers);
    pid_t successor = atomic_load(&scene->world->arbiter);
    assert_int_not_equal(successor, scene->arbiter);
    kill(scene->arbiter, SIGUSR2);
    wait_for(scene, logged(scene, "USR2 signal ignored. Child exists."));
    kill(successor, SIGUSR2);
    wait_for(scene, logged(scene, "USR2 signal ignored. Parent exists."));
    stop_arbiter(scene);
    wait_for(scene, logged(scene, "Master has been promoted."));
    assert_true(can_connect(port));
    assert_int_equal(ready(scene), workers);
    scene->arbiter = successor;
    stop_arbiter(scene);
    assert_false(can_connect(port));
}

static void
test_usr2_hands_the_sockets_to_a_new_arbiter(void **state)
{
    upgrade(*state, 2);
}

static void
test_usr2_works_with_reuse_port(void **state)
{
    struct scene *scene = *state;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t len = sizeof address;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    getsockname(fd, (struct sockaddr *)&address, &len);
    close(fd);
    snprintf(scene->world->settings[0][1], 128, "127.0.0.1:%d", ntohs(address.sin_port));
    fake_world_set(scene->world, "reuse_port", "true");
    upgrade(scene, 2);
}

static void
test_usr2_that_fails_leaves_the_arbiter_alone(void **state)
{
    struct scene *scene = *state;
    start_arbiter(scene);
    wait_for(scene, ready(scene) == 2);
    atomic_store(&scene->world->exec_fails, true);
    for (unsigned n = 1; n <= 2; n++) {
        kill(scene->arbiter, SIGUSR2);
        /* once by the child, once by the arbiter */
        wait_for(scene, count_logged(scene, "/nonexistent/saola: No such file") == 2 * n &&
                            count_logged(scene, "this one serves on alone") == n);
    }
    assert_int_equal(ready_of(scene, 1), 2);
    assert_int_equal(atomic_load(&scene->world->worker_count), 2);
    stop_arbiter(scene);
}

static void
test_usr2_without_a_process_to_be_had_leaves_the_arbiter_alone(void **state)
{
    struct scene *scene = *state;
    start_arbiter(scene);
    wait_for(scene, ready(scene) == 2);
    atomic_store(&scene->world->forks_to_fail, 1);
    kill(scene->arbiter, SIGUSR2);
    wait_for(scene, logged(scene, "The new arbiter could not be started: fork failed: "));
    kill(scene->arbiter, SIGUSR2); /* none is in the way of the next */
    wait_for(scene, ready(scene) == 4);
    pid_t successor = atomic_load(&scene->world->arbiter);
    stop_arbiter(scene);
    scene->arbiter = successor;
    stop_arbiter(scene);
}

/* ---- the world outside
 * --------------------------------------------------------------------------- */

static pid_t
pid_in(const char *path)
{
    char text[32] = "";
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return 0;
    if (fgets(text, sizeof text, file) == NULL)
        text[0] = '\0';
    fclose(file);
    return (pid_t)atoi(text);
}

static void
test_the_pid_file_follows_an_upgrade(void **state)
{
    struct scene *scene = *state;
    char dir[] = "/tmp/saola-arbiter-XXXXXX", path[64], second[64];
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/pid", dir);
    snprintf(second, sizeof second, "%s/pid.2", dir);
    fake_world_set(scene->world, "pidfile", path);
    start_arbiter(scene);
    wait_for(scene, ready(scene) == 2);
    assert_int_equal(pid_in(path), scene->arbiter);
    kill(scene->arbiter, SIGUSR2);
    wait_for(scene, ready(scene) == 4);
    pid_t successor = atomic_load(&scene->world->arbiter);
    assert_int_equal(pid_in(path), scene->arbiter);
    assert_int_equal(pid_in(second), successor);
    stop_arbiter(scene);
    wait_for(scene, pid_in(path) == successor);
    assert_int_equal(pid_in(second), 0);
    scene->arbiter = successor;
    unlink(path);
    kill(successor, SIGHUP);
    wait_for(scene, pid_in(path) == successor);
    unlink(path);
    rmdir(dir);
    kill(successor, SIGHUP);
    wait_for(scene, logged(scene, "The pid file was not written: "));
    stop_arbiter(scene);
}

static void
test_a_unix_socket_survives_an_upgrade_and_is_removed_at_the_end(void **state)
{
    struct scene *scene = *state;
    char dir[] = "/tmp/saola-arbiter-XXXXXX", path[64];
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/sock", dir);
    snprintf(scene->world->settings[0][1], 128, "unix:%.100s", path);
    start_arbiter(scene);
    wait_for(scene, ready(scene) == 2);
    kill(scene->arbiter, SIGUSR2);
    wait_for(scene, ready(scene) == 4);
    pid_t successor = atomic_load(&scene->world->arbiter);
    stop_arbiter(scene);
    assert_int_equal(access(path, F_OK), 0);
    wait_for(scene, logged(scene, "Master has been promoted."));
    scene->arbiter = successor;
    stop_arbiter(scene);
    assert_int_not_equal(access(path, F_OK), 0);
    rmdir(dir);
}

/* In the child: what the service manager leaves, a socket at descriptor 3 and two variables. */
static void
become_activated(struct scene *scene, int listener)
{
    char pid[16];
    int world = fcntl(scene->fd, F_DUPFD, 20), socket_fd = fcntl(listener, F_DUPFD, 20);
    close(scene->fd);
    scene->fd = world;
    dup2(socket_fd, 3);
    close(socket_fd);
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    setenv("LISTEN_PID", pid, 1);
    setenv("LISTEN_FDS", "1", 1);
}

static void
test_usr2_works_with_sockets_of_the_service_manager(void **state)
{
    struct scene *scene = *state;
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, 16), 0);
    getsockname(fd, (struct sockaddr *)&address, &len);
    scene->world->settings[0][0][0] = scene->world->settings[1][0][0] = '\0'; /* no bind at all */
    fake_world_set(scene->world, "workers", "1");
    scene->arbiter = fork();
    if (scene->arbiter == 0) {
        become_activated(scene, fd);
        close(fd);
        _exit(fake_run(scene->world, scene->fd));
    }
    close(fd);
    wait_for(scene, ready(scene) == 1);
    assert_int_equal(atomic_load(&scene->world->port), ntohs(address.sin_port));
    kill(scene->arbiter, SIGUSR2);
    wait_for(scene, ready(scene) == 2);
    pid_t successor = atomic_load(&scene->world->arbiter);
    stop_arbiter(scene);
    assert_true(can_connect(ntohs(address.sin_port)));
    scene->arbiter = successor;
    stop_arbiter(scene);
    assert_false(can_connect(ntohs(address.sin_port)));
    atomic_store(&scene->world->leaks, 0); /* the descriptor that was given is closed: -1 */
}

static bool
is_told(int fd, const char *text)
{
    char message[256];
    ssize_t n = recv(fd, message, sizeof message - 1, 0);
    if (n <= 0)
        return false;
    message[n] = '\0';
    return strncmp(message, text, strlen(text)) == 0;
}

static void
test_the_service_manager_is_told(void **state)
{
    struct scene *scene = *state;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path + 1, 60, "saola-notify-%d", (int)getpid());
    socklen_t len =
        (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(address.sun_path + 1));
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct timeval limit = {.tv_sec = 5};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
    char name[64];
    snprintf(name, sizeof name, "@%s", address.sun_path + 1);
    setenv("NOTIFY_SOCKET", name, 1);
    start_arbiter(scene);
    unsetenv("NOTIFY_SOCKET");
    assert_true(is_told(fd, "READY=1\nSTATUS=Saola arbiter booted"));
    kill(scene->arbiter, SIGHUP);
    assert_true(is_told(fd, "RELOADING=1\nMONOTONIC_USEC="));
    assert_true(is_told(fd, "READY=1"));
    wait_for(scene, ready(scene) == 2);
    kill(scene->arbiter, SIGUSR2);
    wait_for(scene, ready(scene) == 4); /* and tells nobody: the service is still the old one's */
    pid_t successor = atomic_load(&scene->world->arbiter);
    snprintf(name, sizeof name, "MAINPID=%d", (int)successor);
    stop_arbiter(scene);
    assert_true(is_told(fd, name));
    assert_true(is_told(fd, name));
    scene->arbiter = successor;
    stop_arbiter(scene);
    assert_true(is_told(fd, "STOPPING=1"));
    close(fd);
}

static void
test_a_storm_of_signals_ends_in_order(void **state)
{
    struct scene *scene = *state;
    static const int storm[] = {SIGHUP, SIGTTIN, SIGUSR1, SIGTTOU, SIGWINCH, SIGCHLD};
    start_arbiter(scene);
    wait_for(scene, ready(scene) == 2);
    for (int i = 0; i < 600; i++)
        kill(scene->arbiter, storm[i % 6]);
    stop_arbiter(scene);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "successor") == 0)
        return fake_successor(atoi(argv[2]));
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    const struct CMUnitTest tests[] = {
        TEST(test_it_starts_serves_and_stops_with_gunicorns_words),
        TEST(test_interrupt_stops_quickly),
        TEST(test_a_stop_kills_after_graceful_timeout),
        TEST(test_a_first_generation_that_cannot_boot_ends_with_its_code),
        TEST(test_an_application_that_cannot_be_loaded_ends_with_4),
        TEST(test_a_port_in_use_is_one_line_and_exit_1),
        TEST(test_failing_start_hooks_end_the_start),
        TEST(test_a_killed_worker_is_replaced),
        TEST(test_a_crash_loop_backs_off),
        TEST(test_a_hung_worker_is_aborted_and_replaced),
        TEST(test_a_worker_that_hangs_at_boot_is_replaced),
        TEST(test_a_failing_fork_is_tried_again),
        TEST(test_workers_leave_at_once_when_the_arbiter_is_killed),
        TEST(test_hung_workers_do_not_outlive_a_killed_arbiter_for_long),
        TEST(test_hooks_that_fail_do_not_end_the_service),
        TEST(test_ttin_and_ttou_change_the_number),
        TEST(test_a_reload_replaces_all_workers),
        TEST(test_a_reload_that_does_not_load_changes_nothing),
        TEST(test_a_reload_whose_workers_do_not_boot_changes_nothing),
        TEST(test_a_reload_with_another_address_opens_it_first),
        TEST(test_an_exclusive_worker_is_gone_before_its_successor),
        TEST(test_usr2_hands_the_sockets_to_a_new_arbiter),
        TEST(test_usr2_works_with_reuse_port),
        TEST(test_usr2_that_fails_leaves_the_arbiter_alone),
        TEST(test_usr2_without_a_process_to_be_had_leaves_the_arbiter_alone),
        TEST(test_the_pid_file_follows_an_upgrade),
        TEST(test_a_unix_socket_survives_an_upgrade_and_is_removed_at_the_end),
        TEST(test_usr2_works_with_sockets_of_the_service_manager),
        TEST(test_the_service_manager_is_told),
        TEST(test_a_storm_of_signals_ends_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
