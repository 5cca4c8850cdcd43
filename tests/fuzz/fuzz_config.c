/* Settings as text: lines NAME=VALUE, or NAME alone for no value; "!NAME" empties a list. Demanded:
 * a refusal leaves the value as it was and is one line that begins with the name; what is accepted
 * reads again as the same; the rules between settings end in a verdict and a sentence. */
#include <string.h>
#include <saola/config.h>
#include <saola/status.h>

#include "fuzz.h"

enum { MAX_INPUT = 4096, MAX_LINES = 12 };

static const struct sl_setting *
find(const char *name)
{
    for (size_t i = 0; i < sl_settings_count(); i++) {
        if (strcmp(sl_settings_at(i)->name, name) == 0)
            return sl_settings_at(i);
    }
    return NULL;
}

static char *
text_of(const struct sl_config *config, const char *name)
{
    const char *text = sl_config_text(config, name);
    char *copy = text != NULL ? strdup(text) : NULL;
    DEMAND(text == NULL || copy != NULL);
    return copy;
}

static bool
same(const char *a, const char *b)
{
    return (a == NULL) == (b == NULL) && (a == NULL || strcmp(a, b) == 0);
}

static void
demand_sentence(const struct sl_error *err, int rc, const char *name)
{
    DEMAND(err->code == rc);
    DEMAND(strlen(err->text) < sizeof err->text);
    if (name != NULL)
        DEMAND(strncmp(err->text, name, strlen(name)) == 0);
    else
        DEMAND(err->text[0] != '\0');
}

/* What --print-config shows can be given again: a list in one piece only where commas divide it. */
static void
demand_stable(const struct sl_setting *row, const char *text)
{
    static struct sl_config *other; /* what it holds of other rows does not matter */
    struct sl_error err;
    if (other == NULL)
        other = sl_config_new();
    DEMAND(other != NULL);
    DEMAND(sl_config_set(other, row->name, text, "again", &err) == SL_OK);
    DEMAND(same(sl_config_text(other, row->name), text));
}

static void
set(struct sl_config *config, const char *name, const char *value)
{
    const struct sl_setting *row = find(name);
    struct sl_error err = {.code = 0, .text = ""};
    char *before = row != NULL ? text_of(config, name) : NULL;
    int rc = sl_config_set(config, name, value, "fuzz", &err);
    DEMAND(rc == SL_OK || rc == SL_ENOENT || rc == SL_EINVAL || rc == SL_ERANGE ||
           rc == SL_EUNAVAILABLE);
    DEMAND((rc == SL_ENOENT) == (row == NULL));
    if (rc != SL_OK)
        demand_sentence(&err, rc, row != NULL ? name : NULL);
    char *after = row != NULL ? text_of(config, name) : NULL;
    if (rc != SL_OK)
        DEMAND(same(before, after));
    else if (row->type != SL_SETTING_LIST && row->type <= SL_SETTING_CHOICE)
        demand_stable(row, after);
    free(before);
    free(after);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > MAX_INPUT)
        return 0;
    struct sl_config *config = sl_config_new();
    char *text = malloc(size + 1), *save = NULL;
    DEMAND(config != NULL && text != NULL);
    memcpy(text, data, size);
    text[size] = '\0';
    char *line = strtok_r(text, "\n", &save);
    for (int i = 0; line != NULL && i < MAX_LINES; i++, line = strtok_r(NULL, "\n", &save)) {
        if (line[0] == '!') {
            int rc = sl_config_clear(config, line + 1);
            DEMAND(rc == SL_OK || rc == SL_ENOENT || rc == SL_EINVAL);
            continue;
        }
        char *value = strchr(line, '=');
        if (value != NULL)
            *value++ = '\0';
        set(config, line, value);
    }
    struct sl_error err = {.code = 0, .text = ""};
    int rc = sl_config_check(config, &err);
    DEMAND(rc == SL_OK || rc == SL_EINVAL);
    if (rc != SL_OK)
        demand_sentence(&err, rc, NULL);
    struct sl_config *other = sl_config_copy(config);
    DEMAND(other != NULL);
    sl_config_free(config);
    DEMAND(sl_config_check(other, NULL) == rc);
    sl_config_free(other);
    free(text);
    return 0;
}
