/* The configuration as the rooms of the core see it: one typed field for every row of settings.def
 * that the core uses, named as the row. Read it, never write it: sl_config_set() does.
 *
 *   BOOL          bool
 *   INT, OCTAL    long long, within the bounds of the row
 *   SIZE          the same, in bytes
 *   STRING        char *, NULL = none; white space at both ends is gone
 *   LIST, CSV     struct sl_config_list
 *   ADDRS         struct sl_config_list of "*", addresses and networks, each checked
 *   CHOICE        int, the index of the word in the row: SL_HAND_OVER_EXCLUSIVE, ...
 */
#ifndef SL_CONFIG_CONFIG_H
#define SL_CONFIG_CONFIG_H

#include <saola/config.h>

/* items ends with a NULL, also when count is 0. */
struct sl_config_list {
    char **items;
    size_t count;
};

/* Indexes of rows, in the order of settings.def. */
enum sl_config_row {
#define SL_SETTING(NAME, ...) SL_ROW_##NAME,
#include <saola/settings.def>
#undef SL_SETTING
    SL_ROW_COUNT
};

/* Words of CHOICE rows that the core compares with. */
enum sl_hand_over { SL_HAND_OVER_OVERLAP, SL_HAND_OVER_EXCLUSIVE };
enum sl_proxy_mode { SL_PROXY_OFF, SL_PROXY_V1, SL_PROXY_V2, SL_PROXY_AUTO };
/* loglevel: enum sl_log_level. header_map: enum sl_header_map. */

#define SL_FIELD_BOOL(NAME) bool NAME;
#define SL_FIELD_INT(NAME) long long NAME;
#define SL_FIELD_OCTAL(NAME) long long NAME;
#define SL_FIELD_SIZE(NAME) long long NAME;
#define SL_FIELD_STRING(NAME) char *NAME;
#define SL_FIELD_LIST(NAME) struct sl_config_list NAME;
#define SL_FIELD_CSV(NAME) struct sl_config_list NAME;
#define SL_FIELD_ADDRS(NAME) struct sl_config_list NAME;
#define SL_FIELD_CHOICE(NAME) int NAME;
#define SL_FIELD_CALLABLE(NAME)
#define SL_FIELD_CLASS(NAME)
#define SL_FIELD_DICT(NAME)
#define SL_FIELD_ANY(NAME)

struct sl_config {
#define SL_SETTING(NAME, TYPE, ...) SL_FIELD_##TYPE(NAME)
#include <saola/settings.def>
#undef SL_SETTING
    char *texts[SL_ROW_COUNT];   /* what sl_config_text() gives */
    char *sources[SL_ROW_COUNT]; /* NULL: default */
    bool started[SL_ROW_COUNT];  /* LIST rows: the default is gone, further values are added */
};

#endif
