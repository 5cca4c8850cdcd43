/* What --help, --help SETTING and --print-config say, from the table of settings. */
#include <stdio.h>
#include <string.h>
#include "host_c.h"

static bool
takes_value(const struct sl_setting *row)
{
    return row->type != SL_SETTING_BOOL;
}

static void
print_flags(const struct sl_setting *row)
{
    char text[120] = "";
    for (const char *p = row->cli; *p != '\0';) {
        size_t word = strcspn(p, " "), used = strlen(text);
        snprintf(text + used, sizeof text - used, "%s%.*s", used > 0 ? ", " : "", (int)word, p);
        p += word + (p[word] == ' ');
    }
    size_t used = strlen(text);
    if (takes_value(row) && row->metavar != NULL)
        snprintf(text + used, sizeof text - used, " %s", row->metavar);
    printf("  %-34s%s %s\n", text,
           strlen(text) > 33 ? "\n                                    " : "", row->summary);
}

static void
print_all(const char *program)
{
    const char *section = "";
    printf("usage: %s [OPTIONS] ./APP.so[:NAME]\n\n"
           "Serves an application written in C (or C++, ...). --help SETTING tells more of one.\n"
           "\n  %-34s %s\n  %-34s %s\n",
           program, "-h, --help [SETTING]", "This text, or one setting.", "-v, --version",
           "The version.");
    for (size_t i = 0; i < sl_settings_count(); i++) {
        const struct sl_setting *row = sl_settings_at(i);
        if (row->cli == NULL || (row->flags & SL_SETTING_UNAVAILABLE))
            continue;
        if (strcmp(row->section, section) != 0)
            printf("\n%s:\n", row->section);
        section = row->section;
        print_flags(row);
    }
}

void
sl_help_print(const char *program, const char *setting)
{
    const char *slash = strrchr(program, '/');
    const struct sl_setting *row = setting != NULL ? sl_settings_find(setting) : NULL;
    for (size_t i = 0; row == NULL && setting != NULL && i < sl_settings_count(); i++) {
        const char *cli = sl_settings_at(i)->cli;
        const char *at = cli != NULL && setting[0] == '-' ? strstr(cli, setting) : NULL;
        size_t len = strlen(setting);
        if (at != NULL && (at == cli || at[-1] == ' ') && (at[len] == ' ' || at[len] == '\0'))
            row = sl_settings_at(i);
    }
    if (row == NULL) {
        if (setting != NULL && setting[0] != '\0')
            fprintf(stderr, "saola: --help: no setting is called %s\n", setting);
        print_all(slash != NULL ? slash + 1 : program);
        return;
    }
    printf("%s (%s)\n", row->name, row->section);
    if (row->cli != NULL)
        print_flags(row);
    printf("\n%s\n", row->summary);
    if (row->more[0] != '\0')
        printf("%s\n", row->more);
    printf("\nDefault: %s\n", row->default_text != NULL ? row->default_text : "none");
    if (row->choices != NULL)
        printf("One of: %s\n", row->choices);
}

void
sl_help_print_config(const struct sl_commandline *line)
{
    if (line->app != NULL)
        printf("application = %s\n", line->app);
    printf("worker_class = %s\n", line->worker_class != NULL ? line->worker_class : "sync");
    for (size_t i = 0; i < sl_settings_count(); i++) {
        const struct sl_setting *row = sl_settings_at(i);
        if (row->type >= SL_SETTING_CALLABLE)
            continue;
        const char *text = sl_config_text(line->config, row->name);
        const char *source = sl_config_source(line->config, row->name);
        if (source != NULL)
            printf("%s = %s  (%s)\n", row->name,
                   row->flags & SL_SETTING_SECRET ? "********"
                   : text != NULL                 ? text
                                                  : "none",
                   source);
        else
            printf("%s = %s\n", row->name, text != NULL ? text : "none");
    }
}
