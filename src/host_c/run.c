/* sl_run(): from main() to the exit status.
 *
 * What a user can type wrongly ends here in one line, before anything is started: the command line,
 * the settings, a shared object that cannot be loaded (tried in a process of its own).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "host_c.h"

enum { ARGUMENTS_MAX = 4096, ARGUMENTS_BYTES = 1 << 20 };

static int
fail(int status, const struct sl_error *err)
{
    fprintf(stderr, "saola: %s\n", err->text);
    return status;
}

/* Descriptors 0 to 2 must be something. */
static int
open_streams(struct sl_error *err)
{
    int fd;
    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd < 0)
        return sl_error_set(err, SL_ESYS, "/dev/null: %s", strerror(errno));
    close(fd);
    return SL_OK;
}

/* The arguments of this process, one behind the other, for a program that has not given those of
 * its main(). The caller's to free. */
static char *
own_arguments(size_t *ret_len)
{
    char *text = malloc(ARGUMENTS_BYTES);
    int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t len = fd >= 0 && text != NULL ? read(fd, text, ARGUMENTS_BYTES - 1) : -1;
    if (fd >= 0)
        close(fd);
    if (len <= 0) {
        free(text);
        return NULL;
    }
    text[len] = '\0';
    *ret_len = (size_t)len;
    return text;
}

static int
add_argument(struct sl_host_c *host, size_t count, const char *arg, struct sl_error *err)
{
    host->exec_argv[count] = strdup(arg);
    return host->exec_argv[count] != NULL ? SL_OK : sl_error_set(err, SL_ENOMEM, "out of memory");
}

/* USR2 starts the same program with the same arguments; the title may overwrite the originals. */
static int
copy_arguments(struct sl_host_c *host, struct sl_error *err)
{
    const struct sl_run_options *options = host->options;
    size_t len = 0, count = 0;
    char *own = options->argc == 0 ? own_arguments(&len) : NULL;
    size_t max = options->argc > 0 ? (size_t)options->argc : ARGUMENTS_MAX;
    host->exec_argv = calloc(max + 1, sizeof *host->exec_argv);
    if (host->exec_argv == NULL || (options->argc == 0 && own == NULL)) {
        free(own);
        return sl_error_set(err, SL_ENOMEM, "the arguments of this program cannot be had");
    }
    int rc = SL_OK;
    for (const char *p = own; rc == SL_OK && p != NULL && p < own + len && count < max;
         p += strlen(p) + 1)
        rc = add_argument(host, count++, p, err);
    for (; rc == SL_OK && own == NULL && count < max; count++)
        rc = add_argument(host, count, options->argv[count], err);
    free(own);
    host->table.exec_argv = host->exec_argv;
    host->table.exec_program = host->exec_argv[0];
    return rc;
}

static int
enter(struct sl_host_c *host, const struct sl_config *config, struct sl_error *err)
{
    const char *path = sl_config_text(config, "chdir");
    host->start_dir = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (host->start_dir < 0)
        return sl_error_set(err, SL_ESYS, "the working directory: %s", strerror(errno));
    if (path != NULL && chdir(path) < 0)
        return sl_error_set(err, SL_ESYS, "chdir: %.300s: %s", path, strerror(errno));
    return SL_OK;
}

/* Runs the arbiter. Does not return in a worker. */
static int
serve(struct sl_host_c *host)
{
    struct sl_error err = {.text = ""};
    const struct sl_config *config = host->first->config;
    if (sl_errlog_open(host->first, &host->log, &err) != SL_OK)
        return fail(SL_EXIT_ERROR, &err);
    if (sl_config_number(config, "daemon") != 0 &&
        sl_daemonize(sl_config_number(config, "enable_stdio_inheritance") != 0, NULL, NULL, &err) !=
            SL_OK)
        return fail(SL_EXIT_ERROR, &err);
    (void)sl_title_init(&host->title);
    host->arbiter_pid = getpid();
    if (sl_reloader_new(host->first, &host->reloader, &err) != SL_OK ||
        sl_arbiter_new(&host->table, host, &host->arbiter, &err) != SL_OK)
        return fail(SL_EXIT_ERROR, &err);
    int status = sl_arbiter_run(host->arbiter);
    sl_arbiter_free(host->arbiter);
    sl_output_close(host);
    sl_title_release(&host->title);
    return status;
}

