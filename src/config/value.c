/* Parses and formats the value of one setting. The only parser there is: defaults, command line,
 * configuration file and environment all come through here. */
#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "config/value.h"

static bool
is_list(enum sl_setting_type type)
{
    return type == SL_SETTING_LIST || type == SL_SETTING_CSV || type == SL_SETTING_ADDRS;
}

bool
sl_value_is_core(enum sl_setting_type type)
{
    return type <= SL_SETTING_CHOICE;
}

static bool
is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Heap copy of the len bytes at text without white space at both ends. */
static char *
copy_stripped(const char *text, size_t len)
{
    while (len > 0 && is_blank(text[0])) {
        text++;
        len--;
    }
    while (len > 0 && is_blank(text[len - 1]))
        len--;
    return strndup(text, len);
}

/* ---- words --------------------------------------------------------------------------------- */

enum { CHOICES_MAX = 8, CHOICES_TEXT = 96 };

/* The words of "a|b|c". buffer holds them; returns their number. */
static size_t
split_choices(const char *choices, char buffer[CHOICES_TEXT], const char *words[CHOICES_MAX])
{
    size_t count = 0;
    char *save = NULL;
    snprintf(buffer, CHOICES_TEXT, "%s", choices);
    for (char *word = strtok_r(buffer, "|", &save); word != NULL && count < CHOICES_MAX;
         word = strtok_r(NULL, "|", &save))
        words[count++] = word;
    return count;
}

static int
refuse_word(const struct sl_setting *row, const char *word, const char *const *words, size_t count,
            struct sl_error *err)
{
    char list[2 * CHOICES_TEXT] = "";
    size_t used = 0;
    for (size_t i = 0; i < count && used < sizeof list; i++)
        used +=
            (size_t)snprintf(list + used, sizeof list - used, "%s%s", i > 0 ? ", " : "", words[i]);
    const char *nearest = sl_words_nearest(word, words, count);
    return sl_error_set(err, SL_EINVAL, "%s: \"%.80s\" is not one of %s%s%s%s", row->name, word,
                        list, nearest ? "; did you mean " : "", nearest ? nearest : "",
                        nearest ? "?" : "");
}

/* Index of word among the row's choices. */
static int
parse_choice(const struct sl_setting *row, const char *word, int *ret_index, struct sl_error *err)
{
    char buffer[CHOICES_TEXT];
    const char *words[CHOICES_MAX];
    size_t count = split_choices(row->choices, buffer, words);
    for (size_t i = 0; i < count; i++) {
        if (strcasecmp(word, words[i]) == 0) {
            *ret_index = (int)i;
            return SL_OK;
        }
    }
    return refuse_word(row, word, words, count, err);
}

static int
parse_bool(const struct sl_setting *row, const char *text, bool *ret_flag, struct sl_error *err)
{
    if (strcasecmp(text, "true") == 0)
        *ret_flag = true;
    else if (strcasecmp(text, "false") == 0)
        *ret_flag = false;
    else
        return sl_error_set(err, SL_EINVAL, "%s: \"%.80s\" is neither true nor false", row->name,
                            text);
    return SL_OK;
}

/* ---- numbers ------------------------------------------------------------------------------- */

/* Skips a prefix that says the base: 0x, 0o, 0b, and with octal_zero a plain leading 0. */
static unsigned
take_base(const char **digits, bool octal_zero)
{
    const char *p = *digits;
    if (p[0] != '0' || p[1] == '\0')
        return 10;
    unsigned base = 0;
    switch (p[1]) {
    case 'x':
    case 'X':
        base = 16;
        break;
    case 'o':
    case 'O':
        base = 8;
        break;
    case 'b':
    case 'B':
        base = 2;
        break;
    default:
        return octal_zero ? 8 : 10;
    }
    *digits = p + 2;
    return base;
}

static int
digit_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return 99;
}

