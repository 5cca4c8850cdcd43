/* Which file a request is for. See <saola/files.h>. */
#include <saola/files.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/buffer.h"
#include "files/answer.h"
#include "files/encoding.h"
#include "files/media_type.h"
#include "files/open.h"
#include "files/path.h"
#include "http/text.h"

struct route {
    char *prefix; /* without the slash at its end: "" is "/" */
    size_t prefix_len;
    char *directory;
    const char *file; /* the route is for this one, of that directory; NULL: for all */
    int fd;           /* of the directory */
    dev_t device;     /* what fd is, to notice that another directory has its name now */
    ino_t inode;
    int64_t looked_s; /* when that was looked at */
};

struct sl_files {
    struct sl_front front;
    struct route *routes; /* longer prefixes first */
    size_t route_count;
    struct sl_media_type *types;
    char **roots;
    size_t root_count;
    uint32_t max_age_s;
    void (*on_error)(void *ctx, const char *sentence);
    void *ctx;
};

static const char index_name[] = "index.html";

/* Codings of the siblings that are looked for, the better first. */
static const struct {
    const char *coding, *ending;
} siblings[] = {{"br", ".br"}, {"gzip", ".gz"}};

/* ---- answers without a file ----------------------------------------------------------------- */

static int
answer_text(struct sl_response *res, const char *status, const char *allow)
{
    char text[64];
    int n = snprintf(text, sizeof text, "%s\n", status);
    int rc = sl_response_start(res, status, strlen(status));
    if (rc == SL_OK && allow != NULL)
        rc = sl_response_header(res, "Allow", 5, allow, strlen(allow));
    if (rc == SL_OK)
        rc = sl_response_header(res, "Content-Type", 12, "text/plain; charset=utf-8", 25);
    if (rc == SL_OK)
        rc = sl_response_write(res, text, (size_t)n, SL_WRITE_LAST);
    return rc < 0 && rc != SL_ECLOSED ? rc : sl_response_end(res);
}

/* What a failed open means to the client. */
static int
answer_error(struct sl_response *res, int error)
{
    if (error == EACCES)
        return answer_text(res, "403 Forbidden", NULL);
    if (error == EMFILE || error == ENFILE || error == ENOMEM)
        return answer_text(res, "503 Service Unavailable", NULL);
    return answer_text(res, "404 Not Found", NULL);
}

/* To the same with a slash at its end: relative links inside count from there. */
static int
answer_slash(struct sl_request *req, struct sl_response *res)
{
    struct sl_buf to = SL_BUF_INIT;
    int rc = sl_buf_append(&to, req->path.ptr, req->path.len);
    if (rc == SL_OK)
        rc = sl_buf_append(&to, "/", 1);
    if (rc == SL_OK && req->query.ptr != NULL) {
        rc = sl_buf_append(&to, "?", 1);
        if (rc == SL_OK)
            rc = sl_buf_append(&to, req->query.ptr, req->query.len);
    }
    if (rc == SL_OK)
        rc = sl_response_start(res, "301 Moved Permanently", 21);
    if (rc == SL_OK)
        rc = sl_response_header(res, "Location", 8, to.ptr, to.len);
    sl_buf_release(&to);
    return rc < 0 ? rc : sl_response_end(res);
}

/* ---- the directory -------------------------------------------------------------------------- */

