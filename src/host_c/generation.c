/* One loaded configuration and the tables it names. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "host_c.h"

/* ---- opening ----------------------------------------------------------------------------------
 */

static int
compare_sites(const void *a, const void *b)
{
    const struct sl_site *one = a, *other = b;
    if (one->prefix == NULL || other->prefix == NULL)
        return (one->prefix == NULL) - (other->prefix == NULL);
    return (int)other->prefix_len - (int)one->prefix_len;
}

static int
open_sites(struct sl_host_c *host, struct sl_generation *generation, const char *app,
           struct sl_error *err)
{
    const char *const *mounts = sl_config_list(generation->config, "mount");
    size_t count = 0;
    while (mounts != NULL && mounts[count] != NULL)
        count++;
    generation->sites = calloc(count + 1, sizeof *generation->sites);
    if (generation->sites == NULL)
        return sl_error_set(err, SL_ENOMEM, "out of memory");
    for (size_t i = 0; i < count; i++) {
        int rc = sl_site_parse(&generation->sites[generation->site_count++], mounts[i], err);
        if (rc != SL_OK)
            return rc;
    }
    if (host->options->app != NULL) {
        generation->sites[generation->site_count++].app = host->options->app;
    } else if (app != NULL) {
        if (!sl_object_is_named(app))
            return sl_error_set(err, SL_ENOENT,
                                "%.200s: is not an application in C; write ./%.200s.so, or use the "
                                "saola of Python for one in Python",
                                app, app);
        struct sl_site *site = &generation->sites[generation->site_count++];
        int rc = sl_object_open(&site->object, SL_TABLE_APP, app, err);
        if (rc != SL_OK)
            return rc;
    }
    qsort(generation->sites, generation->site_count, sizeof *generation->sites, compare_sites);
    return SL_OK;
}

static int
choose_class(struct sl_host_c *host, struct sl_generation *generation, const char *named,
             struct sl_error *err)
{
    if (host->options->worker_class != NULL && named == NULL) {
        generation->worker_class = host->options->worker_class;
        int rc = sl_object_check(SL_TABLE_WORKER_CLASS, generation->worker_class,
                                 "the worker class of this program", err);
        if (rc != SL_OK)
            return rc;
        named = generation->worker_class->name != NULL ? generation->worker_class->name : "own";
    } else if (named != NULL && sl_object_is_named(named)) {
        int rc = sl_object_open(&generation->class_object, SL_TABLE_WORKER_CLASS, named, err);
        if (rc != SL_OK)
            return rc;
    } else if (named == NULL || strcmp(named, "sync") == 0) {
        bool threads = sl_config_number(generation->config, "threads") > 1;
        generation->worker_class = threads ? &sl_worker_gthread : &sl_worker_sync;
        named = generation->worker_class->name;
    } else if (strcmp(named, "gthread") == 0) {
        generation->worker_class = &sl_worker_gthread;
    } else {
        return sl_error_set(err, SL_EINVAL,
                            "worker_class: %.100s needs Python; there are sync, gthread and "
                            "./CLASS.so[:NAME]",
                            named);
    }
    generation->class_name = strdup(named);
    return generation->class_name != NULL ? SL_OK : sl_error_set(err, SL_ENOMEM, "out of memory");
}

/* The arbiter needs them, so it loads them. */
static int
load_hooks(struct sl_host_c *host, struct sl_generation *generation, struct sl_error *err)
{
    const char *text = sl_config_text(generation->config, "native_hooks");
    const void *table;
    if (host->options->hooks != NULL) {
        generation->hooks = host->options->hooks;
        return sl_object_check(SL_TABLE_HOOKS, generation->hooks, "the hooks of this program", err);
    }
    if (text == NULL || *text == '\0')
        return SL_OK;
    int rc = sl_object_open(&generation->hooks_object, SL_TABLE_HOOKS, text, err);
    if (rc == SL_OK)
        rc = sl_object_load(&generation->hooks_object, &table, err);
    if (rc == SL_OK)
        generation->hooks = table;
    return rc;
}

int
sl_generation_new(struct sl_host_c *host, struct sl_commandline *line,
                  struct sl_generation **ret_generation, struct sl_error *err)
{
    struct sl_generation *generation = calloc(1, sizeof *generation);
    if (generation == NULL)
        return sl_error_set(err, SL_ENOMEM, "out of memory");
    generation->refs = 1;
    generation->report_fds[0] = generation->report_fds[1] = -1;
    generation->config = line->config;
    line->config = NULL;
    const char *app =
        line->app != NULL ? line->app : sl_config_text(generation->config, "wsgi_app");
    int rc = sl_syslog_check(generation->config, err);
    if (rc == SL_OK)
        rc = open_sites(host, generation, app, err);
    if (rc == SL_OK)
        rc = choose_class(host, generation, line->worker_class, err);
    if (rc == SL_OK)
        rc = load_hooks(host, generation, err);
    if (rc == SL_OK)
        rc = sl_pools_load(host, generation, err);
    if (rc == SL_OK && generation->site_count == 0 && generation->pool_count == 0 &&
        (generation->worker_class == &sl_worker_sync ||
         generation->worker_class == &sl_worker_gthread))
        rc = sl_error_set(err, SL_EINVAL, "No application: name one, as in saola ./app.so");
    if (rc == SL_OK && (pipe2(generation->report_fds, O_CLOEXEC | O_NONBLOCK) < 0 ||
                        write(generation->report_fds[1], "1", 1) != 1))
        rc = sl_error_set(err, SL_ESYS, "no pipe for the workers: %s", strerror(errno));
    if (rc != SL_OK) {
        sl_generation_unref(generation);
        return rc;
    }
    *ret_generation = generation;
    return SL_OK;
}

