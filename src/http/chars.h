/* Character classes of HTTP (RFC 9110 section 5.6, RFC 3986) as one table, and the scans built on
 * it. */
#ifndef SL_HTTP_CHARS_H
#define SL_HTTP_CHARS_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum sl_char_class {
    SL_CHAR_TOKEN = 1,   /* tchar */
    SL_CHAR_NAME = 2,    /* tchar but '_': what most field names are made of */
    SL_CHAR_LOWER = 4,   /* a-z */
    SL_CHAR_HASH = 8,    /* '#' */
    SL_CHAR_TARGET = 16, /* of a request target, but '?' and '#'; 0x80 to 0xff included */
    SL_CHAR_HOST = 32,   /* of a reg-name but '%' and ',': unreserved, sub-delims */
    SL_CHAR_HEX = 64,
    SL_CHAR_VALUE = 128, /* of a field value: no control but HTAB */
};

extern const uint8_t sl_char_classes[256];

static inline uint8_t
sl_char_class(char c)
{
    return sl_char_classes[(unsigned char)c];
}

static inline bool
sl_char_is_space(char c)
{
    return c == ' ' || c == '\t';
}

static inline bool
sl_char_is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static inline int
sl_char_hex(char c)
{
    if (sl_char_is_digit(c))
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Marks in the high bit of each byte of word that is a control or DEL; the lowest mark is exact (a
 * borrow disturbs only bytes above it). */
static inline uint64_t
sl_chars_mark_controls(uint64_t word)
{
    const uint64_t ones = 0x0101010101010101u;
    uint64_t del = word ^ ones * 0x7f;
    return (((word - ones * 0x20) & ~word) | ((del - ones) & ~del)) & ones * 0x80;
}

static inline uint64_t
sl_chars_load(const char *p)
{
    uint64_t word;
    memcpy(&word, p, sizeof word);
    return le64toh(word);
}

/* First byte of [p, end) that is a control or DEL, or end; may stop earlier near end. Eight bytes
 * at a time; lines_x86.c and lines_arm64.c have wider ones. */
static inline const char *
sl_chars_skip_text(const char *p, const char *end)
{
    while (end - p >= 8) {
        uint64_t marks = sl_chars_mark_controls(sl_chars_load(p));
        if (marks != 0)
            return p + (__builtin_ctzll(marks) >> 3);
        p += 8;
    }
    return p;
}

/* First byte of [p, end) that may not stand in a field value (a control but HTAB), or end. */
static inline const char *
sl_chars_skip_value(const char *p, const char *end)
{
    for (;;) {
        p = sl_chars_skip_text(p, end);
        if (p == end || *p == '\r' || !(sl_char_class(*p) & SL_CHAR_VALUE))
            return p;
        p++;
    }
}

/* First byte of [p, end) that is neither a letter nor '-', eight at a time; may stop earlier near
 * end.
 */
static inline const char *
sl_chars_skip_letters(const char *p, const char *end)
{
    const uint64_t ones = 0x0101010101010101u, highs = ones * 0x80;
    while (end - p >= 8) {
        uint64_t word = sl_chars_load(p);
        /* Sums of seven-bit bytes carry into the high bit of their own byte only. */
        uint64_t folded = (word | ones * 0x20) & ~highs, dash = word ^ ones * '-';
        uint64_t letter = (folded + ones * (0x80 - 'a')) & ~(folded + ones * (0x7f - 'z')) & ~word;
        uint64_t other = ((dash & ~highs) + ones * 0x7f) | dash;
        uint64_t marks = ~letter & other & highs;
        if (marks != 0)
            return p + (__builtin_ctzll(marks) >> 3);
        p += 8;
    }
    return p;
}

/* First byte of [p, end) that may not stand in a field name, or an '_', or end. */
static inline const char *
sl_chars_skip_name(const char *p, const char *end)
{
    for (;;) {
        p = sl_chars_skip_letters(p, end);
        if (p == end || *p == ':' || !(sl_char_class(*p) & SL_CHAR_NAME))
            return p;
        p++;
    }
}

/* First byte of [p, end) that is not of SL_CHAR_TARGET, eight at a time; may stop
 * earlier near end. */
static inline const char *
sl_chars_skip_target(const char *p, const char *end)
{
    const uint64_t ones = 0x0101010101010101u;
    while (end - p >= 8) {
        /* '?' and DEL differ in one bit; what has the high bit has it in every term. */
        uint64_t word = sl_chars_load(p), hash = word ^ ones * '#';
        uint64_t question_or_del = (word | ones * 0x40) ^ ones * 0x7f;
        uint64_t marks = (word - ones * 0x21) | (question_or_del - ones) | (hash - ones);
        marks &= ~word & ones * 0x80;
        if (marks != 0)
            return p + (__builtin_ctzll(marks) >> 3);
        p += 8;
    }
    return p;
}

/* strlen() without the call, of a short text that ends with NUL within array[size]. */
static inline size_t
sl_chars_length(const char *array, size_t size)
{
    const uint64_t ones = 0x0101010101010101u;
    size_t at = 0;
    for (; size - at >= 8; at += 8) {
        uint64_t word = sl_chars_load(array + at);
        uint64_t marks = (word - ones) & ~word & ones * 0x80; /* the lowest is exact */
        if (marks != 0)
            return at + ((size_t)__builtin_ctzll(marks) >> 3);
    }
    return at + strlen(array + at);
}

static inline uint32_t
sl_chars_load_4(const char *p)
{
    uint32_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

/* memcmp() == 0 without the call, for the few bytes that names and values mostly have. */
static inline bool
sl_chars_equal(const char *a, const char *b, size_t len)
{
    if (len < 8)
        return memcmp(a, b, len) == 0;
    for (size_t i = 0; i < len - 8; i += 8)
        if (sl_chars_load(a + i) != sl_chars_load(b + i))
            return false;
    a += len - 8; /* the last eight, some of them maybe again */
    b += len - 8;
    return sl_chars_load(a) == sl_chars_load(b);
}

/* ASCII case-insensitive; lower is lower-case and holds no '@', '[', '\\', ']', '^' or '_'. */
static inline bool
sl_chars_equal_lower(const char *s, const char *lower, size_t len)
{
    const uint64_t fold = 0x2020202020202020u;
    uint64_t different = 0;
    if (len >= 8) {
        for (size_t i = 0; i < len - 8; i += 8)
            if ((sl_chars_load(s + i) | fold) != sl_chars_load(lower + i))
                return false;
        s += len - 8; /* the last eight, some of them maybe again */
        lower += len - 8;
        return (sl_chars_load(s) | fold) == sl_chars_load(lower);
    }
    if (len >= 4) {
        different = (sl_chars_load_4(s) | (uint32_t)fold) ^ sl_chars_load_4(lower);
        s += len - 4;
        lower += len - 4;
        return (different | ((sl_chars_load_4(s) | (uint32_t)fold) ^ sl_chars_load_4(lower))) == 0;
    }
    for (size_t i = 0; i < len; i++)
        different |= (uint64_t)((unsigned char)s[i] | 0x20) ^ (unsigned char)lower[i];
    return different == 0;
}

#endif
