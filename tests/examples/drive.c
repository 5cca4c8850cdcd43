/* Puts an example of examples/c under load: usage: drive NAME PROGRAM [APPLICATION]
 *
 * Starts the server on a unix socket, speaks HTTP with it from several threads, reloads it, ends it
 * and reads its log. Needs nothing but libc, so that it runs where there is neither Python nor
 * cmocka, and under each sanitizer: their reports are in the log, too.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { CLIENTS = 8, ROUNDS = 100, LIMIT_MS = 60000, BIG = 1 << 20 };

static struct {
    char directory[32], socket[48], bind[64], log[48], values[64];
    pid_t pid;
} server = {.directory = "/tmp/saola-drive-XXXXXX"};

/* ---- what went wrong --------------------------------------------------------------------------
 */

static char *
read_log(void)
{
    static char text[1 << 20];
    int fd = open(server.log, O_RDONLY);
    ssize_t len = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
    if (fd >= 0)
        close(fd);
    text[len > 0 ? len : 0] = '\0';
    return text;
}

static void
remove_files(void)
{
    unlink(server.log);
    unlink(server.values);
    unlink(server.socket);
    rmdir(server.directory);
}

__attribute__((noreturn, format(printf, 1, 2))) static void
fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\n---- log of the server\n%s", read_log());
    if (server.pid > 0)
        kill(server.pid, SIGKILL);
    remove_files();
    _exit(1);
}

static long long
now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (long long)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void
nap(void)
{
    (void)nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
}

/* Waits until the log has so many lines with this text. */
static void
await_log(const char *text, unsigned times)
{
    for (long long until = now_ms() + LIMIT_MS; now_ms() < until; nap()) {
        unsigned found = 0;
        for (const char *at = read_log(); (at = strstr(at, text)) != NULL; at++)
            found++;
        if (found >= times)
            return;
    }
    fail("the log does not say \"%s\" %u times", text, times);
}

/* ---- the server -------------------------------------------------------------------------------
 */

static void
start(const char *program, const char *const *more)
{
    const char *argv[16] = {program, "--bind", server.bind, "--timeout", "60"};
    int argc = 5;
    while (*more != NULL)
        argv[argc++] = *more++;
    server.pid = fork();
    if (server.pid == 0) {
        int fd = open(server.log, O_WRONLY | O_CREAT | O_APPEND, 0600);
        dup2(fd, STDOUT_FILENO);
        dup2(fd, STDERR_FILENO);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execv(program, (char **)(uintptr_t)argv);
        _exit(127);
    }
    await_log("Listening at", 1);
}

/* TERM ends it with status 0, and nothing in its log is a report of a sanitizer or an error. */
static void
end(void)
{
    int status = -1;
    static const char *const bad[] = {"Sanitizer", "runtime error", "[ERROR]", "[CRITICAL]",
                                      "Traceback"};
    kill(server.pid, SIGTERM);
    for (long long until = now_ms() + LIMIT_MS; waitpid(server.pid, &status, WNOHANG) == 0; nap()) {
        if (now_ms() > until)
            fail("TERM does not end the server");
    }
    server.pid = 0;
    if (status != 0)
        fail("the server ended with %#x", (unsigned)status);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (strstr(read_log(), bad[i]) != NULL)
            fail("the log has \"%s\"", bad[i]);
    }
}

/* ---- a client ---------------------------------------------------------------------------------
 */

static int
dial(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, server.socket, sizeof server.socket);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval limit = {.tv_sec = LIMIT_MS / 1000};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
        fail("connect: %s", strerror(errno));
    return fd;
}

static void
say(int fd, const void *bytes, size_t len)
{
    for (const char *at = bytes; len > 0;) {
        ssize_t n = send(fd, at, len, MSG_NOSIGNAL);
        if (n <= 0)
            fail("send: %s", strerror(errno));
        at += n;
        len -= (size_t)n;
    }
}

struct answer {
    int status;
    bool closes;
    char body[1024];
};

/* Reads one response with Content-Length, and not a byte more. */
static struct answer
hear(int fd)
{
    struct answer answer = {0};
    char head[2048];
    size_t len = 0;
    while (len < 4 || memcmp(head + len - 4, "\r\n\r\n", 4) != 0) {
        if (len == sizeof head - 1 || recv(fd, head + len, 1, 0) != 1)
            fail("no answer after %zu bytes", len);
        len++;
    }
    head[len] = '\0';
    const char *length = strstr(head, "Content-Length: ");
    size_t size = length != NULL ? strtoul(length + 16, NULL, 10) : 0;
    if (sscanf(head, "HTTP/1.1 %d ", &answer.status) != 1 || size >= sizeof answer.body)
        fail("a strange answer: %s", head);
    answer.closes = strstr(head, "Connection: close") != NULL;
    if (size > 0 && recv(fd, answer.body, size, MSG_WAITALL) != (ssize_t)size)
        fail("the answer is cut");
    return answer;
}