static int
open_directory(struct route *route)
{
    struct stat status;
    int fd =
        open(*route->directory == '\0' ? "/" : route->directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    if (fstat(fd, &status) < 0) {
        close(fd);
        return -1;
    }
    if (route->fd >= 0)
        close(route->fd);
    route->fd = fd;
    route->device = status.st_dev;
    route->inode = status.st_ino;
    return 0;
}

/* A build or a release may put another directory in the place of the one that is open. Once a
 * second is soon enough, and costs nothing. */
static void
follow_directory(struct route *route, int64_t now)
{
    struct stat status;
    if (route->looked_s == now)
        return;
    route->looked_s = now;
    if (stat(route->directory, &status) == 0 &&
        (status.st_dev != route->device || status.st_ino != route->inode))
        (void)open_directory(route);
}

/* ---- the file ------------------------------------------------------------------------------- */

/* A file that is being asked for. */
struct wanted {
    struct route *route;
    char path[SL_FILE_PATH_MAX + sizeof index_name + 4]; /* relative to the route's directory */
    size_t len;
    struct stat status;
    bool at_slash; /* it is the index of a directory */
};

/* Descriptor of the regular file, or -1 with errno: EISDIR for a directory that has an index. */
static int
open_wanted(struct wanted *w)
{
    int fd = sl_file_open_beneath(w->route->fd, w->path, &w->status);
    if (fd < 0 || S_ISREG(w->status.st_mode))
        return fd;
    bool directory = S_ISDIR(w->status.st_mode);
    close(fd);
    errno = ENOENT;
    if (!directory || w->at_slash)
        return -1;
    memcpy(w->path + w->len, "/index.html", sizeof "/index.html");
    fd = sl_file_open_beneath(w->route->fd, w->path + (w->len == 0), &w->status);
    if (fd < 0)
        return -1;
    bool regular = S_ISREG(w->status.st_mode);
    close(fd);
    errno = regular ? EISDIR : ENOENT;
    return -1;
}

/* A compressed sibling that the client prefers and that is not older than the file: takes its place
 * in *fd and w->status. Returns its coding, or "". */
static const char *
prefer_sibling(struct wanted *w, const struct sl_request *req, int *fd)
{
    const struct sl_header *accept = sl_request_header(req, "Accept-Encoding");
    if (accept == NULL)
        return "";
    const char *coding = "";
    /* 0 if the list does not speak of it: then any coding that is wanted goes before. */
    unsigned best = sl_encoding_weight(accept->value.ptr, accept->value.len, "identity");
    for (size_t i = 0; i < sizeof siblings / sizeof siblings[0]; i++) {
        unsigned weight =
            sl_encoding_weight(accept->value.ptr, accept->value.len, siblings[i].coding);
        struct stat status;
        if (weight == 0 || weight < best || (weight == best && *coding != '\0'))
            continue;
        memcpy(w->path + w->len, siblings[i].ending, 4);
        int sibling = sl_file_open_beneath(w->route->fd, w->path, &status);
        if (sibling < 0)
            continue;
        if (!S_ISREG(status.st_mode) || status.st_mtim.tv_sec < w->status.st_mtim.tv_sec) {
            close(sibling);
            continue;
        }
        close(*fd);
        *fd = sibling;
        w->status = status;
        coding = siblings[i].coding;
        best = weight;
    }
    w->path[w->len] = '\0';
    return coding;
}

static int
answer_file(struct sl_files *files, struct wanted *w, struct sl_request *req,
            struct sl_response *res, int fd, int64_t now)
{
    struct sl_file_answer answer = {.coding = "", .max_age_s = files->max_age_s};
    answer.type = sl_media_type_of(w->path, files->types, &answer.vary);
    if (answer.vary)
        answer.coding = prefer_sibling(w, req, &fd);
    return sl_file_answer(req, res, fd, &w->status, &answer, now);
}

/* ---- requests ------------------------------------------------------------------------------- */

static struct route *
find_route(const struct sl_files *files, const char *path, size_t len)
{
    for (size_t i = 0; i < files->route_count; i++) {
        struct route *route = &files->routes[i];
        size_t n = route->prefix_len;
        if (len >= n && memcmp(path, route->prefix, n) == 0 && (len == n || path[n] == '/'))
            return route;
    }
    return NULL;
}

/* The name of the file below the route's directory. False: there can be none. */
static bool
name_file(struct wanted *w, const char *path, size_t len)
{
    const char *rest = path + w->route->prefix_len;
    size_t n = len - w->route->prefix_len;
    w->at_slash = n > 0 && rest[n - 1] == '/';
    if (w->route->file != NULL) {
        w->len = strlen(w->route->file);
        memcpy(w->path, w->route->file, w->len + 1);
        return n == 0;
    }
    if (n > 0) /* the slash between them */
        rest++, n--;
    memcpy(w->path, rest, n);
    if (w->at_slash) {
        memcpy(w->path + n, index_name, sizeof index_name - 1);
        n += sizeof index_name - 1;
    }
    w->path[n] = '\0';
    w->len = n;
    return true;
}

static bool
is_method(const struct sl_request *req, const char *method)
{
    return req->method.len == strlen(method) &&
           memcmp(req->method.ptr, method, req->method.len) == 0;
}

static int64_t
now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    return (int64_t)now.tv_sec;
}

