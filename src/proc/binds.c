/* Listening sockets across generations, workers and re-execution; see binds.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <config/config.h>
#include <net/unix_path.h>
#include <proc/binds.h>
#include <proc/privileges.h>
#include <proc/systemd.h>

enum { FDS_TEXT = 8192 };

static struct sl_bind *
add(struct sl_binds *binds, const char *spec, const struct sl_listener *listener)
{
    struct sl_bind *bind = calloc(1, sizeof *bind);
    char *copy = strdup(spec);
    if (bind == NULL || copy == NULL) {
        free(bind);
        free(copy);
        return NULL;
    }
    bind->listener = *listener;
    bind->spec = copy;
    struct sl_bind **tail = &binds->all;
    while (*tail != NULL)
        tail = &(*tail)->next;
    *tail = bind;
    return bind;
}

/* ---- files of unix sockets ------------------------------------------------------------------ */

static bool
is_at(int fd, const char *path)
{
    struct stat ours, there;
    return fstat(fd, &ours) == 0 && lstat(path, &there) == 0 && ours.st_dev == there.st_dev &&
           ours.st_ino == there.st_ino;
}

/* Whoever of two arbiters ends last removes the file; which of them that is shows only then. */
static void
remember_file(struct sl_binds *binds, const struct sl_listener *listener)
{
    struct stat st;
    if (listener->file == NULL)
        return;
    struct sl_bind_file *file = calloc(1, sizeof *file);
    int fd = open(listener->file, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    char *path = strdup(listener->file);
    if (file != NULL && path != NULL && fd >= 0 && fstat(fd, &st) == 0 &&
        st.st_dev == listener->device && st.st_ino == listener->inode) {
        *file = (struct sl_bind_file){.next = binds->left, .fd = fd, .path = path};
        binds->left = file;
        return;
    }
    if (fd >= 0)
        close(fd);
    free(path);
    free(file);
}

/* Two arbiters may end in the same moment, each seeing the other alive: what counts is whether
 * anybody listens. */
static void
remove_unserved(const struct sl_bind_file *file)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct sl_error err;
    size_t len = strlen(file->path);
    if (len >= sizeof address.sun_path)
        return;
    memcpy(address.sun_path, file->path, len);
    int lock = sl_unix_path_lock(file->path);
    if (is_at(file->fd, file->path))
        (void)sl_unix_path_clear((struct sockaddr *)&address, sizeof address, &err);
    if (lock >= 0)
        close(lock);
}

static void
forget_files(struct sl_binds *binds, bool remove)
{
    struct sl_bind_file *file;
    while ((file = binds->left) != NULL) {
        binds->left = file->next;
        if (remove && binds->keep_files)
            remove_unserved(file);
        else if (remove && is_at(file->fd, file->path))
            (void)unlink(file->path);
        close(file->fd);
        free(file->path);
        free(file);
    }
}

void
sl_binds_finish(struct sl_binds *binds)
{
    forget_files(binds, true);
}

static void
discard(struct sl_binds *binds, struct sl_bind *bind)
{
    struct sl_bind **link = &binds->all;
    while (*link != bind)
        link = &(*link)->next;
    *link = bind->next;
    if (!bind->foreign && binds->keep_files)
        remember_file(binds, &bind->listener);
    else if (!bind->foreign)
        sl_listener_unlink(&bind->listener);
    sl_listener_close(&bind->listener);
    free(bind->spec);
    free(bind);
}

static void
release(struct sl_binds *binds, struct sl_bind *bind)
{
    if (--bind->sets == 0)
        discard(binds, bind);
}

/* ---- inheriting ---------------------------------------------------------------------------- */

static int
adopt(struct sl_binds *binds, int fd, const char *spec, bool foreign, struct sl_error *err)
{
    struct sl_listener listener;
    int rc = sl_listener_adopt(fd, 2048, &listener, err);
    if (rc != SL_OK)
        return rc;
    struct sl_bind *bind = add(binds, spec, &listener);
    if (bind == NULL)
        return sl_error_set(err, SL_ENOMEM, "out of memory");
    bind->foreign = foreign;
    return SL_OK;
}

static int
inherit_activated(struct sl_binds *binds, struct sl_error *err)
{
    struct sl_systemd_sockets sockets;
    int rc = sl_systemd_sockets_take(true, &sockets, err);
    if (rc != SL_OK)
        return rc;
    for (unsigned i = 0; i < sockets.count && rc == SL_OK; i++) {
        char spec[32];
        snprintf(spec, sizeof spec, "systemd:%u", i);
        rc = adopt(binds, SL_SYSTEMD_FIRST_FD + (int)i, spec, true, err);
    }
    sl_systemd_sockets_release(&sockets);
    return rc;
}

/* "FD:FOREIGN:SPEC" lines, as sl_binds_export() writes them. */
static int
inherit_line(struct sl_binds *binds, const char *line, struct sl_error *err)
{
    int fd, foreign, at = 0;
    if (sscanf(line, "%d:%d:%n", &fd, &foreign, &at) != 2 || at == 0)
        return sl_error_set(err, SL_EINVAL, "SAOLA_FD in the environment is malformed: %s", line);
    return adopt(binds, fd, line + at, foreign != 0, err);
}