static struct answer
ask(int fd, const char *method, const char *path, const char *body)
{
    char head[300];
    int len =
        snprintf(head, sizeof head, "%s %s HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n",
                 method, path, strlen(body));
    say(fd, head, (size_t)len);
    say(fd, body, strlen(body));
    return hear(fd);
}

static void
expect(struct answer answer, int status, const char *body)
{
    if (answer.status != status || strcmp(answer.body, body) != 0)
        fail("expected %d %s, got %d %s", status, body, answer.status, answer.body);
}

static void
at_once(void *(*run)(void *number))
{
    pthread_t threads[CLIENTS];
    for (intptr_t i = 0; i < CLIENTS; i++) {
        if (pthread_create(&threads[i], NULL, run, (void *)i) != 0)
            fail("no thread to be had");
    }
    for (size_t i = 0; i < CLIENTS; i++)
        pthread_join(threads[i], NULL);
}

/* ---- hello, embed -----------------------------------------------------------------------------
 */

/* A reload ends connections, and says so. */
static void *
greet(void *body)
{
    int fd = -1;
    for (int i = 0; i < ROUNDS; i++) {
        if (fd < 0)
            fd = dial();
        struct answer answer = ask(fd, "GET", "/", "");
        expect(answer, 200, body);
        if (answer.closes) {
            close(fd);
            fd = -1;
        }
    }
    if (fd >= 0)
        close(fd);
    return NULL;
}

static void *
greet_hello(void *number)
{
    (void)number;
    return greet("Hello, world\n");
}

static void
drive_hello(const char *program, const char *app)
{
    static const char *const threads[] = {"1", "4"};
    for (int i = 0; i < 2; i++) {
        start(program, (const char *const[]){"--workers", "2", "--threads", threads[i], app, NULL});
        at_once(greet_hello);
        kill(server.pid, SIGHUP);
        at_once(greet_hello);
        await_log("Reload done", 1);
        end();
        unlink(server.log);
    }
}

static void *
greet_embedded(void *number)
{
    (void)number;
    return greet("embedded\n");
}

static void
drive_embed(const char *program, const char *app)
{
    (void)app;
    start(program, (const char *const[]){NULL});
    at_once(greet_embedded);
    await_log("embed: the sockets listen", 1);
    end();
}

/* ---- kv ---------------------------------------------------------------------------------------
 */

static void *
keep_values(void *number)
{
    int fd = dial();
    char path[40], value[40];
    for (int i = 0; i < ROUNDS; i++) {
        snprintf(path, sizeof path, "/%d-%d", (int)(intptr_t)number, i % 10);
        snprintf(value, sizeof value, "value %d of %d", i, (int)(intptr_t)number);
        expect(ask(fd, "PUT", path, value), 200, "stored\n");
        expect(ask(fd, "GET", path, ""), 200, value);
    }
    expect(ask(fd, "DELETE", path, ""), 200, "deleted\n");
    expect(ask(fd, "GET", path, ""), 404, "no such key\n");
    close(fd);
    return NULL;
}

static void
drive_kv(const char *program, const char *app)
{
    char file[80];
    snprintf(file, sizeof file, "file=%s", server.values);
    start(program, (const char *const[]){"--hand-over", "exclusive", "--set", file, "--no-sendfile",
                                         app, NULL});
    at_once(keep_values);
    kill(server.pid, SIGHUP);
    await_log("72 values", 1);
    int fd = dial();
    expect(ask(fd, "GET", "/3-8", ""), 200, "value 98 of 3");
    close(fd);
    end();
}

/* ---- upload -----------------------------------------------------------------------------------
 */

static void *
upload(void *number)
{
    char *body = malloc(BIG), text[80];
    unsigned long long sum = 0;
    for (size_t i = 0; i < BIG; i++)
        sum += (unsigned char)(body[i] = (char)(i * 7));
    snprintf(text, sizeof text, "%d bytes, sum %llu\n", BIG, sum);
    int fd = dial();
    for (int i = 0; i < 4; i++) {
        char head[100];
        int len = snprintf(head, sizeof head,
                           "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", BIG);
        say(fd, head, (size_t)len);
        for (size_t at = 0, step = BIG / 8; at < BIG; at += step) {
            say(fd, body + at, step);
            if ((intptr_t)number % 2 == 0)
                nap();
        }
        expect(hear(fd), 200, text);
    }
    static const char download[] = "GET /stream/3000000 HTTP/1.0\r\n\r\n";
    say(fd, download, sizeof download - 1);
    size_t total = 0;
    for (ssize_t n; (n = recv(fd, body, BIG, 0)) != 0; total += (size_t)n) {
        if (n < 0)
            fail("recv: %s", strerror(errno));
    }
    if (total < 3000000)
        fail("only %zu bytes were streamed", total);
    close(fd);
    free(body);
    return NULL;
}

