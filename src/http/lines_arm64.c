/* Scans by 16 bytes (NEON, which every 64-bit ARM has). No load goes beyond the input. */
#include "http/lines.h"

#include <arm_neon.h>

#include "http/chars.h"

/* One bit a byte of four comparisons (0x00 or 0xff a byte). */
static inline uint64_t
gather(const uint8x16_t marks[4])
{
    static const uint8_t places[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    uint8x16_t place = vld1q_u8(places);
    uint8x16_t low = vpaddq_u8(vandq_u8(marks[0], place), vandq_u8(marks[1], place));
    uint8x16_t high = vpaddq_u8(vandq_u8(marks[2], place), vandq_u8(marks[3], place));
    uint8x16_t all = vpaddq_u8(low, high);
    return vgetq_lane_u64(vreinterpretq_u64_u8(vpaddq_u8(all, all)), 0);
}

/* Bytes that are neither letter, digit nor '-'. */
static inline uint8x16_t
mark_no_name(uint8x16_t v)
{
    uint8x16_t folded = vsubq_u8(vorrq_u8(v, vdupq_n_u8(0x20)), vdupq_n_u8('a'));
    uint8x16_t letter = vcleq_u8(folded, vdupq_n_u8(25));
    uint8x16_t digit = vcleq_u8(vsubq_u8(v, vdupq_n_u8('0')), vdupq_n_u8(9));
    return vmvnq_u8(vorrq_u8(vorrq_u8(letter, digit), vceqq_u8(v, vdupq_n_u8('-'))));
}

static inline uint8x16_t
mark_controls(uint8x16_t v)
{
    return vorrq_u8(vcltq_u8(v, vdupq_n_u8(0x20)), vceqq_u8(v, vdupq_n_u8(0x7f)));
}

static inline uint64_t
mark_controls_by_16(const char *p)
{
    uint8x16_t marks[4];
    for (unsigned i = 0; i < 4; i++)
        marks[i] = mark_controls(vld1q_u8((const uint8_t *)p + 16 * i));
    return gather(marks);
}

static inline uint32_t
mark_no_name_by_16(const char *p)
{
    uint8x16_t nothing = vdupq_n_u8(0);
    uint8x16_t marks[4] = {mark_no_name(vld1q_u8((const uint8_t *)p)),
                           mark_no_name(vld1q_u8((const uint8_t *)p + 16)), nothing, nothing};
    return (uint32_t)gather(marks);
}

#define LINES_WAY(name) name##_neon
#define LINES_TARGET
#define LINES_CONTROLS mark_controls_by_16
#define LINES_NO_NAME mark_no_name_by_16
#include "http/lines_body.h"

static const struct sl_lines_way neon = {"NEON", fields_neon};

const struct sl_lines_way *
sl_lines_best(void)
{
    return &neon;
}

size_t
sl_lines_ways(const struct sl_lines_way *ret_ways[4])
{
    ret_ways[0] = &sl_lines_portable;
    ret_ways[1] = &neon;
    return 2;
}
