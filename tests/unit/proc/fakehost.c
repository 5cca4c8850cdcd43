/* The fake host; see fakehost.h. Everything it learns goes into shared memory. */
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <netinet/in.h>
#include "fakehost.h"

struct host {
    struct fake_world *world;
    struct sl_host table;
    char *argv[4];
    char fd_text[16];
    int world_fd;
    int listeners[16];
    size_t listener_count;
};

struct worker {
    struct sl_slot *slot;
    struct fake_worker *record;
};

/* ---- the world ----------------------------------------------------------------------------- */

struct fake_world *
fake_world_new(int *ret_fd)
{
    int fd = memfd_create("fake-world", 0);
    if (fd < 0 || ftruncate(fd, sizeof(struct fake_world)) < 0)
        abort();
    struct fake_world *world = mmap(NULL, sizeof *world, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (world == MAP_FAILED)
        abort();
    atomic_store(&world->status, -1);
    *ret_fd = fd;
    return world;
}

void
fake_world_set(struct fake_world *world, const char *name, const char *text)
{
    for (int i = 0; i < FAKE_SETTINGS; i++) {
        char(*row)[128] = world->settings[i];
        if (row[0][0] != '\0' && (strcmp(row[0], name) != 0 || strcmp(name, "bind") == 0))
            continue;
        snprintf(row[0], sizeof row[0], "%s", name);
        snprintf(row[1], sizeof row[1], "%s", text);
        return;
    }
    abort();
}

void
fake_world_free(struct fake_world *world, int fd)
{
    munmap(world, sizeof *world);
    close(fd);
}

static void
append(char *buf, size_t size, _Atomic size_t *used, const char *text, char end)
{
    size_t len = strlen(text);
    size_t at = atomic_fetch_add(used, len + 1);
    if (at + len + 1 >= size)
        return;
    memcpy(buf + at, text, len);
    buf[at + len] = end;
}

int
fake_count_descriptors(void)
{
    int count = 0;
    DIR *dir = opendir("/proc/self/fd");
    while (dir != NULL && readdir(dir) != NULL)
        count++;
    if (dir != NULL)
        closedir(dir);
    return count;
}

/* ---- arbiter's side ------------------------------------------------------------------------- */

static void
host_log(void *ctx, enum sl_log_level level, const char *message)
{
    struct fake_world *world = ((struct host *)ctx)->world;
    char line[1300];
    snprintf(line, sizeof line, "%d %s", (int)level, message);
    append(world->log, sizeof world->log, &world->log_used, line, '\n');
    if (getenv("FAKE_VERBOSE") != NULL)
        fprintf(stderr, "%d: %s\n", (int)getpid(), line);
}

static int
host_load(void *ctx, bool reload, struct sl_config **ret_config, struct sl_error *err)
{
    struct fake_world *world = ((struct host *)ctx)->world;
    if (reload && atomic_load(&world->load_fails))
        return sl_error_set(err, SL_EHOST, "the application has a syntax error");
    struct sl_config *config = sl_config_new();
    sl_config_set(config, "boot_timeout", "5", "test", NULL);
    for (int i = 0; i < FAKE_SETTINGS && world->settings[i][0][0] != '\0'; i++) {
        int rc = sl_config_set(config, world->settings[i][0], world->settings[i][1], "test", err);
        if (rc != SL_OK) {
            sl_config_free(config);
            return rc;
        }
    }
    *ret_config = config;
    return SL_OK;
}

static void
host_settle(void *ctx, bool accepted)
{
    struct fake_world *world = ((struct host *)ctx)->world;
    atomic_fetch_add(&world->settled, accepted ? 1 : 0);
}

static int
host_hook(void *ctx, const struct sl_hook_call *call)
{
    static const char *const names[] = {
#define SL_HOOK(name, arity, process, on_failure, moment) #name,
#include <saola/hooks.def>
#undef SL_HOOK
    };
    struct host *host = ctx;
    struct fake_world *world = host->world;
    append(world->hooks, sizeof world->hooks, &world->hooks_used, names[call->hook], ' ');
    bool exec = call->hook == SL_HOOK_pre_exec;
    if (exec && atomic_load(&world->exec_fails))
        host->table.exec_program = "/nonexistent/saola";
    return atomic_load(&world->hook_fails) && !exec ? SL_EHOST : SL_OK;
}

static int
host_worker_new(void *ctx, const struct sl_worker_info *info, void **ret_worker,
                struct sl_error *err)
{
    struct fake_world *world = ((struct host *)ctx)->world;
    struct worker *worker = calloc(1, sizeof *worker);
    if (worker == NULL)
        return sl_error_set(err, SL_ENOMEM, "out of memory");
    unsigned index = atomic_fetch_add(&world->worker_count, 1);
    if (index >= FAKE_WORKERS)
        abort();
    worker->slot = info->slot;
    worker->record = &world->workers[index];
    worker->record->generation = info->generation;
    *ret_worker = worker;
    return SL_OK;
}

static pid_t
host_fork(void *ctx)
{
    struct fake_world *world = ((struct host *)ctx)->world;
    if (atomic_load(&world->forks_to_fail) > 0) {
        atomic_fetch_sub(&world->forks_to_fail, 1);
        errno = EAGAIN;
        return -1;
    }
    return fork();
}

static void
host_worker_forked(void *ctx, void *opaque, pid_t pid, bool in_child)
{
    (void)ctx;
    (void)in_child;
    atomic_store(&((struct worker *)opaque)->record->pid, pid);
}

static void
host_worker_free(void *ctx, void *opaque, pid_t pid, int wait_status)
{
    (void)ctx;
    (void)pid;
    (void)wait_status;
    struct worker *worker = opaque;
    atomic_store(&worker->record->gone, true);
    free(worker);
}

static void
host_listeners_changed(void *ctx, const int *fds, const char *const *names, size_t count)
{
    struct host *host = ctx;
    (void)names;
    host->listener_count = count < 16 ? count : 16;
    for (size_t i = 0; i < host->listener_count; i++)
        host->listeners[i] = fds[i];
    struct sockaddr_in address;
    socklen_t len = sizeof address;
    if (count > 0 && getsockname(fds[0], (struct sockaddr *)&address, &len) == 0)
        atomic_store(&host->world->port, ntohs(address.sin_port));
}

static void
host_reopen_logs(void *ctx)
{
    struct fake_world *world = ((struct host *)ctx)->world;
    append(world->hooks, sizeof world->hooks, &world->hooks_used, "(reopen)", ' ');
}

/* ---- worker's side -------------------------------------------------------------------------- */

static volatile sig_atomic_t asked;

static void
on_signal(int number)
{
    if (number != SIGUSR1) /* logs are reopened, nothing else */
        asked = number;
}

/* What came from outside, the death pipe, the ready pipe, the worker's own stacks, the listeners,
 * the lock of an exclusive worker: nothing else. */
static int
count_strangers(const struct host *host)
{
    int lock = 0;
    for (int i = 0; i < FAKE_SETTINGS; i++)
        lock += strcmp(host->world->settings[i][0], "exclusive_lock") == 0;
    return fake_count_descriptors() - host->world->outside - 3 - lock - (int)host->listener_count;
}

static int
serve(struct worker *worker, enum fake_mode mode)
{
    bool obeys = mode == FAKE_SERVE;
    while (!(asked == SIGTERM && obeys) && !(asked == SIGQUIT && mode != FAKE_HANG)) {
        /* one that hangs does not look whether the arbiter lives */
        struct pollfd death = {.fd = mode == FAKE_HANG ? -1 : sl_worker_death_fd(),
                               .events = POLLIN};
        if (asked == SIGABRT)
            abort();
        if (mode != FAKE_HANG)
            sl_slot_beat(worker->slot);
        if (poll(&death, 1, 20) > 0)
            return 9;
    }
    return 0;
}

static int
host_worker_main(void *ctx, void *opaque)
{
    struct host *host = ctx;
    struct worker *worker = opaque;
    enum fake_mode mode = (enum fake_mode)atomic_load(&host->world->mode);
    struct sigaction action = {.sa_handler = on_signal};
    if (mode == FAKE_EXIT_3)
        return SL_EXIT_WORKER_BOOT;
    if (mode == FAKE_EXIT_4)
        return SL_EXIT_APP_LOAD;
    worker->record->descriptors = count_strangers(host);
    while (mode == FAKE_HANG_BOOT)
        pause();
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGQUIT, &action, NULL);
    sigaction(SIGUSR1, &action, NULL);
    for (size_t i = 0; i < host->listener_count; i++)
        listen(host->listeners[i], 16); /* with reuse_port they are bound only */
    atomic_store(&worker->record->ready, true);
    sl_slot_ready(worker->slot);
    if (mode == FAKE_CRASH)
        kill(getpid(), SIGSEGV);
    int status = serve(worker, mode);
    atomic_store(&worker->record->ready, false);
    free(worker);
    return status;
}