static int
inherit_passed(struct sl_binds *binds, struct sl_error *err)
{
    const char *text = getenv("SAOLA_FD");
    char *copy = text == NULL ? NULL : strdup(text);
    int rc = text != NULL && copy == NULL ? sl_error_set(err, SL_ENOMEM, "out of memory") : SL_OK;
    char *rest = copy;
    for (char *line; rc == SL_OK && rest != NULL && (line = strsep(&rest, "\n")) != NULL;) {
        if (*line != '\0')
            rc = inherit_line(binds, line, err);
    }
    free(copy);
    unsetenv("SAOLA_FD");
    unsetenv("GUNICORN_FD");
    return rc;
}

int
sl_binds_inherit(struct sl_binds *binds, struct sl_error *err)
{
    int rc = inherit_passed(binds, err);
    return rc != SL_OK ? rc : inherit_activated(binds, err);
}

/* ---- opening ------------------------------------------------------------------------------- */

/* Listening sockets have no mode to change; a switch of reuse_port needs new ones. */
static struct sl_bind *
find(const struct sl_binds *binds, const char *spec, bool each_opens)
{
    for (struct sl_bind *bind = binds->all; bind != NULL; bind = bind->next) {
        bool same_way = bind->each_opens == each_opens || bind->listener.family == AF_UNIX;
        if (strcmp(bind->spec, spec) == 0 && (same_way || bind->foreign))
            return bind;
    }
    return NULL;
}

static int
options_from(const struct sl_config *config, const struct sl_address *address,
             struct sl_listener_options *ret_options, struct sl_error *err)
{
    *ret_options = (struct sl_listener_options){
        .backlog = (int)config->backlog,
        .reuse_port = config->reuse_port && address->kind == SL_ADDRESS_TCP,
        .bind_only = config->reuse_port && address->kind == SL_ADDRESS_TCP,
        .umask = (mode_t)config->umask,
        .uid = (uid_t)-1,
        .gid = (gid_t)-1,
    };
    int rc = sl_user_find(config->user, &ret_options->uid, err);
    return rc != SL_OK ? rc : sl_group_find(config->group, &ret_options->gid, err);
}

static struct sl_bind *
open_one(struct sl_binds *binds, const struct sl_config *config, const char *spec,
         struct sl_error *err)
{
    struct sl_address address;
    struct sl_listener_options options;
    struct sl_listener listener;
    if (sl_address_parse(spec, &address, err) != SL_OK ||
        options_from(config, &address, &options, err) != SL_OK ||
        sl_listener_open(&address, &options, &listener, err) != SL_OK)
        return NULL;
    struct sl_bind *bind = add(binds, spec, &listener);
    if (bind == NULL) {
        sl_listener_close(&listener);
        sl_error_set(err, SL_ENOMEM, "out of memory");
        return NULL;
    }
    bind->foreign = address.kind == SL_ADDRESS_FD;
    bind->each_opens = options.bind_only;
    return bind;
}

static bool
is_activated(const struct sl_bind *bind)
{
    return strncmp(bind->spec, "systemd:", strlen("systemd:")) == 0;
}

static void
append(struct sl_bind_set *set, struct sl_bind *bind)
{
    for (size_t i = 0; i < set->count; i++) {
        if (set->items[i] == bind)
            return; /* named twice */
    }
    bind->sets++;
    set->items[set->count] = bind;
    set->fds[set->count] = bind->listener.fd;
    set->names[set->count++] = bind->listener.name;
}

static int
allocate(struct sl_bind_set *set, size_t count)
{
    *set = (struct sl_bind_set){
        .items = calloc(count + 1, sizeof *set->items),
        .fds = calloc(count + 1, sizeof *set->fds),
        .names = calloc(count + 1, sizeof *set->names),
    };
    return set->items != NULL && set->fds != NULL && set->names != NULL ? SL_OK : SL_ENOMEM;
}

static size_t
append_activated(struct sl_binds *binds, struct sl_bind_set *set)
{
    for (struct sl_bind *bind = binds->all; bind != NULL; bind = bind->next) {
        if (is_activated(bind))
            append(set, bind);
    }
    return set->count;
}

static int
append_configured(struct sl_binds *binds, const struct sl_config *config, struct sl_bind_set *set,
                  struct sl_error *err)
{
    for (size_t i = 0; i < config->bind.count; i++) {
        const char *spec = config->bind.items[i];
        struct sl_bind *bind = find(binds, spec, config->reuse_port);
        if (bind == NULL)
            bind = open_one(binds, config, spec, err);
        if (bind == NULL)
            return err->code;
        append(set, bind);
    }
    return SL_OK;
}