static int
serve(void *ctx, struct sl_request *req, struct sl_response *res)
{
    static const char allow[] = "GET, HEAD, OPTIONS";
    struct sl_files *files = ctx;
    struct wanted w;
    char path[SL_FILE_PATH_MAX];
    size_t len;
    bool encoded = memchr(req->path.ptr, '%', req->path.len) != NULL;
    w.route = find_route(files, req->path.ptr, req->path.len);
    if (w.route == NULL && !encoded)
        return SL_ENOENT;
    bool plain = sl_file_path_decode(req->path.ptr, req->path.len, path, &len) == SL_OK;
    if (plain && encoded)
        w.route = find_route(files, path, len);
    if (w.route == NULL)
        return SL_ENOENT;
    bool ours = w.route->prefix_len > 0; /* below "/" the host answers what is no file */
    bool get = is_method(req, "GET") || is_method(req, "HEAD");
    if (!get && !ours)
        return SL_ENOENT;
    if (is_method(req, "OPTIONS")) {
        int rc = sl_response_start(res, "204 No Content", 14);
        if (rc == SL_OK)
            rc = sl_response_header(res, "Allow", 5, allow, sizeof allow - 1);
        return rc < 0 ? rc : sl_response_end(res);
    }
    if (!get)
        return answer_text(res, "405 Method Not Allowed", allow);
    if (!plain || !name_file(&w, path, len))
        return ours ? answer_error(res, ENOENT) : SL_ENOENT;
    int64_t now = now_s();
    follow_directory(w.route, now);
    int fd = open_wanted(&w);
    if (fd >= 0)
        return answer_file(files, &w, req, res, fd, now);
    if (errno == EISDIR)
        return answer_slash(req, res);
    return ours ? answer_error(res, errno) : SL_ENOENT;
}

/* ---- X-Sendfile ----------------------------------------------------------------------------- */

static void
refuse_file(struct sl_files *files, struct sl_response *res, const char *path, int status,
            const char *why)
{
    char sentence[512];
    snprintf(sentence, sizeof sentence, "X-Sendfile: %.300s: %s", path, why);
    if (files->on_error != NULL)
        files->on_error(files->ctx, sentence);
    sl_response_fail(res, status, NULL);
}

/* What is left of path below a root; NULL: it is below none of them. */
static const char *
below_root(const struct sl_files *files, const char *path, const char **ret_root)
{
    for (size_t i = 0; i < files->root_count; i++) {
        size_t len = strlen(files->roots[i]);
        if (strncmp(path, files->roots[i], len) == 0 && path[len] == '/') {
            *ret_root = files->roots[i];
            return path + len + 1;
        }
    }
    return NULL;
}

/* No empty segment, "." or "..": open_by_steps() and openat2() are not asked about those. */
static bool
is_plain(const char *path)
{
    for (;;) {
        size_t len = strcspn(path, "/");
        if (len == 0 || (len == 1 && path[0] == '.') ||
            (len == 2 && path[0] == '.' && path[1] == '.'))
            return false;
        if (path[len] == '\0')
            return true;
        path += len + 1;
    }
}