static void
free_generation(struct sl_generation *generation)
{
    for (size_t i = 0; i < generation->site_count; i++) {
        struct sl_site *site = &generation->sites[i];
        sl_values_release(&site->values);
        sl_object_close(&site->object);
        free(site->prefix);
    }
    free(generation->sites);
    sl_pools_release(generation);
    sl_values_release(&generation->class_values);
    sl_object_close(&generation->class_object);
    sl_object_close(&generation->hooks_object);
    free(generation->class_name);
    if (generation->report_fds[0] >= 0) {
        close(generation->report_fds[0]);
        close(generation->report_fds[1]);
    }
    sl_config_free(generation->config);
    free(generation);
}

void
sl_generation_unref(struct sl_generation *generation)
{
    if (generation != NULL && --generation->refs == 0)
        free_generation(generation);
}

const struct sl_site *
sl_generation_main(const struct sl_generation *generation)
{
    const struct sl_site *last =
        generation->site_count > 0 ? &generation->sites[generation->site_count - 1] : NULL;
    return last != NULL && last->prefix == NULL ? last : NULL;
}

const char *
sl_generation_name(const struct sl_generation *generation)
{
    const char *name = sl_config_text(generation->config, "proc_name");
    const struct sl_site *main = sl_generation_main(generation);
    if (name != NULL)
        return name;
    if (main != NULL && main->object.path != NULL)
        return main->object.path;
    return main != NULL && main->app->name != NULL ? main->app->name : "saola";
}

/* ---- loading ----------------------------------------------------------------------------------
 */

static int
load_site(struct sl_site *site, struct sl_error *err)
{
    const void *table;
    if (site->app != NULL)
        return sl_object_check(SL_TABLE_APP, site->app, "the application of this program", err);
    int rc = sl_object_load(&site->object, &table, err);
    if (rc == SL_OK)
        site->app = table;
    return rc;
}

/* Settings that somebody here has declared: applications, the worker class, pools. False: there are
 * no more. */
static bool
declared(const struct sl_generation *generation, size_t i, const struct sl_setting **ret_rows)
{
    if (i < generation->site_count) {
        *ret_rows = generation->sites[i].app->settings;
        return true;
    }
    i -= generation->site_count;
    if (i == 0) {
        *ret_rows = generation->worker_class->settings;
        return true;
    }
    if (i <= generation->pool_count)
        *ret_rows = generation->pools[i - 1].table->settings;
    return i <= generation->pool_count;
}

static int
refuse(const struct sl_generation *generation, const char *text, struct sl_error *err)
{
    const char *names[64];
    const struct sl_setting *row;
    size_t count = 0;
    char name[80];
    snprintf(name, sizeof name, "%.*s", (int)strcspn(text, "="), text);
    for (size_t i = 0; declared(generation, i, &row); i++) {
        for (; row != NULL && row->name != NULL && count < 64; row++)
            names[count++] = row->name;
    }
    const char *nearest = sl_words_nearest(name, names, count);
    if (strchr(text, '=') == NULL)
        return sl_error_set(err, SL_EINVAL, "--set %s: write NAME=VALUE", name);
    return sl_error_set(err, SL_ENOENT, "--set %s: no application here has such a setting%s%s%s",
                        name, nearest != NULL ? "; did you mean " : "",
                        nearest != NULL ? nearest : "", nearest != NULL ? "?" : "");
}

static int
refuse_unknown(const struct sl_generation *generation, const char *const *given,
               struct sl_error *err)
{
    const struct sl_setting *rows;
    for (; given != NULL && *given != NULL; given++) {
        bool known = false;
        for (size_t i = 0; !known && declared(generation, i, &rows); i++)
            known = sl_values_has(rows, *given);
        if (!known)
            return refuse(generation, *given, err);
    }
    return SL_OK;
}

/* Those of pools were read when they were loaded; what a broken one declares nobody knows. */
static int
read_values(struct sl_generation *generation, struct sl_error *err)
{
    const char *const *given = sl_config_list(generation->config, "app_settings");
    int rc = SL_OK;
    for (size_t i = 0; rc == SL_OK && i < generation->site_count; i++)
        rc = sl_values_init(&generation->sites[i].values, generation->sites[i].app->settings, given,
                            err);
    if (rc == SL_OK)
        rc = sl_values_init(&generation->class_values, generation->worker_class->settings, given,
                            err);
    if (rc != SL_OK || generation->shares_settings || sl_pools_check(generation, NULL) != SL_OK)
        return rc;
    return refuse_unknown(generation, given, err);
}

int
sl_generation_load_tables(struct sl_generation *generation, int *ret_exit, struct sl_error *err)
{
    const void *table;
    *ret_exit = SL_EXIT_APP_LOAD;
    for (size_t i = 0; i < generation->site_count; i++) {
        int rc = load_site(&generation->sites[i], err);
        if (rc != SL_OK)
            return rc;
    }
    *ret_exit = SL_EXIT_ERROR;
    if (generation->worker_class == NULL) {
        int rc = sl_object_load(&generation->class_object, &table, err);
        if (rc != SL_OK)
            return rc;
        generation->worker_class = table;
    }
    return read_values(generation, err);
}

int
sl_generation_load_apps(struct sl_generation *generation, struct sl_error *err)
{
    for (size_t i = 0; i < generation->site_count; i++) {
        struct sl_site *site = &generation->sites[i];
        if (site->loaded)
            continue;
        *err = (struct sl_error){.text = ""};
        int rc = site->app->load == NULL ? SL_OK : site->app->load(&site->values, &site->data, err);
        if (rc < 0) {
            if (err->text[0] == '\0')
                sl_error_set(err, rc, "load() of the application failed (%s)", sl_status_name(rc));
            return rc;
        }
        site->loaded = true;
    }
    return SL_OK;
}
