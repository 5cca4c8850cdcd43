/* --reload: a HUP of the server's own when a shared object was built anew, or another file of the
 * setting reload_extra_files has changed.
 *
 * The arbiter looks, since it opens the files: a timer sends it SIGCHLD, which does nothing but
 * wake its loop. A file counts as changed when it has been the same for two looks, so that a linker
 * is not overtaken; and once only, whatever comes of it: after a failed reload the next change is
 * waited for. All engines of reload_engine are this one.
 */
#include <errno.h>
#include <glob.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "host_c.h"

enum { LOOK_MS = 200 };

struct signature {
    bool there;
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec changed;
};

struct watched {
    char *path;
    struct signature known, last; /* what was acted upon; what the last look has seen */
};

struct sl_reloader {
    struct watched *files;
    size_t count;
    char **patterns;
    timer_t timer;
    pid_t ticking; /* in this process: a fork of it has no such timer, but perhaps another one */
    long long looked_ms;
};

static struct signature
sign(int rc, const struct stat *status)
{
    if (rc < 0)
        return (struct signature){.there = false};
    return (struct signature){.there = true,
                              .device = status->st_dev,
                              .inode = status->st_ino,
                              .size = status->st_size,
                              .changed = status->st_mtim};
}

static bool
same(const struct signature *a, const struct signature *b)
{
    return a->there == b->there && a->device == b->device && a->inode == b->inode &&
           a->size == b->size && a->changed.tv_sec == b->changed.tv_sec &&
           a->changed.tv_nsec == b->changed.tv_nsec;
}

static struct signature
look_at(const char *path)
{
    struct stat status;
    return sign(stat(path, &status), &status);
}

/* fd: as which file it was opened; -1: it is known as it is now. */
static int
add(struct sl_reloader *reloader, const char *path, int fd)
{
    struct stat status;
    for (size_t i = 0; i < reloader->count; i++) {
        if (strcmp(reloader->files[i].path, path) == 0)
            return SL_OK;
    }
    struct watched *files =
        realloc(reloader->files, (reloader->count + 1) * sizeof *reloader->files);
    if (files == NULL)
        return SL_ENOMEM;
    reloader->files = files;
    struct watched *file = &files[reloader->count];
    file->path = strdup(path);
    if (file->path == NULL)
        return SL_ENOMEM;
    file->known = fd >= 0 ? sign(fstat(fd, &status), &status) : look_at(path);
    file->last = file->known;
    reloader->count++;
    return SL_OK;
}

static int
add_object(struct sl_reloader *reloader, const struct sl_object *object)
{
    return object->path != NULL ? add(reloader, object->path, object->fd) : SL_OK;
}

/* A pattern is looked up again each time. */
static void
add_matches(struct sl_reloader *reloader)
{
    for (char **pattern = reloader->patterns; *pattern != NULL; pattern++) {
        glob_t found;
        if (strpbrk(*pattern, "*?[") == NULL) {
            (void)add(reloader, *pattern, -1);
        } else if (glob(*pattern, 0, NULL, &found) == 0) {
            for (size_t i = 0; i < found.gl_pathc; i++)
                (void)add(reloader, found.gl_pathv[i], -1);
            globfree(&found);
        }
    }
}

static int
take_patterns(struct sl_reloader *reloader, const char *const *given)
{
    size_t count = 0;
    while (given != NULL && given[count] != NULL)
        count++;
    reloader->patterns = calloc(count + 1, sizeof *reloader->patterns);
    for (size_t i = 0; reloader->patterns != NULL && i < count; i++) {
        reloader->patterns[i] = strdup(given[i]);
        if (reloader->patterns[i] == NULL)
            return SL_ENOMEM;
    }
    return reloader->patterns != NULL ? SL_OK : SL_ENOMEM;
}

