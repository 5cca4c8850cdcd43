/* Flags and environment to a configuration, by the table of settings. Later ones win: defaults,
 * defaults of the program (sl_run()), PORT and its like, GUNICORN_CMD_ARGS, SAOLA_CMD_ARGS, command
 * line. There is no configuration file: those are Python.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "host_c.h"

enum { ROWS_MAX = 256 };

/* One source of flags. */
struct reader {
    struct sl_commandline *line;
    const char *source; /* "command line", "environment SAOLA_CMD_ARGS" */
    bool last;          /* the command line: names the application, once */
    bool seen[ROWS_MAX];
    struct sl_error *err;
};

/* Rows that only the Python program can honour. */
static const char *const python_only[] = {
    "logger_class", "logconfig",     "logconfig_json", "spew",
    "asgi_loop",    "asgi_lifespan", "paste",          "raw_paste_global_conf",
};

static bool
needs_python(const struct sl_setting *row)
{
    for (size_t i = 0; i < sizeof python_only / sizeof python_only[0]; i++) {
        if (strcmp(row->name, python_only[i]) == 0)
            return true;
    }
    return false;
}

/* ---- one setting ------------------------------------------------------------------------------
 */

static int
set_text(char **field, const char *text, struct sl_error *err)
{
    char *copy = strdup(text);
    if (copy == NULL)
        return sl_error_set(err, SL_ENOMEM, "out of memory");
    free(*field);
    *field = copy;
    return SL_OK;
}

static int
set(struct reader *reader, const struct sl_setting *row, const char *text)
{
    struct sl_config *config = reader->line->config;
    size_t index = (size_t)(row - sl_settings_at(0));
    if (strcmp(row->name, "worker_class") == 0)
        return set_text(&reader->line->worker_class, text, reader->err);
    if (strcmp(row->name, "config") == 0)
        return sl_error_set(reader->err, SL_EUNAVAILABLE,
                            "config: a configuration file is a Python program, and this saola is "
                            "without Python: use flags, or SAOLA_CMD_ARGS in the environment");
    if (needs_python(row))
        return sl_error_set(reader->err, SL_EUNAVAILABLE,
                            "%s: is not there in the saola without Python", row->name);
    if (strcmp(row->name, "check_config") == 0)
        reader->line->check_config = true;
    if (strcmp(row->name, "print_config") == 0)
        reader->line->print_config = true;
    if (row->type == SL_SETTING_LIST && index < ROWS_MAX && !reader->seen[index]) {
        (void)sl_config_clear(config, row->name);
        reader->seen[index] = true;
    }
    return sl_config_set(config, row->name, text, reader->source, reader->err);
}

/* ---- one flag ---------------------------------------------------------------------------------
 */

/* Whether the words of row->cli have this one. */
static bool
has_flag(const struct sl_setting *row, const char *flag, size_t len)
{
    for (const char *p = row->cli; p != NULL && *p != '\0';) {
        size_t word = strcspn(p, " ");
        if (word == len && memcmp(p, flag, len) == 0)
            return true;
        p += word + (p[word] == ' ');
    }
    return false;
}

static const struct sl_setting *
find_flag(const char *flag, size_t len)
{
    for (size_t i = 0; i < sl_settings_count(); i++) {
        if (has_flag(sl_settings_at(i), flag, len))
            return sl_settings_at(i);
    }
    return NULL;
}

static int
refuse_flag(struct reader *reader, const char *flag, size_t len)
{
    const char *names[2 * ROWS_MAX];
    char *copies[2 * ROWS_MAX], given[80];
    size_t count = 0;
    for (size_t i = 0; i < sl_settings_count(); i++) {
        const char *cli = sl_settings_at(i)->cli;
        for (const char *p = cli; p != NULL && *p != '\0' && count < 2 * ROWS_MAX;) {
            size_t word = strcspn(p, " ");
            if ((copies[count] = strndup(p, word)) != NULL) {
                names[count] = copies[count];
                count++;
            }
            p += word + (p[word] == ' ');
        }
    }
    snprintf(given, sizeof given, "%.*s", (int)len, flag);
    const char *nearest = sl_words_nearest(given, names, count);
    int rc = sl_error_set(reader->err, SL_EINVAL, "unrecognized arguments: %s%s%s%s", given,
                          nearest != NULL ? "; did you mean " : "", nearest != NULL ? nearest : "",
                          nearest != NULL ? "?" : "");
    while (count > 0)
        free(copies[--count]);
    return rc;
}