static void
release(struct sl_host_c *host)
{
    sl_generation_unref(host->first);
    sl_generation_unref(host->next);
    sl_generation_unref(host->current);
    sl_reloader_free(host->reloader);
    sl_errlog_close(host->log);
    free(host->listener_copy);
    free(host->opened);
    for (char **arg = host->exec_argv; arg != NULL && *arg != NULL; arg++)
        free(*arg);
    free(host->exec_argv);
    if (host->start_dir >= 0) {
        (void)!fchdir(host->start_dir);
        close(host->start_dir);
    }
}

static int
prepare(struct sl_host_c *host, struct sl_commandline *line, bool checks, int *ret_exit,
        struct sl_error *err)
{
    *ret_exit = SL_EXIT_ERROR;
    int rc = copy_arguments(host, err);
    if (rc == SL_OK)
        rc = enter(host, line->config, err);
    if (rc != SL_OK)
        return rc;
    bool named = line->app != NULL || sl_config_text(line->config, "wsgi_app") != NULL ||
                 host->options->app != NULL;
    rc = sl_generation_new(host, line, &host->first, err);
    bool waits = !checks && rc == SL_OK && sl_config_number(host->first->config, "reload") != 0;
    if (rc == SL_OK && !waits)
        rc = sl_pools_check(host->first, err);
    if (rc != SL_OK && rc != SL_ENOMEM && named)
        *ret_exit = rc == SL_EINVAL ? SL_EXIT_ERROR : SL_EXIT_APP_LOAD;
    if (rc != SL_OK)
        return rc;
    rc = sl_generation_check(host->first, ret_exit, err);
    /* The workers wait for a change then, and say why. */
    bool repairable = rc == SL_EINVAL || rc == SL_ENOENT;
    if (repairable && *ret_exit == SL_EXIT_APP_LOAD && waits &&
        sl_config_number(host->first->config, "preload_app") == 0)
        return SL_OK;
    return rc;
}

int
sl_run_program(const struct sl_run_options *options)
{
    struct sl_run_options own = *options;
    struct sl_host_c host = {.options = &own, .start_dir = -1};
    struct sl_error err = {.text = ""};
    struct sl_commandline line;
    int status;
    sl_host_c_init(&host);
    fflush(NULL); /* or each process writes what somebody has written */
    if (open_streams(&err) != SL_OK)
        return fail(SL_EXIT_ERROR, &err);
    if (sl_commandline_read(options, &line, &status, &err) != SL_OK)
        return status < 0 ? SL_EXIT_OK : fail(status, &err);
    bool check = line.check_config || line.print_config;
    if (line.print_config)
        sl_help_print_config(&line);
    int rc = prepare(&host, &line, check, &status, &err);
    if (options->argc > 0 && host.exec_argv != NULL)
        own.argv = host.exec_argv; /* a reload reads them again */
    sl_commandline_release(&line);
    if (rc != SL_OK)
        status = fail(status, &err);
    else if (check)
        status = SL_EXIT_OK;
    else
        status = serve(&host);
    release(&host);
    return status;
}

int
sl_run(const struct sl_run_options *options)
{
    struct sigaction before[_NSIG];
    sigset_t mask;
    for (int number = 1; number < _NSIG; number++) {
        if (sigaction(number, NULL, &before[number]) < 0)
            before[number].sa_flags = -1;
    }
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    int status = sl_run_program(options);
    for (int number = 1; number < _NSIG; number++) {
        if (before[number].sa_flags != -1)
            (void)sigaction(number, &before[number], NULL);
    }
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
    return status;
}
