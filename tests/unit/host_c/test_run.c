/* sl_run() in somebody's main(): the test program is that main(). Servers listen on a unix socket;
 * a client that the hook when_ready starts asks once and ends them. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <saola/run.h>

static char directory[] = "/tmp/saola-run-XXXXXX";
static char socket_path[64], bind_text[80];
static char *answer; /* the client's, in shared memory */

enum { ANSWER_MAX = 4096 };

/* ---- what is served ---------------------------------------------------------------------------
 */

static int
tell_settings(void *state, struct sl_request *req, struct sl_response *res)
{
    struct sl_worker *worker = state;
    const struct sl_config *config = sl_worker_config(worker);
    char text[200], here[100];
    (void)req;
    int len = snprintf(text, sizeof text, "workers %lld keepalive %lld in %s",
                       sl_config_number(config, "workers"), sl_config_number(config, "keepalive"),
                       getcwd(here, sizeof here));
    return sl_response_send(res, 200, "text/plain", text, (size_t)len);
}

static int
start(struct sl_worker *worker, void *data, void **ret_state, struct sl_error *err)
{
    (void)data;
    (void)err;
    *ret_state = worker;
    return SL_OK;
}

static int
fail_to_start(struct sl_worker *worker, void *data, void **ret_state, struct sl_error *err)
{
    (void)worker;
    (void)data;
    (void)ret_state;
    return sl_error_set(err, SL_EHOST, "not today");
}

static const struct sl_app app = {
    .abi = SL_APP_ABI, .name = "settings", .start = start, .request = tell_settings};
static const struct sl_app broken_app = {
    .abi = SL_APP_ABI, .name = "broken", .start = fail_to_start, .request = tell_settings};

/* ---- the client -------------------------------------------------------------------------------
 */

static bool
ask(void)
{
    static const char request[] = "GET / HTTP/1.0\r\n\r\n";
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, socket_path, strlen(socket_path));
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    size_t len = 0;
    ssize_t n = -1;
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0 &&
        write(fd, request, sizeof request - 1) == (ssize_t)sizeof request - 1)
        while ((n = read(fd, answer + len, ANSWER_MAX - 1 - len)) > 0)
            len += (size_t)n;
    close(fd);
    return len > 0;
}

/* Not a child of the server's, which has its own. */
static int
send_client(const struct sl_hook_call *call)
{
    (void)call;
    pid_t server = getpid(), pid = fork();
    if (pid == 0) {
        if (fork() == 0) {
            (void)close_range(3, ~0U, 0); /* the listening socket, too */
            if (ask())                    /* else it ends by itself */
                kill(server, SIGTERM);
        }
        _exit(0);
    }
    waitpid(pid, NULL, 0);
    return SL_OK;
}

static const struct sl_hooks hooks = {.abi = SL_HOOKS_ABI, .when_ready = send_client};

static int
run(const struct sl_app *served, const char *const *defaults, ...)
{
    const char *argv[16] = {"program"};
    struct sl_run_options options = {.argc = 1,
                                     .argv = (char **)(uintptr_t)argv,
                                     .app = served,
                                     .hooks = &hooks,
                                     .defaults = defaults};
    va_list args;
    va_start(args, defaults);
    while ((argv[options.argc] = va_arg(args, const char *)) != NULL)
        options.argc++;
    va_end(args);
    memset(answer, 0, ANSWER_MAX);
    return sl_run(&options);
}

static const char *
body(void)
{
    const char *end = strstr(answer, "\r\n\r\n");
    return end != NULL ? end + 4 : "no answer";
}

/* ---- tests ------------------------------------------------------------------------------------
 */

static void
test_settings_come_from_the_table_and_the_arguments_go_before_it(void **state)
{
    (void)state;
    const char *const defaults[] = {"workers", "2", "keepalive", "7", "bind", bind_text, NULL};
    char expected[200];
    assert_int_equal(run(&app, defaults, "--keep-alive", "9", "--chdir", "/", NULL), SL_EXIT_OK);
    assert_string_equal(body(), "workers 2 keepalive 9 in /");
    assert_int_equal(run(&app, defaults, "-w1", NULL), SL_EXIT_OK);
    snprintf(expected, sizeof expected, "workers 1 keepalive 7 in %s", directory);
    assert_string_equal(body(), expected);
}

static void
test_without_arguments_the_table_alone_counts_again_and_again(void **state)
{
    (void)state;
    const char *const defaults[] = {"bind", bind_text, NULL};
    struct sl_run_options options = {.app = &app, .hooks = &hooks, .defaults = defaults};
    for (int i = 0; i < 3; i++) {
        memset(answer, 0, ANSWER_MAX);
        assert_int_equal(sl_run(&options), SL_EXIT_OK);
        assert_int_equal(strncmp(body(), "workers 1 ", 10), 0);
    }
}