/* Of the address sanitizer, when this is built with it: 1 if memory leaked. */
int __lsan_do_recoverable_leak_check(void) __attribute__((weak));

/* ---- running --------------------------------------------------------------------------------- */

static const struct sl_host template = {
    .name = "fake",
    .log = host_log,
    .generation_load = host_load,
    .generation_settle = host_settle,
    .hook = host_hook,
    .worker_new = host_worker_new,
    .fork = host_fork,
    .worker_forked = host_worker_forked,
    .worker_main = host_worker_main,
    .worker_free = host_worker_free,
    .listeners_changed = host_listeners_changed,
    .reopen_logs = host_reopen_logs,
};

int
fake_run(struct fake_world *world, int world_fd)
{
    struct host host = {.world = world, .world_fd = world_fd, .table = template};
    struct sl_arbiter *arbiter;
    int before = fake_count_descriptors();
    snprintf(host.fd_text, sizeof host.fd_text, "%d", world_fd);
    host.argv[0] = host.argv[1] = (char *)(uintptr_t) "successor";
    host.argv[2] = host.fd_text;
    host.table.exec_program = "/proc/self/exe";
    host.table.exec_argv = host.argv;
    if (world->outside == 0)
        world->outside = before;
    atomic_store(&world->arbiter, getpid());
    if (sl_arbiter_new(&host.table, &host, &arbiter, NULL) != SL_OK)
        abort();
    int status = sl_arbiter_run(arbiter);
    sl_arbiter_free(arbiter);
    atomic_fetch_add(&world->leaks, fake_count_descriptors() - world->outside);
    if (__lsan_do_recoverable_leak_check != NULL && __lsan_do_recoverable_leak_check() != 0)
        atomic_fetch_add(&world->leaks, 1000);
    atomic_store(&world->status, status);
    return status;
}

int
fake_successor(int world_fd)
{
    struct fake_world *world =
        mmap(NULL, sizeof *world, PROT_READ | PROT_WRITE, MAP_SHARED, world_fd, 0);
    if (world == MAP_FAILED)
        abort();
    int status = fake_run(world, world_fd);
    munmap(world, sizeof *world);
    return status;
}