static int
refuse_number(const struct sl_setting *row, const char *text, struct sl_error *err)
{
    if (row->max == SL_SETTING_MAX && text[0] == '-')
        return sl_error_set(err, SL_ERANGE, "%s: %.80s is out of bounds: %lld or more", row->name,
                            text, row->min);
    if (row->type == SL_SETTING_SIZE)
        return sl_error_set(err, SL_ERANGE, "%s: %.80s is out of bounds: 0 to 1024T", row->name,
                            text);
    if (row->type == SL_SETTING_OCTAL)
        return sl_error_set(err, SL_ERANGE, "%s: %.80s is out of bounds: %#llo to %#llo", row->name,
                            text, (unsigned long long)row->min, (unsigned long long)row->max);
    return sl_error_set(err, SL_ERANGE, "%s: %.80s is out of bounds: %lld to %lld", row->name, text,
                        row->min, row->max);
}

static int
parse_number(const struct sl_setting *row, const char *text, long long *ret_number,
             struct sl_error *err)
{
    const char *digits = text;
    bool negative = *digits == '-';
    if (*digits == '-' || *digits == '+')
        digits++;
    unsigned base = take_base(&digits, row->type == SL_SETTING_OCTAL);
    long long number = 0;
    bool huge = false;
    bool valid = *digits != '\0';
    for (; *digits != '\0' && valid; digits++) {
        int value = digit_value(*digits);
        valid = value < (int)base;
        huge = huge || __builtin_mul_overflow(number, (long long)base, &number) ||
               __builtin_add_overflow(number, (long long)value, &number);
    }
    if (!valid)
        return sl_error_set(err, SL_EINVAL, "%s: \"%.80s\" is not a whole number", row->name, text);
    if (negative)
        number = -number;
    if (huge || number < row->min || number > row->max)
        return refuse_number(row, text, err);
    *ret_number = number;
    return SL_OK;
}

static const char units[] = "KMGT";

/* "512M": a whole number, not negative, and perhaps one letter. */
static int
parse_size(const struct sl_setting *row, const char *text, long long *ret_number,
           struct sl_error *err)
{
    size_t digits = strspn(text, "0123456789");
    const char *end = text + digits;
    const char *unit = *end == '\0' ? NULL : strchr(units, toupper((unsigned char)*end));
    if (text[0] == '-' && text[1] != '\0')
        return refuse_number(row, text, err);
    if (digits == 0 || (*end != '\0' && (unit == NULL || end[1] != '\0')))
        return sl_error_set(err, SL_EINVAL,
                            "%s: \"%.80s\" is not a size: a whole number with K, M, G or T behind "
                            "it, as in 512M",
                            row->name, text);
    long long number = 0;
    bool huge = false;
    for (const char *p = text; p < end; p++)
        huge = huge || __builtin_mul_overflow(number, 10LL, &number) ||
               __builtin_add_overflow(number, (long long)(*p - '0'), &number);
    for (int i = unit == NULL ? 0 : (int)(unit - units) + 1; i > 0; i--)
        huge = huge || __builtin_mul_overflow(number, 1024LL, &number);
    if (huge || number < row->min || number > row->max)
        return refuse_number(row, text, err);
    *ret_number = number;
    return SL_OK;
}

/* ---- addresses ----------------------------------------------------------------------------- */

/* Whether all bits of address from prefix on are 0. */
static bool
host_bits_clear(const unsigned char *address, unsigned bits, unsigned prefix)
{
    for (unsigned i = prefix; i < bits; i++) {
        if (address[i / 8] & (0x80u >> (i % 8)))
            return false;
    }
    return true;
}

static bool
parse_prefix(const char *text, unsigned bits, unsigned *ret_prefix)
{
    unsigned prefix = 0;
    size_t length = strlen(text);
    if (length == 0 || length > 3 || strspn(text, "0123456789") != length)
        return false;
    for (; *text != '\0'; text++)
        prefix = prefix * 10 + (unsigned)(*text - '0');
    *ret_prefix = prefix;
    return prefix <= bits;
}