static void
test_the_status_says_what_was_wrong(void **state)
{
    (void)state;
    const char *const wrong[] = {"worker", "2", NULL};
    assert_int_equal(run(&app, NULL, "--version", NULL), SL_EXIT_OK);
    assert_int_equal(run(&app, NULL, "--check-config", NULL), SL_EXIT_OK);
    assert_int_equal(run(&app, NULL, "--nosuch", NULL), SL_EXIT_USAGE);
    assert_int_equal(run(&app, NULL, "--workers", "many", NULL), SL_EXIT_ERROR);
    assert_int_equal(run(&app, wrong, NULL), SL_EXIT_ERROR);
    assert_int_equal(run(&app, NULL, "--bind", "unix:/nosuch/directory/s", NULL), SL_EXIT_ERROR);
    assert_int_equal(run(NULL, NULL, "./nosuch.so", NULL), SL_EXIT_APP_LOAD);
    assert_int_equal(run(NULL, NULL, NULL), SL_EXIT_ERROR);
    assert_int_equal(run(&broken_app, NULL, "--bind", bind_text, NULL), SL_EXIT_WORKER_BOOT);
    assert_int_equal(run(&app, NULL, "--bind", bind_text, NULL), SL_EXIT_OK); /* none of it stays */
    assert_string_not_equal(body(), "no answer");
}

static void
note(int number)
{
    (void)number;
}

static void
read_command_line(char *text, size_t size)
{
    int fd = open("/proc/self/cmdline", O_RDONLY);
    memset(text, 0, size);
    assert_true(fd >= 0 && read(fd, text, size - 1) > 0);
    close(fd);
}

static unsigned
count_descriptors(void)
{
    unsigned count = 0;
    DIR *dir = opendir("/proc/self/fd");
    while (readdir(dir) != NULL)
        count++;
    closedir(dir);
    return count;
}

static void
test_signals_directory_and_title_are_afterwards_as_they_were(void **state)
{
    (void)state;
    struct sigaction mine = {.sa_handler = note, .sa_flags = SA_RESTART}, now;
    sigset_t set, mask;
    char before[4096], after[4096], here[200];
    sigaction(SIGTERM, &mine, NULL);
    sigaction(SIGHUP, &mine, NULL);
    signal(SIGUSR1, SIG_IGN);
    signal(SIGPIPE, SIG_DFL);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    pthread_sigmask(SIG_SETMASK, &set, NULL);
    read_command_line(before, sizeof before);
    unsigned descriptors = count_descriptors();
    assert_int_equal(run(&app, NULL, "--bind", bind_text, "--chdir", "/", NULL), SL_EXIT_OK);
    for (int number = 1; number <= SIGTERM; number += SIGTERM - 1) {
        assert_int_equal(sigaction(number, NULL, &now), 0);
        assert_true(now.sa_handler == note && (now.sa_flags & SA_RESTART) != 0);
    }
    assert_true(sigaction(SIGUSR1, NULL, &now) == 0 && now.sa_handler == SIG_IGN);
    assert_true(sigaction(SIGPIPE, NULL, &now) == 0 && now.sa_handler == SIG_DFL);
    assert_true(sigaction(SIGCHLD, NULL, &now) == 0 && now.sa_handler == SIG_DFL);
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    assert_true(sigismember(&mask, SIGUSR2) && !sigismember(&mask, SIGTERM));
    read_command_line(after, sizeof after);
    assert_memory_equal(before, after, sizeof before);
    assert_string_equal(getcwd(here, sizeof here), directory);
    assert_int_equal(count_descriptors(), descriptors);
    sigemptyset(&set);
    pthread_sigmask(SIG_SETMASK, &set, NULL);
}

static int
set_up(void **state)
{
    (void)state;
    if (mkdtemp(directory) == NULL || chdir(directory) != 0)
        return -1;
    snprintf(socket_path, sizeof socket_path, "%s/s", directory);
    snprintf(bind_text, sizeof bind_text, "unix:%s", socket_path);
    answer = mmap(NULL, ANSWER_MAX, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return answer == MAP_FAILED ? -1 : 0;
}

static int
tear_down(void **state)
{
    (void)state;
    munmap(answer, ANSWER_MAX);
    return rmdir(directory); /* so nothing is left in it */
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_settings_come_from_the_table_and_the_arguments_go_before_it),
        cmocka_unit_test(test_without_arguments_the_table_alone_counts_again_and_again),
        cmocka_unit_test(test_the_status_says_what_was_wrong),
        cmocka_unit_test(test_signals_directory_and_title_are_afterwards_as_they_were),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
