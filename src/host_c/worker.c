/* <saola/worker.h>: what code in a worker asks of it. The loop is in loop.c, signals in signals.c.
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include "host_c.h"

const struct sl_worker_info *
sl_worker_info(const struct sl_worker *worker)
{
    return &worker->info;
}

pid_t
sl_worker_pid(const struct sl_worker *worker)
{
    return worker->pid;
}

const struct sl_config *
sl_worker_config(const struct sl_worker *worker)
{
    return worker->generation->config;
}

const struct sl_values *
sl_worker_settings(const struct sl_worker *worker)
{
    return worker->values;
}

const int *
sl_worker_listeners(const struct sl_worker *worker, size_t *ret_count)
{
    *ret_count = worker->listener_count;
    return worker->listeners;
}

const struct sl_app *
sl_worker_app(const struct sl_worker *worker, void **ret_state)
{
    const struct sl_site *site = sl_generation_main(worker->generation);
    if (site == NULL)
        return NULL;
    if (ret_state != NULL)
        *ret_state = site->state;
    return site->app;
}

void
sl_worker_log(const struct sl_worker *worker, enum sl_log_level level, const char *format, ...)
{
    char text[2001];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    for (char *p = text; *p != '\0'; p++) {
        if (iscntrl((unsigned char)*p) && *p != '\t')
            *p = '?';
    }
    sl_errlog_write(worker->log, level, text);
}

void
sl_worker_beat(struct sl_worker *worker)
{
    sl_slot_beat(worker->info.slot);
}

bool
sl_worker_stopping(const struct sl_worker *worker)
{
    return worker->stopping != 0;
}

bool
sl_worker_quitting(const struct sl_worker *worker)
{
    return worker->quitting != 0;
}

int
sl_worker_stop_fd(const struct sl_worker *worker)
{
    return worker->stop_fd;
}

static int
patience(const struct sl_worker *worker, int timeout_ms)
{
    return timeout_ms >= 0 && timeout_ms < worker->tick_ms ? timeout_ms : worker->tick_ms;
}

int
sl_worker_turn(struct sl_worker *worker, int timeout_ms)
{
    sl_worker_beat(worker);
    sl_loop_c_turn(worker->loop, worker->stopping ? 0 : patience(worker, timeout_ms));
    sl_worker_beat(worker);
    sl_worker_chores(worker);
    return worker->stopping ? SL_ECLOSED : SL_OK;
}

int
sl_worker_wait(struct sl_worker *worker, int timeout_ms)
{
    long long until_ms = sl_now_ms() + timeout_ms, left_ms = timeout_ms;
    int rc;
    do {
        rc = sl_worker_turn(worker, timeout_ms < 0 ? -1 : (int)left_ms);
        left_ms = until_ms - sl_now_ms();
    } while (rc == SL_OK && (timeout_ms < 0 || left_ms > 0));
    return rc;
}

int
sl_response_send(struct sl_response *res, int status, const char *content_type, const void *body,
                 size_t len)
{
    int rc = sl_response_start_code(res, status);
    if (rc == SL_OK && content_type != NULL)
        rc = sl_response_header(res, "Content-Type", 12, content_type, strlen(content_type));
    if (rc != SL_OK)
        return rc;
    rc = sl_response_write(res, body, len, SL_WRITE_LAST);
    return rc == SL_EFULL || rc == SL_ECLOSED ? SL_OK : rc;
}