static int
check_address(const struct sl_setting *row, const char *text, struct sl_error *err)
{
    char host[INET6_ADDRSTRLEN + 1];
    unsigned char address[16];
    const char *slash = strchr(text, '/');
    size_t length = slash ? (size_t)(slash - text) : strlen(text);
    if (strcmp(text, "*") == 0)
        return SL_OK;
    unsigned bits = 0;
    if (length < sizeof host) {
        memcpy(host, text, length);
        host[length] = '\0';
        if (inet_pton(AF_INET, host, address) == 1)
            bits = 32;
        else if (inet_pton(AF_INET6, host, address) == 1)
            bits = 128;
    }
    unsigned prefix = bits;
    if (bits == 0 || (slash != NULL && !parse_prefix(slash + 1, bits, &prefix)))
        return sl_error_set(err, SL_EINVAL,
                            "%s: \"%.80s\" is not *, an IP address or a network (ADDRESS/BITS)",
                            row->name, text);
    if (!host_bits_clear(address, bits, prefix))
        return sl_error_set(err, SL_EINVAL, "%s: \"%.80s\" has bits set beyond its network part",
                            row->name, text);
    return SL_OK;
}

/* ---- lists --------------------------------------------------------------------------------- */

static void
release_list(struct sl_config_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->items[i]);
    free(list->items);
    *list = (struct sl_config_list){0};
}

static int
grow(struct sl_config_list *list, size_t count)
{
    char **items = reallocarray(list->items, count + 1, sizeof *items);
    if (items == NULL)
        return SL_ENOMEM;
    list->items = items;
    items[list->count] = NULL;
    return SL_OK;
}

/* Takes item; NULL counts as out of memory. */
static int
append(struct sl_config_list *list, char *item)
{
    if (item == NULL || grow(list, list->count + 1) != SL_OK) {
        free(item);
        return SL_ENOMEM;
    }
    list->items[list->count++] = item;
    list->items[list->count] = NULL;
    return SL_OK;
}

int
sl_list_extend(struct sl_config_list *list, struct sl_config_list *more)
{
    if (grow(list, list->count + more->count) != SL_OK)
        return SL_ENOMEM;
    for (size_t i = 0; i < more->count; i++)
        list->items[list->count++] = more->items[i];
    list->items[list->count] = NULL;
    more->count = 0;
    return SL_OK;
}

static int
check_part(const struct sl_setting *row, const char *part, struct sl_error *err)
{
    int index;
    if (row->type == SL_SETTING_ADDRS)
        return check_address(row, part, err);
    if (row->choices != NULL)
        return parse_choice(row, part, &index, err);
    return SL_OK;
}

/* Adds one part of a comma list, which is text up to len; an empty part is left out. */
static int
append_part(const struct sl_setting *row, const char *text, size_t len, struct sl_config_list *list,
            struct sl_error *err)
{
    char *part = copy_stripped(text, len);
    if (part == NULL)
        return SL_ENOMEM;
    int rc = part[0] == '\0' ? SL_OK : check_part(row, part, err);
    if (rc != SL_OK || part[0] == '\0') {
        free(part);
        return rc;
    }
    return append(list, part);
}

static int
split_parts(const struct sl_setting *row, const char *text, struct sl_config_list *list,
            struct sl_error *err)
{
    int rc = SL_OK;
    while (rc == SL_OK && text != NULL) {
        const char *comma = strchr(text, ',');
        rc = append_part(row, text, comma ? (size_t)(comma - text) : strlen(text), list, err);
        text = comma ? comma + 1 : NULL;
    }
    return rc;
}

static int
parse_list(const struct sl_setting *row, const char *text, struct sl_config_list *ret_list,
           struct sl_error *err)
{
    struct sl_config_list list = {0};
    int rc = grow(&list, 0);
    if (rc == SL_OK && text != NULL)
        rc = row->type == SL_SETTING_LIST ? append(&list, copy_stripped(text, strlen(text)))
                                          : split_parts(row, text, &list, err);
    if (rc == SL_OK)
        *ret_list = list;
    else
        release_list(&list);
    return rc;
}

