/* Shared objects that hold tables, and the settings that tables declare. */
#ifndef SL_HOST_C_OBJECT_H
#define SL_HOST_C_OBJECT_H

#include <stdbool.h>
#include <saola/config.h>
#include <saola/status.h>

/* ---- settings of one's own (values.c) ---------------------------------------------------------
 */

struct sl_values {
    const struct sl_setting *rows; /* ends with name NULL; may be NULL */
    char **texts;                  /* one a row */
    long long *numbers;
};

/* Fills values from rows' defaults and given ("NAME=VALUE", ended by NULL), of which those count
 * that rows have. SL_EINVAL, SL_ERANGE with a sentence, SL_ENOMEM. */
int sl_values_init(struct sl_values *values, const struct sl_setting *rows,
                   const char *const *given, struct sl_error *err);
/* Whether rows (may be NULL) have the name of "NAME=VALUE". */
bool sl_values_has(const struct sl_setting *rows, const char *given);
void sl_values_release(struct sl_values *values);

/* ---- shared objects (object.c) ----------------------------------------------------------------
 */

enum sl_table_kind { SL_TABLE_APP, SL_TABLE_WORKER_CLASS, SL_TABLE_HOOKS, SL_TABLE_POOL };

/* "PATH.so[:NAME]". The file as it was at some moment: a rebuilt one is another file. */
struct sl_object {
    enum sl_table_kind kind;
    char *path, *name;
    int fd; /* of the file, -1 when it is not open */
    void *handle;
};

/* Splits the text and opens the file, so that this very file can be loaded later. SL_ENOENT and
 * others with a sentence; the object is to be closed all the same. */
int sl_object_open(struct sl_object *object, enum sl_table_kind kind, const char *text,
                   struct sl_error *err);
/* Loads it into this process and finds its table, which is checked. It stays loaded for ever. */
int sl_object_load(struct sl_object *object, const void **ret_table, struct sl_error *err);
/* A table that was not loaded but given. */
int sl_object_check(enum sl_table_kind kind, const void *table, const char *what,
                    struct sl_error *err);
void sl_object_close(struct sl_object *object);
/* Whether a setting's text names a shared object rather than a built-in class. */
bool sl_object_is_named(const char *text);

#endif