static int
take_files(struct sl_reloader *reloader, const struct sl_generation *generation)
{
    int rc = SL_OK;
    for (size_t i = 0; rc == SL_OK && i < generation->site_count; i++)
        rc = add_object(reloader, &generation->sites[i].object);
    if (rc == SL_OK)
        rc = add_object(reloader, &generation->class_object);
    if (rc == SL_OK)
        rc = add_object(reloader, &generation->hooks_object);
    for (size_t i = 0; rc == SL_OK && i < generation->pool_count; i++)
        rc = add_object(reloader, &generation->pools[i].object);
    if (rc == SL_OK)
        add_matches(reloader);
    return rc;
}

static int
start_timer(struct sl_reloader *reloader)
{
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGCHLD};
    const struct timespec pause = {.tv_nsec = LOOK_MS * 1000000L};
    const struct itimerspec times = {.it_interval = pause, .it_value = pause};
    if (timer_create(CLOCK_MONOTONIC, &event, &reloader->timer) < 0)
        return SL_ESYS;
    reloader->ticking = getpid();
    return timer_settime(reloader->timer, 0, &times, NULL) == 0 ? SL_OK : SL_ESYS;
}

static int
fail(int rc, struct sl_error *err)
{
    return sl_error_set(err, rc, "reload: %s", rc == SL_ESYS ? strerror(errno) : "out of memory");
}

static int
make(const char *const *patterns, struct sl_reloader **ret_reloader, struct sl_error *err)
{
    struct sl_reloader *reloader = calloc(1, sizeof *reloader);
    int rc = reloader != NULL ? take_patterns(reloader, patterns) : SL_ENOMEM;
    if (rc == SL_OK)
        rc = start_timer(reloader);
    if (rc != SL_OK) {
        fail(rc, err);
        sl_reloader_free(reloader);
        return rc;
    }
    *ret_reloader = reloader;
    return SL_OK;
}

int
sl_reloader_new(const struct sl_generation *generation, struct sl_reloader **ret_reloader,
                struct sl_error *err)
{
    struct sl_reloader *reloader;
    if (sl_config_number(generation->config, "reload") == 0)
        return SL_OK;
    int rc = make(sl_config_list(generation->config, "reload_extra_files"), &reloader, err);
    if (rc != SL_OK)
        return rc;
    rc = take_files(reloader, generation);
    if (rc != SL_OK) {
        fail(rc, err);
        sl_reloader_free(reloader);
        return rc;
    }
    *ret_reloader = reloader;
    return SL_OK;
}

int
sl_reloader_watch(struct sl_reloader **reloader, const char *path, struct sl_error *err)
{
    int rc = *reloader != NULL ? SL_OK : make(NULL, reloader, err);
    if (rc != SL_OK)
        return rc;
    rc = add(*reloader, path, -1);
    return rc == SL_OK ? rc : fail(rc, err);
}

const char *
sl_reloader_look(struct sl_reloader *reloader)
{
    const char *changed = NULL;
    long long now = sl_now_ms();
    if (now - reloader->looked_ms < LOOK_MS / 2)
        return NULL;
    reloader->looked_ms = now;
    add_matches(reloader);
    for (size_t i = 0; i < reloader->count; i++) {
        struct watched *file = &reloader->files[i];
        struct signature seen = look_at(file->path);
        bool rests = same(&seen, &file->last);
        file->last = seen;
        if (!rests || !seen.there || same(&seen, &file->known))
            continue;
        file->known = seen;
        changed = file->path;
    }
    return changed;
}

void
sl_reloader_free(struct sl_reloader *reloader)
{
    if (reloader == NULL)
        return;
    if (reloader->ticking == getpid())
        timer_delete(reloader->timer);
    for (size_t i = 0; i < reloader->count; i++)
        free(reloader->files[i].path);
    for (char **pattern = reloader->patterns; pattern != NULL && *pattern != NULL; pattern++)
        free(*pattern);
    free(reloader->files);
    free(reloader->patterns);
    free(reloader);
}