static char *
join(const struct sl_config_list *list)
{
    size_t size = 1;
    for (size_t i = 0; i < list->count; i++)
        size += strlen(list->items[i]) + 1;
    char *text = malloc(size);
    char *end = text;
    for (size_t i = 0; text != NULL && i < list->count; i++) {
        if (i > 0)
            *end++ = ',';
        end = stpcpy(end, list->items[i]);
    }
    return text;
}

/* ---- values -------------------------------------------------------------------------------- */

static int
parse_word(const struct sl_setting *row, const char *word, union sl_value *value,
           struct sl_error *err)
{
    switch (row->type) {
    case SL_SETTING_BOOL:
        return parse_bool(row, word, &value->flag, err);
    case SL_SETTING_INT:
    case SL_SETTING_OCTAL:
        return parse_number(row, word, &value->number, err);
    case SL_SETTING_SIZE:
        return parse_size(row, word, &value->number, err);
    default:
        return parse_choice(row, word, &value->choice, err);
    }
}

int
sl_value_parse(const struct sl_setting *row, const char *text, union sl_value *ret_value,
               struct sl_error *err)
{
    union sl_value value = {0};
    int rc = SL_OK;
    if (is_list(row->type)) {
        rc = parse_list(row, text, &value.list, err);
    } else if (text == NULL) {
        if (!(row->flags & SL_SETTING_NULLABLE))
            return sl_error_set(err, SL_EINVAL, "%s: needs a value", row->name);
    } else {
        value.string = copy_stripped(text, strlen(text));
        if (value.string == NULL) {
            rc = SL_ENOMEM;
        } else if (row->type != SL_SETTING_STRING) {
            char *word = value.string;
            rc = parse_word(row, word, &value, err);
            free(word);
        }
    }
    if (rc == SL_OK)
        *ret_value = value;
    return rc == SL_ENOMEM ? sl_error_set(err, rc, "%s: out of memory", row->name) : rc;
}

void
sl_value_release(enum sl_setting_type type, union sl_value *value)
{
    if (type == SL_SETTING_STRING)
        free(value->string);
    else if (is_list(type))
        release_list(&value->list);
    *value = (union sl_value){0};
}

static char *
format_choice(const struct sl_setting *row, int index)
{
    char buffer[CHOICES_TEXT];
    const char *words[CHOICES_MAX];
    size_t count = split_choices(row->choices, buffer, words);
    return index >= 0 && (size_t)index < count ? strdup(words[index]) : NULL;
}

static char *
format_number(const struct sl_setting *row, long long number)
{
    char text[32];
    int unit = -1;
    while (row->type == SL_SETTING_SIZE && number != 0 && number % 1024 == 0 && units[unit + 1]) {
        number /= 1024;
        unit++;
    }
    if (unit >= 0)
        snprintf(text, sizeof text, "%lld%c", number, units[unit]);
    else if (row->type == SL_SETTING_OCTAL && number != 0)
        snprintf(text, sizeof text, "0%llo", (unsigned long long)number);
    else
        snprintf(text, sizeof text, "%lld", number);
    return strdup(text);
}

static bool
is_none(const struct sl_setting *row, const union sl_value *value)
{
    return row->type == SL_SETTING_STRING ? value->string == NULL
                                          : is_list(row->type) && value->list.count == 0;
}

int
sl_value_format(const struct sl_setting *row, const union sl_value *value, char **ret_text)
{
    char *text = NULL;
    if (is_none(row, value)) {
        *ret_text = NULL;
        return SL_OK;
    }
    switch (row->type) {
    case SL_SETTING_BOOL:
        text = strdup(value->flag ? "true" : "false");
        break;
    case SL_SETTING_INT:
    case SL_SETTING_OCTAL:
    case SL_SETTING_SIZE:
        text = format_number(row, value->number);
        break;
    case SL_SETTING_CHOICE:
        text = format_choice(row, value->choice);
        break;
    case SL_SETTING_STRING:
        text = strdup(value->string);
        break;
    default:
        text = join(&value->list);
        break;
    }
    if (text == NULL)
        return SL_ENOMEM;
    *ret_text = text;
    return SL_OK;
}
