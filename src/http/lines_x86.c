/* Scans by 16 bytes (SSE2, which every x86-64 has) and by 32 (AVX2, asked for at run time). No load
 * goes beyond the input. */
#include "http/lines.h"

#include <immintrin.h>

#include "http/chars.h"

/* ---- SSE2 ---------------------------------------------------------------------------------------
 */

/* Bytes that are neither letter, digit nor '-'. */
static inline unsigned
mark_no_name_16(__m128i v)
{
    __m128i folded = _mm_sub_epi8(_mm_or_si128(v, _mm_set1_epi8(0x20)), _mm_set1_epi8('a'));
    __m128i letter = _mm_cmpeq_epi8(_mm_min_epu8(folded, _mm_set1_epi8(25)), folded);
    __m128i number = _mm_sub_epi8(v, _mm_set1_epi8('0'));
    __m128i digit = _mm_cmpeq_epi8(_mm_min_epu8(number, _mm_set1_epi8(9)), number);
    __m128i dash = _mm_cmpeq_epi8(v, _mm_set1_epi8('-'));
    __m128i name = _mm_or_si128(_mm_or_si128(letter, digit), dash);
    return ~(unsigned)_mm_movemask_epi8(name) & 0xffff;
}

/* Controls and DEL. */
static inline unsigned
mark_controls_16(__m128i v)
{
    __m128i control = _mm_cmpeq_epi8(_mm_min_epu8(v, _mm_set1_epi8(0x1f)), v);
    __m128i del = _mm_cmpeq_epi8(v, _mm_set1_epi8(0x7f));
    return (unsigned)_mm_movemask_epi8(_mm_or_si128(control, del));
}

static inline __m128i
load_16(const char *p)
{
    return _mm_loadu_si128((const __m128i *)(const void *)p);
}

static inline uint64_t
mark_controls_by_16(const char *p)
{
    uint64_t marks = 0;
    for (unsigned i = 0; i < 64; i += 16)
        marks |= (uint64_t)mark_controls_16(load_16(p + i)) << i;
    return marks;
}

static inline uint32_t
mark_no_name_by_16(const char *p)
{
    return mark_no_name_16(load_16(p + 16)) << 16 | mark_no_name_16(load_16(p));
}

#define LINES_WAY(name) name##_sse2
#define LINES_TARGET
#define LINES_CONTROLS mark_controls_by_16
#define LINES_NO_NAME mark_no_name_by_16
#include "http/lines_body.h"

/* ---- AVX2 ---------------------------------------------------------------------------------------
 */

#define AVX2 __attribute__((target("avx2,bmi,bmi2")))

/* By the low half of a byte: the high halves (bit n: n) with which it is a token character but '_'.
 */
#define TOKEN_ROWS -24, -4, -8, -4, -4, -4, -4, -4, -8, -8, -12, 84, -48, 84, -12, 80
#define HALVES 1, 2, 4, 8, 16, 32, 64, -128, 0, 0, 0, 0, 0, 0, 0, 0

/* Bytes that no name holds, and '_'. */
static inline AVX2 unsigned
mark_no_name_32(__m256i v)
{
    const __m256i rows = _mm256_setr_epi8(TOKEN_ROWS, TOKEN_ROWS);
    const __m256i halves = _mm256_setr_epi8(HALVES, HALVES);
    __m256i high = _mm256_and_si256(_mm256_srli_epi16(v, 4), _mm256_set1_epi8(15));
    /* A byte from 0x80 on looks up nothing in either table. */
    __m256i both =
        _mm256_and_si256(_mm256_shuffle_epi8(rows, v), _mm256_shuffle_epi8(halves, high));
    return (unsigned)_mm256_movemask_epi8(_mm256_cmpeq_epi8(both, _mm256_setzero_si256()));
}

static inline AVX2 unsigned
mark_controls_32(__m256i v)
{
    __m256i control = _mm256_cmpeq_epi8(_mm256_min_epu8(v, _mm256_set1_epi8(0x1f)), v);
    __m256i del = _mm256_cmpeq_epi8(v, _mm256_set1_epi8(0x7f));
    return (unsigned)_mm256_movemask_epi8(_mm256_or_si256(control, del));
}

static inline AVX2 __m256i
load_32(const char *p)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)p);
}

static inline AVX2 uint64_t
mark_controls_by_32(const char *p)
{
    return (uint64_t)mark_controls_32(load_32(p + 32)) << 32 | mark_controls_32(load_32(p));
}

static inline AVX2 uint32_t
mark_no_name_by_32(const char *p)
{
    return mark_no_name_32(load_32(p));
}

#define LINES_WAY(name) name##_avx2
#define LINES_TARGET AVX2
#define LINES_CONTROLS mark_controls_by_32
#define LINES_NO_NAME mark_no_name_by_32
#include "http/lines_body.h"

/* ---- which --------------------------------------------------------------------------------------
 */

static const struct sl_lines_way sse2 = {"SSE2", fields_sse2};
static const struct sl_lines_way avx2 = {"AVX2", fields_avx2};

const struct sl_lines_way *
sl_lines_best(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") &&
                   __builtin_cpu_supports("bmi2")
               ? &avx2
               : &sse2;
}

size_t
sl_lines_ways(const struct sl_lines_way *ret_ways[4])
{
    ret_ways[0] = &sl_lines_portable;
    ret_ways[1] = &sse2;
    ret_ways[2] = &avx2;
    return sl_lines_best() == &avx2 ? 3 : 2;
}
