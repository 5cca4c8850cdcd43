/* Settings to the engine's options. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>
#include "host_c.h"

/* gunicorn's default of secure_scheme_headers, a setting that only a file can change. */
static const struct sl_scheme_header scheme_headers[] = {
    {"X-FORWARDED-PROTOCOL", "ssl"},
    {"X-FORWARDED-PROTO", "https"},
    {"X-FORWARDED-SSL", "on"},
    {NULL, NULL},
};

static uint32_t
milliseconds(const struct sl_config *config, const char *name)
{
    long long seconds = sl_config_number(config, name);
    return seconds > UINT32_MAX / 1000 ? UINT32_MAX : (uint32_t)(seconds * 1000);
}

static uint32_t
number(const struct sl_config *config, const char *name)
{
    return (uint32_t)sl_config_number(config, name);
}

static uint64_t
size(const struct sl_config *config, const char *name)
{
    return (uint64_t)sl_config_number(config, name);
}

/* Where bodies and answers lie that are too large for memory; NULL: nowhere. */
static const char *
spool_directory(void)
{
    const char *const places[] = {getenv("TMPDIR"), "/var/tmp", "/tmp"};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++)
        if (places[i] != NULL && access(places[i], W_OK | X_OK) == 0)
            return places[i];
    return NULL;
}

static uint64_t
draw_limit(const struct sl_config *config)
{
    uint64_t limit = (uint64_t)sl_config_number(config, "max_requests");
    uint64_t jitter = (uint64_t)sl_config_number(config, "max_requests_jitter");
    uint64_t drawn = 0;
    if (limit == 0 || jitter == 0 || getrandom(&drawn, sizeof drawn, GRND_NONBLOCK) < 0)
        return limit;
    return limit + drawn % (jitter + 1);
}

static uint32_t
linger(const struct sl_config *config)
{
    uint32_t limit = milliseconds(config, "graceful_timeout") / 3;
    uint32_t keepalive = milliseconds(config, "keepalive");
    limit = limit < 10000 ? limit : 10000;
    return keepalive < limit ? keepalive : limit;
}

/* The items in upper case; they live as long as the process. */
static const char *const *
upper_case(const char *const *items)
{
    size_t count = 0;
    while (items != NULL && items[count] != NULL)
        count++;
    const char **copy = calloc(count + 1, sizeof *copy);
    for (size_t i = 0; copy != NULL && i < count; i++) {
        char *text = strdup(items[i]);
        if (text == NULL)
            return NULL;
        for (char *p = text; *p != '\0'; p++)
            *p = (char)toupper((unsigned char)*p);
        copy[i] = text;
    }
    return copy;
}

static void
fill_limits(const struct sl_config *config, struct sl_http_limits *limits)
{
    limits->request_line = number(config, "limit_request_line");
    limits->fields = number(config, "limit_request_fields");
    limits->field_size = number(config, "limit_request_field_size");
    limits->head = number(config, "limit_request_head");
    limits->permit_obsolete_folding = number(config, "permit_obsolete_folding") != 0;
    limits->strip_header_spaces = number(config, "strip_header_spaces") != 0;
    limits->permit_unconventional_method = number(config, "permit_unconventional_http_method") != 0;
    limits->permit_unconventional_version =
        number(config, "permit_unconventional_http_version") != 0;
    limits->casefold_method = number(config, "casefold_http_method") != 0;
    limits->header_map = (enum sl_header_map)number(config, "header_map");
}

int
sl_worker_engine_options(struct sl_worker *worker, struct sl_engine_options *ret_options)
{
    const struct sl_config *config = worker->generation->config;
    struct sl_engine_options options = {
        .listener_fds = worker->listeners,
        .listener_count = worker->listener_count,
        .keepalive_ms = milliseconds(config, "keepalive"),
        .retire_linger_ms = linger(config),
        .header_timeout_ms = milliseconds(config, "header_timeout"),
        .body_timeout_ms = milliseconds(config, "body_timeout"),
        .min_body_rate = number(config, "min_body_rate"),
        .min_response_rate = number(config, "min_response_rate"),
        .max_body = size(config, "limit_request_body"),
        .body_buffer = size(config, "body_buffer"),
        .response_buffer = size(config, "response_buffer"),
        .spool_dir = spool_directory(),
        .spool_limit = size(config, "spool_limit"),
        .max_connections = number(config, "worker_connections"),
        .max_requests = draw_limit(config),
        .own_listeners = number(config, "reuse_port") != 0,
        .multiple_workers = number(config, "workers") > 1,
        .server_name = sl_config_text(config, "server_header"),
        .proxy_protocol = (uint8_t)number(config, "proxy_protocol"),
        .proxy_allow = sl_config_list(config, "proxy_allow_ips"),
        .forwarded_allow = sl_config_list(config, "forwarded_allow_ips"),
        .scheme_headers = scheme_headers,
        .slot = worker->info.slot,
    };
    if (options.server_name == NULL)
        options.server_name = "";
    fill_limits(config, &options.limits);
    options.limits.forwarder_headers = upper_case(sl_config_list(config, "forwarder_headers"));
    if (options.limits.forwarder_headers == NULL)
        return SL_ENOMEM;
    *ret_options = options;
    return SL_OK;
}
