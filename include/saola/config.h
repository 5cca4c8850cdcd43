/* One loaded configuration: a typed value for every row of settings.def that the core uses.
 *
 * A host fills it by name with text, exactly as a user would write it; the same parser reads the
 * defaults. Rows of type CALLABLE, CLASS, DICT and ANY belong to the host and have no value here.
 * Not thread-safe; owned by whoever made it until it is handed to the arbiter.
 */
#ifndef SAOLA_CONFIG_H
#define SAOLA_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <saola/status.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default) /* what the library shows */

struct sl_config;

enum sl_setting_type {
    SL_SETTING_BOOL,
    SL_SETTING_INT,   /* int64, 0x and 0o prefixes allowed */
    SL_SETTING_OCTAL, /* file mode: "0022" is octal */
    SL_SETTING_SIZE,  /* bytes; "512M": K, M, G, T are powers of 1024 */
    SL_SETTING_STRING,
    SL_SETTING_LIST,     /* may be given several times */
    SL_SETTING_CSV,      /* comma list */
    SL_SETTING_ADDRS,    /* comma list of "*", addresses and CIDR */
    SL_SETTING_CHOICE,   /* one of the words in the row */
    SL_SETTING_CALLABLE, /* the host's */
    SL_SETTING_CLASS,    /* the host's; text form is a dotted name */
    SL_SETTING_DICT,     /* the host's */
    SL_SETTING_ANY,      /* the host's */
};

/* When a changed value takes effect. */
enum sl_setting_when { SL_AT_START, SL_AT_RELOAD, SL_IN_WORKER };

enum sl_setting_flags {
    SL_SETTING_UNAVAILABLE = 1, /* its feature is not built yet: only the default is accepted */
    SL_SETTING_SAOLA = 2,       /* ours, not gunicorn's */
    SL_SETTING_SECRET = 4,      /* masked by --print-config */
    SL_SETTING_NULLABLE = 8,    /* no value is a value (gunicorn's None) */
};

/* One row of settings.def, for generators and hosts. Static, never freed. */
struct sl_setting {
    const char *name;
    enum sl_setting_type type;
    const char *default_text; /* NULL = none */
    long long min, max;       /* of numbers */
    const char *choices;      /* "a|b|c" or NULL */
    enum sl_setting_when when;
    unsigned flags;
    const char *cli; /* "-w --workers", or NULL */
    const char *metavar;
    const char *section;
    const char *summary; /* one sentence */
    const char *more;    /* paragraphs, may be "" */
};

/* No upper bound but that of int. */
#define SL_SETTING_MAX 2147483647
/* The same for sizes: 1024T. */
#define SL_SETTING_SIZE_MAX (1LL << 50)

size_t sl_settings_count(void);
const struct sl_setting *sl_settings_at(size_t index);
const struct sl_setting *sl_settings_find(const char *name);
/* Nearest name by edit distance, or NULL when nothing is near. */
const char *sl_settings_nearest(const char *name);
/* The same among any words: the first of the nearest, or NULL. Case, leading dashes and the
 * difference between '-' and '_' do not count. */
const char *sl_words_nearest(const char *word, const char *const *candidates, size_t count);

/* What an unavailable row needs and what to do instead, "(TLS): put a proxy ..."; NULL for others.
 */
const char *sl_settings_lacking(const struct sl_setting *row);

/* A configuration with every default; the environment is not looked at. NULL without memory. */
struct sl_config *sl_config_new(void);
struct sl_config *sl_config_copy(const struct sl_config *config);
void sl_config_free(struct sl_config *config);

/* Parses and stores one value. LIST rows append after the first call. text NULL = no value.
 * source names where it came from ("command line", "file gunicorn.conf.py", ...) and is copied.
 * On failure the old value stays and err (may be NULL) holds one line that starts with the name:
 * SL_ENOENT (unknown, err names the nearest), SL_EINVAL (not a value, or a row of the host),
 * SL_ERANGE, SL_EUNAVAILABLE, SL_ENOMEM. */
int sl_config_set(struct sl_config *config, const char *name, const char *text, const char *source,
                  struct sl_error *err);
/* Empties a LIST row so that the next sl_config_set() starts it anew. SL_ENOENT, or SL_EINVAL for a
 * row of another type. */
int sl_config_clear(struct sl_config *config, const char *name);

/* Rules between settings: SL_OK, or SL_EINVAL with one line that says what to change. */
int sl_config_check(const struct sl_config *config, struct sl_error *err);

/* Value as text, owned by the configuration and valid until that row changes; parts of a list are
 * joined by commas. NULL: no value, an empty list, or not a row of the core. For --print-config. */
const char *sl_config_text(const struct sl_config *config, const char *name);
const char *sl_config_source(const struct sl_config *config, const char *name); /* NULL: default */

/* Typed values. BOOL as 0 or 1, INT, OCTAL, SIZE as they are, CHOICE as the index of its word; 0
 * for a row of another type or no row. */
long long sl_config_number(const struct sl_config *config, const char *name);
/* LIST, CSV and ADDRS: the items, ended by NULL, owned by the configuration and valid until that
 * row changes. NULL for a row of another type. */
const char *const *sl_config_list(const struct sl_config *config, const char *name);

/* Reads text as a value of a row that need not be one of settings.def (an application's own, say):
 * BOOL, INT, OCTAL, SIZE, CHOICE give *ret_number (may be NULL) as above, STRING 0. SL_EINVAL,
 * SL_ERANGE with one line that starts with the name of the row; SL_ENOMEM. */
int sl_setting_parse(const struct sl_setting *row, const char *text, long long *ret_number,
                     struct sl_error *err);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
