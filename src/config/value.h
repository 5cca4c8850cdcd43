/* One value of a row: text to value and back. Knows types, not names of settings. */
#ifndef SL_CONFIG_VALUE_H
#define SL_CONFIG_VALUE_H

#include "config/config.h"

union sl_value {
    struct sl_config_list list; /* LIST, CSV, ADDRS; first and largest, so that {0} clears all */
    bool flag;                  /* BOOL */
    long long number;           /* INT, OCTAL, SIZE */
    int choice;                 /* CHOICE */
    char *string;               /* STRING */
};

/* Whether the core keeps values of this type. */
bool sl_value_is_core(enum sl_setting_type type);

/* Reads text (NULL = no value) into ret_value, which the caller releases. A LIST gives a list of
 * one. err gets a sentence that starts with the name of the row. */
int sl_value_parse(const struct sl_setting *row, const char *text, union sl_value *ret_value,
                   struct sl_error *err);
void sl_value_release(enum sl_setting_type type, union sl_value *value);

/* Heap text that sl_value_parse() would read as this value; *ret_text is NULL for no value. */
int sl_value_format(const struct sl_setting *row, const union sl_value *value, char **ret_text);

/* Moves the items of more to the end of list. On SL_ENOMEM both are unchanged. */
int sl_list_extend(struct sl_config_list *list, struct sl_config_list *more);

#endif
