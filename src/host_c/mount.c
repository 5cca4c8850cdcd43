/* Applications below a path: setting mount, "/PREFIX=PATH.so[:NAME]". */
#include <stdlib.h>
#include <string.h>
#include "host_c.h"

int
sl_site_parse(struct sl_site *site, const char *text, struct sl_error *err)
{
    const char *equals = strchr(text, '=');
    if (text[0] != '/' || equals == NULL || equals[1] == '\0')
        return sl_error_set(err, SL_EINVAL, "mount: %.200s: is not /PREFIX=./APP.so[:NAME]", text);
    size_t len = (size_t)(equals - text);
    while (len > 0 && text[len - 1] == '/')
        len--;
    site->prefix = strndup(text, len);
    if (site->prefix == NULL)
        return sl_error_set(err, SL_ENOMEM, "out of memory");
    site->prefix_len = len;
    return sl_object_open(&site->object, SL_TABLE_APP, equals + 1, err);
}

/* /fast is at and above /fast and /fast/x, not /faster. Prefixes are compared as they come, percent
 * signs and all. */
bool
sl_path_is_below(struct sl_str path, const char *prefix, size_t len)
{
    return path.len >= len && memcmp(path.ptr, prefix, len) == 0 &&
           (path.len == len || path.ptr[len] == '/');
}

struct sl_site *
sl_sites_search(struct sl_generation *generation, const struct sl_request *req)
{
    for (size_t i = 0; i < generation->site_count; i++) {
        struct sl_site *site = &generation->sites[i];
        if (site->prefix == NULL || sl_path_is_below(req->path, site->prefix, site->prefix_len))
            return site;
    }
    return NULL;
}

/* ---- life in a worker -------------------------------------------------------------------------
 */

int
sl_sites_start(struct sl_worker *worker, struct sl_error *err)
{
    struct sl_generation *generation = worker->generation;
    for (size_t i = 0; i < generation->site_count; i++) {
        struct sl_site *site = &generation->sites[i];
        *err = (struct sl_error){.text = ""};
        site->state = site->data;
        worker->values = &site->values;
        int rc = site->app->start == NULL ? SL_OK
                                          : site->app->start(worker, site->data, &site->state, err);
        if (rc < 0) {
            if (err->text[0] == '\0')
                sl_error_set(err, rc, "start() of the application failed (%s)", sl_status_name(rc));
            return rc;
        }
        site->started = true;
    }
    return SL_OK;
}

void
sl_sites_stop(struct sl_worker *worker)
{
    struct sl_generation *generation = worker->generation;
    for (size_t i = 0; i < generation->site_count; i++) {
        struct sl_site *site = &generation->sites[i];
        if (site->started && site->app->stop != NULL)
            site->app->stop(site->state);
    }
}

/* Last started, first ended. */
void
sl_sites_exit(struct sl_worker *worker)
{
    struct sl_generation *generation = worker->generation;
    for (size_t i = generation->site_count; i-- > 0;) {
        struct sl_site *site = &generation->sites[i];
        if (site->started && site->app->exit != NULL)
            site->app->exit(site->state);
        site->started = false;
    }
}