/* "--no-NAME" of a row NAME means false. */
static const char *
value_of_switch(const struct sl_setting *row, const char *flag)
{
    if (strncmp(flag, "--no-", 5) != 0 || strlen(flag + 5) != strlen(row->name))
        return "true";
    for (const char *a = flag + 5, *b = row->name; *a != '\0'; a++, b++) {
        if (*a != *b && !(*a == '-' && *b == '_'))
            return "true";
    }
    return "false";
}

/* Reads argv[i]; returns how many arguments that took, or a negative code. */
static int
read_flag(struct reader *reader, char *const *argv, int i, int argc)
{
    const char *arg = argv[i], *value = NULL;
    size_t len = strlen(arg);
    if (arg[1] == '-') {
        const char *equals = strchr(arg, '=');
        if (equals != NULL) {
            len = (size_t)(equals - arg);
            value = equals + 1;
        }
    } else if (len > 2) {
        value = arg[2] == '=' ? arg + 3 : arg + 2;
        len = 2;
    }
    const struct sl_setting *row = find_flag(arg, len);
    if (row == NULL)
        return refuse_flag(reader, arg, arg[1] == '-' ? len : strlen(arg));
    int took = 1, rc;
    if (row->type == SL_SETTING_BOOL) {
        if (value != NULL)
            return sl_error_set(reader->err, SL_EINVAL, "argument %.*s: takes no value", (int)len,
                                arg);
        value = value_of_switch(row, arg);
    } else if (value == NULL) {
        bool optional = row->metavar != NULL && row->metavar[0] == '[';
        bool there = i + 1 < argc && (argv[i + 1][0] != '-' || argv[i + 1][1] == '\0' ||
                                      isdigit((unsigned char)argv[i + 1][1]));
        if (!there && !optional)
            return sl_error_set(reader->err, SL_EINVAL, "argument %.*s: expected one argument",
                                (int)len, arg);
        value = there && !optional ? argv[i + 1] : "auto";
        took = there && !optional ? 2 : 1;
    }
    rc = set(reader, row, value);
    return rc == SL_OK ? took : rc;
}

static int
read_arguments(struct reader *reader, char *const *argv, int argc)
{
    bool flags = true;
    for (int i = 0; i < argc;) {
        if (flags && strcmp(argv[i], "--") == 0) {
            flags = false;
            i++;
        } else if (flags && argv[i][0] == '-' && argv[i][1] != '\0') {
            int took = read_flag(reader, argv, i, argc);
            if (took < 0)
                return took;
            i += took;
        } else {
            if (reader->line->app != NULL && reader->last)
                return sl_error_set(reader->err, SL_EINVAL, "unrecognized arguments: %.200s",
                                    argv[i]);
            int rc = set_text(&reader->line->app, argv[i++], reader->err);
            if (rc != SL_OK)
                return rc;
        }
    }
    return SL_OK;
}

/* ---- environment ------------------------------------------------------------------------------
 */

/* Splits text as a shell does, into *ret_words; returns how many, or -1 for an open quotation. buf
 * has room for text. */
static int
split(const char *text, char *buf, char **words, int max)
{
    int count = 0;
    while (*text != '\0' && count < max) {
        while (isspace((unsigned char)*text))
            text++;
        if (*text == '\0')
            break;
        char quote = '\0';
        words[count++] = buf;
        for (; *text != '\0' && (quote != '\0' || !isspace((unsigned char)*text)); text++) {
            if (quote == '\0' && (*text == '"' || *text == '\''))
                quote = *text;
            else if (*text == quote)
                quote = '\0';
            else if (*text == '\\' && quote != '\'' && text[1] != '\0')
                *buf++ = *++text;
            else
                *buf++ = *text;
        }
        *buf++ = '\0';
        if (quote != '\0')
            return -1;
    }
    return count;
}

/* Says where the mistake stands. */
static int
located(const char *variable, int rc, struct sl_error *err)
{
    char text[sizeof err->text];
    memcpy(text, err->text, sizeof text);
    return sl_error_set(err, rc, "%s: %.460s", variable, text);
}

static int
read_variable(struct sl_commandline *line, const char *variable, struct sl_error *err)
{
    const char *text = getenv(variable);
    char source[64], *words[512];
    if (text == NULL || *text == '\0')
        return SL_OK;
    struct reader reader = {.line = line, .source = source, .err = err};
    snprintf(source, sizeof source, "environment %s", variable);
    char *buf = malloc(2 * strlen(text) + 2);
    if (buf == NULL)
        return sl_error_set(err, SL_ENOMEM, "out of memory");
    int count = split(text, buf, words, 512);
    int rc = count < 0 ? sl_error_set(err, SL_EINVAL, "No closing quotation")
                       : read_arguments(&reader, words, count);
    free(buf);
    return rc == SL_OK ? SL_OK : located(variable, rc, err);
}

