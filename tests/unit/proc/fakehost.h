/* A host in C for tests of the arbiter: real forks, workers that do what the test tells them, and a
 * record in shared memory that the test reads while the arbiter runs in a child process.
 */
#ifndef SAOLA_TEST_FAKEHOST_H
#define SAOLA_TEST_FAKEHOST_H

#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>
#include <saola/host.h>

enum fake_mode {
    FAKE_SERVE,  /* ready at once, beats, leaves on TERM and QUIT */
    FAKE_EXIT_3, /* dies while it boots */
    FAKE_EXIT_4,
    FAKE_HANG_BOOT, /* never ready */
    FAKE_HANG,      /* ready, then silent, ignores TERM */
    FAKE_STUBBORN,  /* ready, beats, ignores TERM */
    FAKE_CRASH,     /* ready, then dies at once */
};

enum { FAKE_SETTINGS = 12, FAKE_WORKERS = 4096, FAKE_LOG = 1 << 20, FAKE_HOOKS = 4096 };

struct fake_worker {
    _Atomic pid_t pid;
    atomic_bool ready, gone;
    unsigned generation;
    int descriptors; /* open ones that it should not have */
};

struct fake_world {
    _Atomic pid_t arbiter;
    atomic_int mode;        /* of workers forked from now on */
    atomic_bool load_fails; /* reload: generation_load() fails */
    atomic_int forks_to_fail;
    atomic_bool exec_fails, hook_fails;
    atomic_int port;    /* of the first listener */
    atomic_int settled; /* accepted generations */
    atomic_int status;  /* exit status of an arbiter that left in order; -1 before */
    int outside;        /* descriptors that came from outside of the first arbiter */
    atomic_int leaks;   /* descriptors that an arbiter left open */
    char settings[FAKE_SETTINGS][2][128]; /* name, text */
    struct fake_worker workers[FAKE_WORKERS];
    atomic_uint worker_count;
    _Atomic size_t log_used, hooks_used;
    char log[FAKE_LOG];
    char hooks[FAKE_HOOKS]; /* names, a space after each */
};

/* Makes the world; its descriptor stays open across exec. */
struct fake_world *fake_world_new(int *ret_fd);
void fake_world_set(struct fake_world *world, const char *name, const char *text);
void fake_world_free(struct fake_world *world, int fd);

/* Runs an arbiter in this process; returns its exit status. */
int fake_run(struct fake_world *world, int world_fd);

/* main() of the program that USR2 executes: the same arbiter in the world of descriptor world_fd.
 */
int fake_successor(int world_fd);

int fake_count_descriptors(void);

#endif