/* Goes away in the middle: its transfer is given up. */
static void *
break_off(void *number)
{
    static const char half[] = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nhalf";
    static const char much[] = "GET /stream/100000000 HTTP/1.1\r\nHost: x\r\n\r\n";
    int fd = dial();
    char some[1000];
    if ((intptr_t)number % 2 == 0) {
        say(fd, half, sizeof half - 1);
    } else {
        say(fd, much, sizeof much - 1);
        (void)!recv(fd, some, sizeof some, 0);
    }
    close(fd);
    return NULL;
}

static void
drive_upload(const char *program, const char *app)
{
    start(program, (const char *const[]){"--workers", "2", app, NULL});
    at_once(break_off);
    at_once(upload);
    at_once(break_off);
    end();
}

/* ---- chat -------------------------------------------------------------------------------------
 */

static const char wait_request[] = "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n";
static atomic_int listeners = CLIENTS / 2;

/* Goes now and then before it has heard anything. */
static void
listen_to_chat(void)
{
    int fd = dial();
    for (int i = 0; i < ROUNDS; i++) {
        if (i % 10 == 9) {
            say(fd, wait_request, sizeof wait_request - 1);
            close(fd);
            fd = dial();
            continue;
        }
        struct answer answer = ask(fd, "GET", "/wait", "");
        bool heard =
            strcmp(answer.body, "good morning\n") == 0 || strncmp(answer.body, "chatter: ", 9) == 0;
        if (answer.status != 200 || !heard)
            fail("/wait: %d %s", answer.status, answer.body);
    }
    close(fd);
    atomic_fetch_sub(&listeners, 1);
}

static void *
chat(void *number)
{
    if ((intptr_t)number % 2 == 0) {
        listen_to_chat();
        return NULL;
    }
    int fd = dial();
    while (atomic_load(&listeners) > 0) {
        struct answer answer = ask(fd, "POST", "/say", "good morning");
        if (answer.status != 200)
            fail("/say: %d", answer.status);
    }
    close(fd);
    return NULL;
}

static void
drive_chat(const char *program, const char *app)
{
    start(program, (const char *const[]){app, NULL});
    at_once(chat);
    int waiting = dial(), other = dial();
    say(waiting, wait_request, sizeof wait_request - 1);
    (void)ask(other, "GET", "/", ""); /* so the one before has arrived */
    kill(server.pid, SIGTERM);
    struct answer last = hear(waiting);
    bool early = strncmp(last.body, "chatter: ", 9) == 0; /* before TERM came */
    if (last.status != 200 || !(last.closes || early))
        fail("the last answer: %d %s", last.status, last.body);
    close(waiting);
    close(other);
    end();
}

/* ---- echo_worker ------------------------------------------------------------------------------
 */

static void *
echo(void *number)
{
    char line[40], back[40];
    int fd = dial();
    for (int i = 0; i < ROUNDS; i++) {
        ssize_t len = snprintf(line, sizeof line, "%d of %d\n", i, (int)(intptr_t)number);
        say(fd, line, (size_t)len);
        if (recv(fd, back, (size_t)len, MSG_WAITALL) != len || memcmp(line, back, (size_t)len) != 0)
            fail("no echo of %s", line);
    }
    close(fd);
    return NULL;
}

static void
drive_echo(const char *program, const char *class)
{
    char named[4096];
    snprintf(named, sizeof named, "%s:echo", class);
    start(program, (const char *const[]){"--workers", "2", "-k", named, NULL});
    at_once(echo);
    end();
}

static const struct example {
    const char *name;
    void (*drive)(const char *program, const char *module);
} examples[] = {
    {"hello", drive_hello}, {"kv", drive_kv},       {"upload", drive_upload},
    {"chat", drive_chat},   {"embed", drive_embed}, {"echo_worker", drive_echo},
};

int
main(int argc, char **argv)
{
    if (argc < 3 || mkdtemp(server.directory) == NULL)
        return 2;
    snprintf(server.socket, sizeof server.socket, "%s/s", server.directory);
    snprintf(server.bind, sizeof server.bind, "unix:%s", server.socket);
    snprintf(server.log, sizeof server.log, "%s/log", server.directory);
    snprintf(server.values, sizeof server.values, "%s/values", server.directory);
    for (size_t i = 0; i < sizeof examples / sizeof examples[0]; i++) {
        if (strcmp(argv[1], examples[i].name) == 0) {
            examples[i].drive(argv[2], argv[3]);
            remove_files();
            return 0;
        }
    }
    return 2;
}
