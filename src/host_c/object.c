/* Shared objects that hold tables: "PATH.so[:NAME]".
 *
 * The arbiter opens the file and never loads it (but for hooks and pools): each worker loads the
 * file that its generation has opened. So a rebuilt one is loaded by the next generation's workers,
 * while a worker of the old one that has to be replaced still gets the old code. dlopen() knows
 * files by name first, then by device and inode (name_anew()); linkers, install(1) and mv(1) make a
 * new file, which is why one that is copied over in place (cp) would change the code of running
 * workers: nobody can help that.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "host_c.h"

static const struct kind {
    const char *what, *default_name, *macro;
    unsigned abi;
} kinds[] = {
    [SL_TABLE_APP] = {"an application", "app", "SL_APP", SL_APP_ABI},
    [SL_TABLE_WORKER_CLASS] = {"a worker class", "worker_class", "SL_WORKER_CLASS",
                               SL_WORKER_CLASS_ABI},
    [SL_TABLE_HOOKS] = {"a table of hooks", "hooks", "SL_HOOKS", SL_HOOKS_ABI},
    [SL_TABLE_POOL] = {"a pool", "pool", "SL_POOL", SL_POOL_ABI},
};

/* Where the name begins: behind a colon that follows the last slash. */
static const char *
find_colon(const char *text)
{
    const char *slash = strrchr(text, '/');
    return strchr(slash != NULL ? slash : text, ':');
}

bool
sl_object_is_named(const char *text)
{
    const char *colon = find_colon(text);
    size_t len = colon != NULL ? (size_t)(colon - text) : strlen(text);
    return memchr(text, '/', len) != NULL || (len > 3 && memcmp(text + len - 3, ".so", 3) == 0);
}

int
sl_object_open(struct sl_object *object, enum sl_table_kind kind, const char *text,
               struct sl_error *err)
{
    struct stat status;
    const char *colon = find_colon(text);
    size_t len = colon != NULL ? (size_t)(colon - text) : strlen(text);
    *object = (struct sl_object){.kind = kind, .fd = -1};
    bool slash = memchr(text, '/', len) != NULL;
    const char *name = colon != NULL && colon[1] != '\0' ? colon + 1 : kinds[kind].default_name;
    if (asprintf(&object->path, "%s%.*s", slash ? "" : "./", (int)len, text) < 0)
        object->path = NULL;
    object->name = strdup(name);
    int rc = SL_OK;
    if (object->path == NULL || object->name == NULL)
        rc = sl_error_set(err, SL_ENOMEM, "out of memory");
    else if ((object->fd = open(object->path, O_RDONLY | O_CLOEXEC)) < 0 ||
             fstat(object->fd, &status) < 0)
        rc = sl_error_set(err, errno == ENOENT ? SL_ENOENT : SL_ESYS, "%.300s: %s", object->path,
                          strerror(errno));
    else if (!S_ISREG(status.st_mode))
        rc = sl_error_set(err, SL_EINVAL, "%.300s: is not a shared object", object->path);
    return rc;
}

/* By its own name as long as that still is this file, so that debuggers find it and $ORIGIN works.
 */
static void
choose_path(const struct sl_object *object, char *path, size_t size)
{
    struct stat ours, named;
    if (fstat(object->fd, &ours) == 0 && stat(object->path, &named) == 0 &&
        ours.st_dev == named.st_dev && ours.st_ino == named.st_ino)
        snprintf(path, size, "%s", object->path);
    else
        snprintf(path, size, "/proc/self/fd/%d", object->fd);
}

/* The path with as many dots and slashes as tell inodes apart: dlopen() asks first whether
 * something of this name is loaded, and that may be what lay there before. */
static void
name_anew(const struct sl_object *object, char *path, size_t size)
{
    struct stat status = {.st_ino = 0};
    char dots[3 * 64 + 1], *end = dots, *name = strrchr(path, '/') + 1;
    (void)fstat(object->fd, &status);
    for (unsigned long long inode = status.st_ino; inode != 0; inode >>= 1)
        end = stpcpy(end, inode & 1 ? ".//" : "./");
    *end = '\0';
    size_t len = strlen(name), more = (size_t)(end - dots);
    if ((size_t)(name - path) + more + len + 1 > size)
        return;
    memmove(name + more, name, len + 1);
    memcpy(name, dots, more);
}

int
sl_object_check(enum sl_table_kind kind, const void *table, const char *what, struct sl_error *err)
{
    const struct kind *expected = &kinds[kind];
    unsigned abi = *(const unsigned *)table;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (abi == kinds[i].abi && i != (size_t)kind)
            return sl_error_set(err, SL_EINVAL, "%.300s is %s, not %s", what, kinds[i].what,
                                expected->what);
    }
    if (abi >> 8 == expected->abi >> 8 && abi != expected->abi)
        return sl_error_set(err, SL_EINVAL,
                            "%.300s was compiled for another version of saola: compile it again",
                            what);
    if (abi != expected->abi)
        return sl_error_set(err, SL_EINVAL, "%.300s: its member abi is not %s_ABI", what,
                            expected->macro);
    if (kind == SL_TABLE_APP && ((const struct sl_app *)table)->request == NULL)
        return sl_error_set(err, SL_EINVAL, "%.300s has no function request", what);
    if (kind == SL_TABLE_WORKER_CLASS && ((const struct sl_worker_class *)table)->run == NULL)
        return sl_error_set(err, SL_EINVAL,
                            "%.300s has no function run: write one that serves until "
                            "sl_worker_stopping()",
                            what);
    return SL_OK;
}

/* Where the server is an extension module, its functions are shown to those only who ask for it by
 * name: from now on to all. */
static void
show_server(void)
{
    Dl_info own;
    if (dladdr((const void *)(uintptr_t)sl_object_load, &own) != 0 && own.dli_fname != NULL)
        (void)dlopen(own.dli_fname, RTLD_NOW | RTLD_NOLOAD | RTLD_GLOBAL);
}

/* dlerror() without the path in front that choose_path() may have made up. */
static const char *
why(const char *path)
{
    const char *text = dlerror();
    size_t len = strlen(path);
    if (text == NULL)
        return "cannot be loaded";
    return strncmp(text, path, len) == 0 && strncmp(text + len, ": ", 2) == 0 ? text + len + 2
                                                                              : text;
}

int
sl_object_load(struct sl_object *object, const void **ret_table, struct sl_error *err)
{
    char path[4096], what[400];
    choose_path(object, path, sizeof path);
    show_server();
    if (dlopen(path, RTLD_NOW | RTLD_NOLOAD) != NULL)
        name_anew(object, path, sizeof path);
    if (object->handle == NULL)
        object->handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (object->handle == NULL)
        return sl_error_set(err, SL_EINVAL, "%.200s: %.280s", object->path, why(path));
    const void *table = dlsym(object->handle, object->name);
    if (table == NULL)
        return sl_error_set(err, SL_ENOENT,
                            "%.200s: there is no %.80s in it; %s(%.80s) defines one", object->path,
                            object->name, kinds[object->kind].macro, object->name);
    snprintf(what, sizeof what, "%s:%s", object->path, object->name);
    int rc = sl_object_check(object->kind, table, what, err);
    if (rc == SL_OK)
        *ret_table = table;
    return rc;
}

void
sl_object_close(struct sl_object *object)
{
    if (object->path != NULL && object->fd >= 0)
        close(object->fd);
    free(object->path);
    free(object->name);
    *object = (struct sl_object){.fd = -1};
}