static int
read_default(struct sl_config *config, const char *variable, const char *name, const char *format,
             struct sl_error *err)
{
    const char *text = getenv(variable);
    char value[256], source[64];
    if (text == NULL || (*text == '\0' && strcmp(name, "forwarded_allow_ips") != 0))
        return SL_OK;
    if (strcmp(variable, "PORT") == 0 &&
        (strspn(text, "0123456789") != strlen(text) || strlen(text) > 5 || atoi(text) > 65535))
        return sl_error_set(err, SL_EINVAL, "environment PORT: \"%.80s\" is not a port number",
                            text);
    snprintf(value, sizeof value, "%s%s", format, text);
    snprintf(source, sizeof source, "environment %s", variable);
    if (strcmp(name, "bind") == 0)
        (void)sl_config_clear(config, name);
    int rc = sl_config_set(config, name, value, source, err);
    return rc == SL_OK ? SL_OK : located(source, rc, err);
}

/* ---- all --------------------------------------------------------------------------------------
 */

/* --help and --version end the program. */
static bool
answered(const struct sl_run_options *options)
{
    for (int i = 1; i < options->argc; i++) {
        const char *arg = options->argv[i];
        if (strcmp(arg, "--") == 0)
            return false;
        if (strcmp(arg, "-v") == 0 || strcmp(arg, "--version") == 0) {
            printf("saola (version %s)\n", SAOLA_VERSION);
            return true;
        }
        if (strcmp(arg, "-h") == 0 || strcmp(arg, "--help") == 0) {
            sl_help_print(options->argv[0], i + 1 < options->argc ? options->argv[i + 1] : NULL);
            return true;
        }
    }
    return false;
}

static int
read_all(const struct sl_run_options *options, struct sl_commandline *line, int *ret_exit,
         struct sl_error *err)
{
    struct reader reader = {.line = line, .source = "program", .err = err};
    *ret_exit = SL_EXIT_ERROR;
    for (const char *const *pair = options->defaults; pair != NULL && *pair != NULL; pair += 2) {
        const struct sl_setting *row = sl_settings_find(pair[0]);
        int rc = row != NULL ? set(&reader, row, pair[1])
                             : sl_config_set(line->config, pair[0], pair[1], "program", err);
        if (rc != SL_OK)
            return rc;
    }
    int rc = read_default(line->config, "PORT", "bind", "0.0.0.0:", err);
    if (rc == SL_OK)
        rc = read_default(line->config, "WEB_CONCURRENCY", "workers", "", err);
    if (rc == SL_OK)
        rc = read_default(line->config, "FORWARDED_ALLOW_IPS", "forwarded_allow_ips", "", err);
    if (rc != SL_OK)
        return rc;
    *ret_exit = SL_EXIT_USAGE;
    rc = read_variable(line, "GUNICORN_CMD_ARGS", err);
    if (rc == SL_OK)
        rc = read_variable(line, "SAOLA_CMD_ARGS", err);
    if (rc != SL_OK)
        return rc;
    free(line->app); /* none is named by the environment */
    line->app = NULL;
    reader = (struct reader){.line = line, .source = "command line", .last = true, .err = err};
    rc = options->argc > 1 ? read_arguments(&reader, options->argv + 1, options->argc - 1) : SL_OK;
    if (rc == SL_EINVAL && strncmp(err->text, "unrecognized", 12) == 0)
        return rc;
    if (rc != SL_OK && strncmp(err->text, "argument", 8) != 0)
        *ret_exit = SL_EXIT_ERROR; /* what it asks for cannot be had */
    return rc == SL_OK ? sl_config_check(line->config, err) : rc;
}

int
sl_commandline_read(const struct sl_run_options *options, struct sl_commandline *ret_line,
                    int *ret_exit, struct sl_error *err)
{
    struct sl_commandline line = {0};
    if (answered(options)) {
        *ret_exit = -1;
        return SL_EINVAL;
    }
    line.config = sl_config_new();
    if (line.config == NULL) {
        *ret_exit = SL_EXIT_ERROR;
        return sl_error_set(err, SL_ENOMEM, "no memory for the configuration");
    }
    int rc = read_all(options, &line, ret_exit, err);
    if (rc != SL_OK)
        sl_commandline_release(&line);
    else
        *ret_line = line;
    return rc;
}

void
sl_commandline_release(struct sl_commandline *line)
{
    sl_config_free(line->config);
    free(line->app);
    free(line->worker_class);
    *line = (struct sl_commandline){0};
}
