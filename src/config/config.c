/* One loaded configuration: finds the field of a row, stores values in it, remembers their text and
 * where they came from.
 *
 * Every value enters through sl_value_parse(), the defaults of settings.def too: sl_config_new() is
 * a sl_config_set() of each row. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "config/value.h"

enum { WORKER_MEMORY_MIN = 16 << 20 };

#define SL_OFFSET_FIELD(NAME) offsetof(struct sl_config, NAME)
#define SL_OFFSET_BOOL SL_OFFSET_FIELD
#define SL_OFFSET_INT SL_OFFSET_FIELD
#define SL_OFFSET_OCTAL SL_OFFSET_FIELD
#define SL_OFFSET_SIZE SL_OFFSET_FIELD
#define SL_OFFSET_STRING SL_OFFSET_FIELD
#define SL_OFFSET_LIST SL_OFFSET_FIELD
#define SL_OFFSET_CSV SL_OFFSET_FIELD
#define SL_OFFSET_ADDRS SL_OFFSET_FIELD
#define SL_OFFSET_CHOICE SL_OFFSET_FIELD
#define SL_OFFSET_CALLABLE(NAME) 0
#define SL_OFFSET_CLASS(NAME) 0
#define SL_OFFSET_DICT(NAME) 0
#define SL_OFFSET_ANY(NAME) 0

/* Where each row's field lies; 0 and never looked at for rows of the host. */
static const size_t offsets[SL_ROW_COUNT] = {
#define SL_SETTING(NAME, TYPE, ...) SL_OFFSET_##TYPE(NAME),
#include <saola/settings.def>
#undef SL_SETTING
};

static size_t
row_index(const struct sl_setting *row)
{
    return (size_t)(row - sl_settings_at(0));
}

static union sl_value
load(const struct sl_config *config, const struct sl_setting *row)
{
    const void *field = (const char *)config + offsets[row_index(row)];
    union sl_value value = {0};
    switch (row->type) {
    case SL_SETTING_BOOL:
        value.flag = *(const bool *)field;
        break;
    case SL_SETTING_INT:
    case SL_SETTING_OCTAL:
    case SL_SETTING_SIZE:
        value.number = *(const long long *)field;
        break;
    case SL_SETTING_CHOICE:
        value.choice = *(const int *)field;
        break;
    case SL_SETTING_STRING:
        value.string = *(char *const *)field;
        break;
    default:
        value.list = *(const struct sl_config_list *)field;
        break;
    }
    return value;
}

static void
store(struct sl_config *config, const struct sl_setting *row, const union sl_value *value)
{
    void *field = (char *)config + offsets[row_index(row)];
    switch (row->type) {
    case SL_SETTING_BOOL:
        *(bool *)field = value->flag;
        break;
    case SL_SETTING_INT:
    case SL_SETTING_OCTAL:
    case SL_SETTING_SIZE:
        *(long long *)field = value->number;
        break;
    case SL_SETTING_CHOICE:
        *(int *)field = value->choice;
        break;
    case SL_SETTING_STRING:
        *(char **)field = value->string;
        break;
    default:
        *(struct sl_config_list *)field = value->list;
        break;
    }
}

static void
release_row(struct sl_config *config, const struct sl_setting *row)
{
    size_t i = row_index(row);
    if (sl_value_is_core(row->type)) {
        union sl_value value = load(config, row);
        sl_value_release(row->type, &value);
        store(config, row, &value);
    }
    free(config->texts[i]);
    free(config->sources[i]);
    config->texts[i] = config->sources[i] = NULL;
}

void
sl_config_free(struct sl_config *config)
{
    if (config == NULL)
        return;
    for (size_t i = 0; i < SL_ROW_COUNT; i++)
        release_row(config, sl_settings_at(i));
    free(config);
}

static int
set_default(struct sl_config *config, const struct sl_setting *row)
{
    union sl_value value;
    int rc = sl_value_parse(row, row->default_text, &value, NULL);
    if (rc != SL_OK)
        return rc;
    store(config, row, &value);
    return sl_value_format(row, &value, &config->texts[row_index(row)]);
}

struct sl_config *
sl_config_new(void)
{
    struct sl_config *config = calloc(1, sizeof *config);
    for (size_t i = 0; config != NULL && i < SL_ROW_COUNT; i++) {
        const struct sl_setting *row = sl_settings_at(i);
        if (sl_value_is_core(row->type) && set_default(config, row) != SL_OK) {
            sl_config_free(config);
            return NULL;
        }
    }
    return config;
}

