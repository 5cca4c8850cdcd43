/* The table behind chars.h. */
#include "http/chars.h"

#define T (SL_CHAR_TOKEN | SL_CHAR_NAME)
#define G SL_CHAR_TARGET
#define H SL_CHAR_HOST
#define V SL_CHAR_VALUE
#define X SL_CHAR_HEX

const uint8_t sl_char_classes[256] = {
    ['\t'] = V,
    [' '] = V,
    ['!'] = V | G | T | H,
    ['"'] = V | G,
    ['#'] = V | T | SL_CHAR_HASH,
    ['$'] = V | G | T | H,
    ['%'] = V | G | T,
    ['&'] = V | G | T | H,
    ['\''] = V | G | T | H,
    ['('] = V | G | H,
    [')'] = V | G | H,
    ['*'] = V | G | T | H,
    ['+'] = V | G | T | H,
    [','] = V | G,
    ['-'] = V | G | T | H,
    ['.'] = V | G | T | H,
    ['/'] = V | G,
    ['0' ... '9'] = V | G | T | H | X,
    [':'] = V | G,
    [';'] = V | G | H,
    ['<'] = V | G,
    ['='] = V | G | H,
    ['>'] = V | G,
    ['?'] = V,
    ['@'] = V | G,
    ['A' ... 'F'] = V | G | T | H | X,
    ['G' ... 'Z'] = V | G | T | H,
    ['['] = V | G,
    ['\\'] = V | G,
    [']'] = V | G,
    ['^'] = V | G | T,
    ['_'] = V | G | SL_CHAR_TOKEN | H,
    ['`'] = V | G | T,
    ['a' ... 'f'] = V | G | T | H | X | SL_CHAR_LOWER,
    ['g' ... 'z'] = V | G | T | H | SL_CHAR_LOWER,
    ['{'] = V | G,
    ['|'] = V | G | T,
    ['}'] = V | G,
    ['~'] = V | G | T | H,
    [0x80 ... 0xff] = V | G,
};