static int
open_below(const char *root, const char *path, struct stat *ret_status)
{
    int root_fd = open(root[0] == '\0' ? "/" : root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (root_fd < 0)
        return -1;
    int fd = sl_file_open_beneath(root_fd, path, ret_status), error = errno;
    close(root_fd);
    errno = error;
    return fd;
}

static void
send_file(void *ctx, struct sl_request *req, struct sl_response *res, const char *name, size_t len)
{
    struct sl_files *files = ctx;
    char path[PATH_MAX];
    const char *root, *below;
    struct stat status;
    if (len >= sizeof path) {
        refuse_file(files, res, "...", 500, "the path is too long");
        return;
    }
    memcpy(path, name, len);
    path[len] = '\0';
    below = below_root(files, path, &root);
    if (below == NULL || !is_plain(below)) {
        refuse_file(files, res, path, 500, "not inside a directory of sendfile_roots");
        return;
    }
    int fd = open_below(root, below, &status);
    if (fd < 0) {
        bool outside = errno == EXDEV || errno == ELOOP;
        refuse_file(files, res, path, outside ? 500 : 404,
                    outside ? "a link leads out of sendfile_roots" : strerror(errno));
        return;
    }
    if (!S_ISREG(status.st_mode)) {
        close(fd);
        refuse_file(files, res, path, 404, "not a regular file");
        return;
    }
    struct sl_file_answer answer = {.coding = "", .given = true};
    bool compressible;
    answer.type = sl_media_type_of(path, files->types, &compressible);
    (void)sl_file_answer(req, res, fd, &status, &answer, now_s());
}

/* ---- opening -------------------------------------------------------------------------------- */

static size_t
count(const char *const *list)
{
    size_t n = 0;
    while (list != NULL && list[n] != NULL)
        n++;
    return n;
}

static char *
copy_text(const char *text, size_t len)
{
    char *copy = strndup(text, len);
    for (size_t n = len; copy != NULL && n > 1 && copy[n - 1] == '/'; n--)
        copy[n - 1] = '\0';
    return copy;
}

/* A route to a file is one to its directory, for one name. */
static int
split_file(struct route *route, struct sl_error *err, const char *text)
{
    struct stat status;
    if (stat(route->directory, &status) < 0)
        return sl_error_set(err, SL_ESYS, "static_files: %.200s: %s", text, strerror(errno));
    if (S_ISDIR(status.st_mode))
        return SL_OK;
    char *slash = strrchr(route->directory, '/');
    if (!S_ISREG(status.st_mode) || slash == NULL || route->prefix_len == 0 || slash[1] == '\0' ||
        strlen(slash + 1) > NAME_MAX)
        return sl_error_set(
            err, SL_EINVAL,
            "static_files: %.200s: a directory is needed, or the path of a file for one "
            "path of the site",
            text);
    *slash = '\0';
    route->file = slash + 1;
    return SL_OK;
}

/* As the working directory is now. Links on the way stay links: where they lead may change. */
static char *
absolute(const char *path)
{
    char here[PATH_MAX];
    char *result = NULL;
    if (path[0] == '/')
        return copy_text(path, strlen(path));
    if (getcwd(here, sizeof here) == NULL || asprintf(&result, "%s/%s", here, path) < 0)
        return NULL;
    return result;
}

static int
take_route(struct route *route, const char *text, struct sl_error *err)
{
    const char *equals = strchr(text, '=');
    if (text[0] != '/' || equals == NULL || equals[1] == '\0')
        return sl_error_set(
            err, SL_EINVAL,
            "static_files: %.200s: must be /PREFIX=DIRECTORY, e.g. /static=./public", text);
    route->prefix = copy_text(text, (size_t)(equals - text));
    route->directory = absolute(equals + 1);
    if (route->prefix == NULL || route->directory == NULL)
        return sl_error_set(err, SL_ENOMEM, "static_files: %.200s: %s", text, strerror(errno));
    route->prefix_len = strlen(route->prefix);
    if (route->prefix_len == 1) /* "/" */
        route->prefix_len = 0;
    int rc = split_file(route, err, text);
    if (rc == SL_OK && open_directory(route) < 0)
        rc = sl_error_set(err, SL_ESYS, "static_files: %.200s: %s", text, strerror(errno));
    return rc;
}

static int
by_prefix(const void *a, const void *b)
{
    const struct route *left = a, *right = b;
    return left->prefix_len < right->prefix_len ? 1 : left->prefix_len > right->prefix_len ? -1 : 0;
}

static int
take_routes(struct sl_files *files, const char *const *routes, struct sl_error *err)
{
    size_t n = count(routes);
    files->routes = calloc(n + 1, sizeof *files->routes);
    if (files->routes == NULL)
        return sl_error_set(err, SL_ENOMEM, "static_files: out of memory");
    for (size_t i = 0; i < n; i++) {
        files->routes[i].fd = -1;
        files->route_count = i + 1;
        int rc = take_route(&files->routes[i], routes[i], err);
        if (rc < 0)
            return rc;
        for (size_t j = 0; j < i; j++)
            if (strcmp(files->routes[j].prefix, files->routes[i].prefix) == 0)
                return sl_error_set(err, SL_EINVAL, "static_files: %s is there twice",
                                    files->routes[i].prefix);
    }
    qsort(files->routes, n, sizeof *files->routes, by_prefix);
    return SL_OK;
}

static int
take_types(struct sl_files *files, const char *const *types, struct sl_error *err)
{
    size_t n = count(types);
    files->types = calloc(n + 1, sizeof *files->types);
    if (files->types == NULL)
        return sl_error_set(err, SL_ENOMEM, "static_types: out of memory");
    for (size_t i = 0; i < n; i++) {
        const char *equals = strchr(types[i], '=');
        if (equals == NULL || equals == types[i] || strchr(equals, '/') == NULL ||
            !sl_http_is_value(equals + 1, strlen(equals + 1)))
            return sl_error_set(err, SL_EINVAL,
                                "static_types: %.200s: must be ENDING=TYPE, e.g. md=text/markdown",
                                types[i]);
        const char *ending = types[i][0] == '.' ? types[i] + 1 : types[i];
        char *copy = strdup(ending);
        if (copy == NULL)
            return sl_error_set(err, SL_ENOMEM, "static_types: out of memory");
        copy[equals - ending] = '\0';
        files->types[i] = (struct sl_media_type){copy, copy + (equals - ending) + 1};
    }
    return SL_OK;
}

static int
take_roots(struct sl_files *files, const char *const *roots, struct sl_error *err)
{
    size_t n = count(roots);
    files->roots = calloc(n + 1, sizeof *files->roots);
    if (files->roots == NULL)
        return sl_error_set(err, SL_ENOMEM, "sendfile_roots: out of memory");
    for (size_t i = 0; i < n; i++) {
        struct stat status;
        if (roots[i][0] != '/')
            return sl_error_set(err, SL_EINVAL, "sendfile_roots: %.200s: must begin with a slash",
                                roots[i]);
        if (stat(roots[i], &status) < 0 || !S_ISDIR(status.st_mode))
            return sl_error_set(err, SL_EINVAL,
                                "sendfile_roots: %.200s: there is no such directory", roots[i]);
        files->roots[i] = copy_text(roots[i], strlen(roots[i]));
        if (files->roots[i] == NULL)
            return sl_error_set(err, SL_ENOMEM, "sendfile_roots: out of memory");
        if (strcmp(files->roots[i], "/") == 0)
            files->roots[i][0] = '\0';
        files->root_count = i + 1;
    }
    return SL_OK;
}

int
sl_files_open(const struct sl_files_options *options, struct sl_files **ret_files,
              struct sl_error *err)
{
    *ret_files = NULL;
    struct sl_files *files = calloc(1, sizeof *files);
    if (files == NULL)
        return sl_error_set(err, SL_ENOMEM, "static_files: out of memory");
    files->max_age_s = options->max_age_s;
    files->on_error = options->on_error;
    files->ctx = options->ctx;
    int rc = take_routes(files, options->routes, err);
    if (rc == SL_OK)
        rc = take_types(files, options->types, err);
    if (rc == SL_OK)
        rc = take_roots(files, options->sendfile_roots, err);
    if (rc < 0) {
        sl_files_close(files);
        return rc;
    }
    files->front = (struct sl_front){.serve = files->route_count > 0 ? serve : NULL,
                                     .send_file = files->root_count > 0 ? send_file : NULL,
                                     .ctx = files};
    *ret_files = files;
    return SL_OK;
}

const struct sl_front *
sl_files_front(const struct sl_files *files)
{
    return &files->front;
}

void
sl_files_close(struct sl_files *files)
{
    if (files == NULL)
        return;
    for (size_t i = 0; i < files->route_count; i++) {
        free(files->routes[i].prefix);
        free(files->routes[i].directory);
        if (files->routes[i].fd >= 0)
            close(files->routes[i].fd);
    }
    free(files->routes);
    for (struct sl_media_type *type = files->types; type != NULL && type->ending != NULL; type++)
        free((char *)type->ending);
    free(files->types);
    for (size_t i = 0; i < files->root_count; i++)
        free(files->roots[i]);
    free(files->roots);
    free(files);
}
