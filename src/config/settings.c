/* The table of settings as data: settings.def turned into an array, and looking names up in it. */
#include <string.h>
#include "config/config.h"

/* clang-format off */
static const struct sl_setting table[] = {
#define SL_SETTING(NAME, TYPE, DEFAULT_TEXT, MIN, MAX, CHOICES, WHEN, FLAGS, CLI, METAVAR,         \
                   SECTION, SUMMARY, MORE)                                                         \
    {#NAME, SL_SETTING_##TYPE, DEFAULT_TEXT, MIN, MAX, CHOICES, WHEN, FLAGS, CLI, METAVAR,         \
     SECTION, SUMMARY, MORE},
#include <saola/settings.def>
#undef SL_SETTING
};
/* clang-format on */

/* What is not built yet: the first line whose name is that of a row or of its section. */
static const struct lack {
    const char *name, *tail;
} lacks[] = {
    {"SSL", "(TLS): put a proxy in front that speaks TLS"},
    {"HTTP/2", "(HTTP/2): put a proxy in front that speaks HTTP/2"},
    {"Dirty Arbiters", "(dirty arbiters): leave it out"},
    {"Dirty Arbiter Hooks", "(dirty arbiters): leave it out"},
    {"Control", "(control socket): leave it out and use signals"},
    {"Logging", "(metrics): leave it out"},
    {"protocol", "(uwsgi protocol): speak http between proxy and server"},
    {"uwsgi_allow_ips", "(uwsgi protocol): speak http between proxy and server"},
};

const char *
sl_settings_lacking(const struct sl_setting *row)
{
    if (!(row->flags & SL_SETTING_UNAVAILABLE))
        return NULL;
    for (size_t i = 0; i < sizeof lacks / sizeof lacks[0]; i++) {
        if (strcmp(lacks[i].name, row->name) == 0 || strcmp(lacks[i].name, row->section) == 0)
            return lacks[i].tail;
    }
    return "(not built): leave it out";
}

size_t
sl_settings_count(void)
{
    return SL_ROW_COUNT;
}

const struct sl_setting *
sl_settings_at(size_t index)
{
    return index < SL_ROW_COUNT ? &table[index] : NULL;
}

const struct sl_setting *
sl_settings_find(const char *name)
{
    for (size_t i = 0; i < SL_ROW_COUNT; i++) {
        if (strcmp(table[i].name, name) == 0)
            return &table[i];
    }
    return NULL;
}

const char *
sl_settings_nearest(const char *name)
{
    const char *names[SL_ROW_COUNT];
    for (size_t i = 0; i < SL_ROW_COUNT; i++)
        names[i] = table[i].name;
    return sl_words_nearest(name, names, SL_ROW_COUNT);
}