/* Activated sockets stand in for the default address only, never for one that the user gave. */
int
sl_binds_open(struct sl_binds *binds, const struct sl_config *config, struct sl_bind_set *ret_set,
              struct sl_error *err)
{
    struct sl_bind_set set;
    size_t most = config->bind.count;
    for (struct sl_bind *bind = binds->all; bind != NULL; bind = bind->next)
        most++;
    int rc = allocate(&set, most);
    if (rc != SL_OK)
        sl_error_set(err, rc, "out of memory");
    bool chosen = sl_config_source(config, "bind") != NULL;
    if (rc == SL_OK && (append_activated(binds, &set) == 0 || chosen))
        rc = append_configured(binds, config, &set, err);
    if (rc != SL_OK)
        sl_binds_drop(binds, &set);
    else
        *ret_set = set;
    return rc;
}

void
sl_binds_drop(struct sl_binds *binds, struct sl_bind_set *set)
{
    for (size_t i = 0; i < set->count; i++)
        release(binds, set->items[i]);
    free(set->items);
    free(set->fds);
    free(set->names);
    *set = (struct sl_bind_set){0};
}

uint64_t
sl_binds_ending(const struct sl_binds *binds, const struct sl_bind_set *set, bool ends)
{
    uint64_t ending = 0;
    for (size_t i = 0; i < set->count && i < 64; i++) {
        const struct sl_bind *bind = set->items[i];
        if (!bind->foreign && !binds->keep_files && (ends || bind->sets == 1))
            ending |= (uint64_t)1 << i;
    }
    return ending;
}

void
sl_binds_forget(struct sl_binds *binds)
{
    struct sl_bind *next;
    for (struct sl_bind *bind = binds->all; bind != NULL; bind = next) {
        next = bind->next;
        if (bind->sets == 0)
            discard(binds, bind);
    }
}

/* ---- workers and successors ------------------------------------------------------------------ */

/* The same address again, bound, at the same descriptor: what was told of it stays true. The worker
 * listens when it can serve: nobody waits in the queue of one that boots, and perhaps never will.
 */
static int
bind_here(struct sl_bind *bind, struct sl_error *err)
{
    struct sl_address address = {.kind = SL_ADDRESS_TCP, .port = bind->listener.port};
    struct sl_listener_options options = {
        .reuse_port = true, .bind_only = true, .uid = (uid_t)-1, .gid = (gid_t)-1};
    struct sl_listener own;
    snprintf(address.host, sizeof address.host, "%s", bind->listener.address);
    int rc = sl_listener_open(&address, &options, &own, err);
    if (rc != SL_OK)
        return rc;
    rc = dup3(own.fd, bind->listener.fd, O_CLOEXEC) < 0
             ? sl_error_set(err, SL_ESYS, "dup3: %s", strerror(errno))
             : SL_OK;
    sl_listener_close(&own);
    return rc;
}

static bool
holds(const struct sl_bind_set *set, const struct sl_bind *bind)
{
    for (size_t i = 0; i < set->count; i++) {
        if (set->items[i] == bind)
            return true;
    }
    return false;
}

int
sl_binds_enter_worker(struct sl_binds *binds, struct sl_bind_set *set, struct sl_error *err)
{
    int rc = SL_OK;
    forget_files(binds, false);
    for (struct sl_bind *bind = binds->all; bind != NULL && rc == SL_OK; bind = bind->next) {
        if (!holds(set, bind))
            sl_listener_close(&bind->listener);
        else if (bind->each_opens)
            rc = bind_here(bind, err);
    }
    return rc;
}

static int
export_one(const struct sl_bind *bind, char *lines, char *fds)
{
    size_t used = strlen(lines), fds_used = strlen(fds);
    int fd = bind->listener.fd;
    int n = snprintf(lines + used, FDS_TEXT - used, "%d:%d:%s\n", fd, bind->foreign, bind->spec);
    int m = snprintf(fds + fds_used, FDS_TEXT - fds_used, "%s%d", fds_used > 0 ? "," : "", fd);
    if (n < 0 || (size_t)n >= FDS_TEXT - used || m < 0 || (size_t)m >= FDS_TEXT - fds_used)
        return SL_ERANGE;
    return fcntl(fd, F_SETFD, 0) == 0 ? SL_OK : SL_ESYS;
}

int
sl_binds_export(struct sl_binds *binds, struct sl_error *err)
{
    char lines[FDS_TEXT] = "", fds[FDS_TEXT] = "";
    for (const struct sl_bind *bind = binds->all; bind != NULL; bind = bind->next) {
        int rc = bind->each_opens ? SL_OK : export_one(bind, lines, fds);
        if (rc != SL_OK)
            return sl_error_set(err, rc, "%s cannot be handed on: %s", bind->listener.name,
                                sl_status_name(rc));
    }
    if (setenv("SAOLA_FD", lines, 1) != 0 || setenv("GUNICORN_FD", fds, 1) != 0)
        return sl_error_set(err, SL_ENOMEM, "out of memory");
    return SL_OK;
}

void
sl_bind_set_print(const struct sl_bind_set *set, char *buf, size_t size)
{
    size_t at = 0;
    buf[0] = '\0';
    for (size_t i = 0; i < set->count && at < size; i++) {
        int n = snprintf(buf + at, size - at, "%s%s", i > 0 ? "," : "", set->names[i]);
        at += n > 0 ? (size_t)n : 0;
    }
}