/* Writes the row's value, text and source at once, or nothing. Takes value, also on failure. */
static int
replace(struct sl_config *config, const struct sl_setting *row, union sl_value *value,
        const char *source)
{
    char *text = NULL, *source_copy = NULL;
    if (source != NULL)
        source_copy = strdup(source);
    if ((source != NULL && source_copy == NULL) || sl_value_format(row, value, &text) != SL_OK) {
        free(source_copy);
        sl_value_release(row->type, value);
        return SL_ENOMEM;
    }
    size_t i = row_index(row);
    release_row(config, row);
    store(config, row, value);
    config->texts[i] = text;
    config->sources[i] = source_copy;
    config->started[i] = true;
    return SL_OK;
}

/* The items there are, copied, and then those of value. */
static int
prepend_present(const struct sl_config *config, const struct sl_setting *row, union sl_value *value)
{
    struct sl_config_list all = {0};
    union sl_value present = load(config, row);
    int rc = SL_OK;
    for (size_t i = 0; rc == SL_OK && i < present.list.count; i++) {
        union sl_value one;
        rc = sl_value_parse(row, present.list.items[i], &one, NULL);
        if (rc != SL_OK)
            break;
        rc = sl_list_extend(&all, &one.list);
        sl_value_release(row->type, &one);
    }
    if (rc == SL_OK)
        rc = sl_list_extend(&all, &value->list);
    sl_value_release(row->type, value);
    value->list = all;
    if (rc != SL_OK)
        sl_value_release(row->type, value);
    return rc;
}

static bool
is_default(const struct sl_setting *row, const union sl_value *value)
{
    char *text = NULL, *default_text = NULL;
    union sl_value parsed;
    if (sl_value_parse(row, row->default_text, &parsed, NULL) != SL_OK)
        return false;
    bool same = sl_value_format(row, value, &text) == SL_OK &&
                sl_value_format(row, &parsed, &default_text) == SL_OK &&
                (text == NULL || default_text == NULL ? text == default_text
                                                      : strcmp(text, default_text) == 0);
    free(text);
    free(default_text);
    sl_value_release(row->type, &parsed);
    return same;
}

static int
refuse_unknown(const char *name, struct sl_error *err)
{
    const char *nearest = sl_settings_nearest(name);
    if (nearest != NULL)
        return sl_error_set(err, SL_ENOENT, "%.80s: no such setting; did you mean %s?", name,
                            nearest);
    return sl_error_set(err, SL_ENOENT, "%.80s: no such setting", name);
}

int
sl_config_set(struct sl_config *config, const char *name, const char *text, const char *source,
              struct sl_error *err)
{
    const struct sl_setting *row = sl_settings_find(name);
    if (row == NULL)
        return refuse_unknown(name, err);
    if (!sl_value_is_core(row->type))
        return sl_error_set(err, SL_EINVAL, "%s: is not a setting of the core", name);
    union sl_value value;
    int rc = sl_value_parse(row, text, &value, err);
    if (rc != SL_OK)
        return rc;
    if ((row->flags & SL_SETTING_UNAVAILABLE) && !is_default(row, &value)) {
        sl_value_release(row->type, &value);
        return sl_error_set(err, SL_EUNAVAILABLE, "%s: is not available yet %s", name,
                            sl_settings_lacking(row));
    }
    if (row->type == SL_SETTING_LIST && config->started[row_index(row)])
        rc = prepend_present(config, row, &value);
    if (rc == SL_OK)
        rc = replace(config, row, &value, source);
    return rc == SL_OK ? SL_OK : sl_error_set(err, rc, "%s: out of memory", name);
}

int
sl_config_clear(struct sl_config *config, const char *name)
{
    const struct sl_setting *row = sl_settings_find(name);
    if (row == NULL)
        return SL_ENOENT;
    if (row->type != SL_SETTING_LIST)
        return SL_EINVAL;
    union sl_value value;
    int rc = sl_value_parse(row, NULL, &value, NULL);
    return rc == SL_OK ? replace(config, row, &value, config->sources[row_index(row)]) : rc;
}

/* What an exclusive worker excludes. Each line names the two settings. */
static int
check_exclusive(const struct sl_config *config, struct sl_error *err)
{
    if (config->workers > 1)
        return sl_error_set(err, SL_EINVAL,
                            "workers: hand_over = 'exclusive' means one worker, not %lld; set "
                            "workers = 1 (more threads serve more requests at once)",
                            config->workers);
    if (config->preload_app)
        return sl_error_set(err, SL_EINVAL,
                            "preload_app: cannot be used with hand_over = 'exclusive': each new "
                            "worker would begin with the state of the start; leave it out");
    if (config->reuse_port)
        return sl_error_set(
            err, SL_EINVAL,
            "reuse_port: cannot be used with hand_over = 'exclusive': clients would "
            "be refused between two workers; leave it out");
    return SL_OK;
}

