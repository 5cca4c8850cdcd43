/* Processors without a way of their own scan portably. */
#include "http/lines.h"

const struct sl_lines_way *
sl_lines_best(void)
{
    return &sl_lines_portable;
}

size_t
sl_lines_ways(const struct sl_lines_way *ret_ways[4])
{
    ret_ways[0] = &sl_lines_portable;
    return 1;
}
