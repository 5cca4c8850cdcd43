/* Settings that an application or a worker class has declared, read from NAME=VALUE. */
#include <stdlib.h>
#include <string.h>
#include "host_c.h"

static size_t
count_rows(const struct sl_setting *rows)
{
    size_t count = 0;
    while (rows != NULL && rows[count].name != NULL)
        count++;
    return count;
}

/* No bounds are written as none; a text may always be left out. */
static struct sl_setting
completed(const struct sl_setting *row)
{
    struct sl_setting copy = *row;
    if (copy.min == 0 && copy.max == 0) {
        copy.max = (long long)(~0ULL >> 1);
        copy.min = copy.type == SL_SETTING_SIZE ? 0 : -copy.max - 1;
    }
    if (copy.type == SL_SETTING_STRING)
        copy.flags |= SL_SETTING_NULLABLE;
    return copy;
}

static int
set(struct sl_values *values, size_t i, const char *text, struct sl_error *err)
{
    struct sl_setting row = completed(&values->rows[i]);
    if (text == NULL && row.type != SL_SETTING_STRING)
        text = "0";
    int rc = sl_setting_parse(&row, text, &values->numbers[i], err);
    if (rc != SL_OK || text == NULL)
        return rc;
    char *copy = strdup(text);
    if (copy == NULL)
        return sl_error_set(err, SL_ENOMEM, "%s: out of memory", row.name);
    free(values->texts[i]);
    values->texts[i] = copy;
    return SL_OK;
}

/* Whether given is "NAME=VALUE" of this row; then *ret_value is where the value begins. */
static bool
is_of(const struct sl_setting *row, const char *given, const char **ret_value)
{
    size_t len = strlen(row->name);
    if (strncmp(given, row->name, len) != 0 || given[len] != '=')
        return false;
    *ret_value = given + len + 1;
    return true;
}

bool
sl_values_has(const struct sl_setting *rows, const char *given)
{
    const char *value;
    while (rows != NULL && rows->name != NULL && !is_of(rows, given, &value))
        rows++;
    return rows != NULL && rows->name != NULL;
}

int
sl_values_init(struct sl_values *values, const struct sl_setting *rows, const char *const *given,
               struct sl_error *err)
{
    size_t count = count_rows(rows);
    *values = (struct sl_values){.rows = rows};
    if (count == 0)
        return SL_OK;
    values->texts = calloc(count, sizeof *values->texts);
    values->numbers = calloc(count, sizeof *values->numbers);
    int rc = values->texts != NULL && values->numbers != NULL
                 ? SL_OK
                 : sl_error_set(err, SL_ENOMEM, "out of memory");
    for (size_t i = 0; rc == SL_OK && i < count; i++) {
        rc = set(values, i, rows[i].default_text, err);
        for (size_t g = 0; rc == SL_OK && given != NULL && given[g] != NULL; g++) {
            const char *value;
            if (is_of(&rows[i], given[g], &value))
                rc = set(values, i, value, err);
        }
    }
    if (rc != SL_OK)
        sl_values_release(values);
    return rc;
}

void
sl_values_release(struct sl_values *values)
{
    size_t count = values->texts != NULL ? count_rows(values->rows) : 0;
    for (size_t i = 0; i < count; i++)
        free(values->texts[i]);
    free(values->texts);
    free(values->numbers);
    *values = (struct sl_values){0};
}

static size_t
find(const struct sl_values *values, const char *name)
{
    size_t count = values != NULL && values->texts != NULL ? count_rows(values->rows) : 0;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(values->rows[i].name, name) == 0)
            return i;
    }
    return SIZE_MAX;
}

const char *
sl_values_text(const struct sl_values *values, const char *name)
{
    size_t i = find(values, name);
    return i == SIZE_MAX ? NULL : values->texts[i];
}

long long
sl_values_number(const struct sl_values *values, const char *name)
{
    size_t i = find(values, name);
    return i == SIZE_MAX ? 0 : values->numbers[i];
}