/* Limits that would end every worker, or never do what they say. */
static int
check_memory(const struct sl_config *config, struct sl_error *err)
{
    static const char *const names[] = {"max_worker_memory", "max_worker_memory_hard"};
    const long long limits[] = {config->max_worker_memory, config->max_worker_memory_hard};
    for (size_t i = 0; i < 2; i++) {
        if (limits[i] > 0 && limits[i] < WORKER_MEMORY_MIN)
            return sl_error_set(err, SL_EINVAL,
                                "%s: %s is less than any worker needs (%d MiB); write 512M for "
                                "512 MiB",
                                names[i], sl_config_text(config, names[i]),
                                WORKER_MEMORY_MIN >> 20);
    }
    if (limits[1] > 0 && limits[1] <= limits[0] + config->max_worker_memory_jitter)
        return sl_error_set(err, SL_EINVAL,
                            "max_worker_memory_hard: %s must be more than max_worker_memory and "
                            "its jitter together; raise it, or leave one of the two out",
                            sl_config_text(config, names[1]));
    return SL_OK;
}

int
sl_config_check(const struct sl_config *config, struct sl_error *err)
{
    int rc = check_memory(config, err);
    if (rc == SL_OK && config->hand_over == SL_HAND_OVER_EXCLUSIVE)
        rc = check_exclusive(config, err);
    return rc;
}

/* Stores a copy of one row. */
static int
copy_row(struct sl_config *to, const struct sl_config *from, const struct sl_setting *row)
{
    size_t i = row_index(row);
    union sl_value value = load(from, row);
    union sl_value twin = value;
    int rc = SL_OK;
    if (row->type == SL_SETTING_STRING) {
        rc = sl_value_parse(row, value.string, &twin, NULL);
    } else if (row->type >= SL_SETTING_LIST && row->type <= SL_SETTING_ADDRS) {
        twin = (union sl_value){0};
        rc = prepend_present(from, row, &twin);
    }
    if (rc == SL_OK)
        rc = replace(to, row, &twin, from->sources[i]);
    to->started[i] = from->started[i];
    return rc;
}

struct sl_config *
sl_config_copy(const struct sl_config *config)
{
    struct sl_config *copy = sl_config_new();
    for (size_t i = 0; copy != NULL && i < SL_ROW_COUNT; i++) {
        const struct sl_setting *row = sl_settings_at(i);
        if (sl_value_is_core(row->type) && copy_row(copy, config, row) != SL_OK) {
            sl_config_free(copy);
            return NULL;
        }
    }
    return copy;
}

const char *
sl_config_text(const struct sl_config *config, const char *name)
{
    const struct sl_setting *row = sl_settings_find(name);
    return row != NULL ? config->texts[row_index(row)] : NULL;
}

const char *
sl_config_source(const struct sl_config *config, const char *name)
{
    const struct sl_setting *row = sl_settings_find(name);
    return row != NULL ? config->sources[row_index(row)] : NULL;
}

/* What a BOOL, INT, OCTAL, SIZE or CHOICE is as a number. */
static long long
number_of(enum sl_setting_type type, const union sl_value *value)
{
    switch (type) {
    case SL_SETTING_BOOL:
        return value->flag;
    case SL_SETTING_INT:
    case SL_SETTING_OCTAL:
    case SL_SETTING_SIZE:
        return value->number;
    case SL_SETTING_CHOICE:
        return value->choice;
    default:
        return 0;
    }
}

long long
sl_config_number(const struct sl_config *config, const char *name)
{
    const struct sl_setting *row = sl_settings_find(name);
    if (row == NULL || !sl_value_is_core(row->type))
        return 0;
    union sl_value value = load(config, row);
    return number_of(row->type, &value);
}

const char *const *
sl_config_list(const struct sl_config *config, const char *name)
{
    const struct sl_setting *row = sl_settings_find(name);
    if (row == NULL || row->type < SL_SETTING_LIST || row->type > SL_SETTING_ADDRS)
        return NULL;
    return (const char *const *)load(config, row).list.items;
}

int
sl_setting_parse(const struct sl_setting *row, const char *text, long long *ret_number,
                 struct sl_error *err)
{
    union sl_value value;
    if (!sl_value_is_core(row->type))
        return sl_error_set(err, SL_EINVAL, "%s: is not of a type that text can give", row->name);
    int rc = sl_value_parse(row, text, &value, err);
    if (rc != SL_OK)
        return rc;
    if (ret_number != NULL)
        *ret_number = number_of(row->type, &value);
    sl_value_release(row->type, &value);
    return SL_OK;
}
