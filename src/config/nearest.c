/* "Did you mean ...?": the nearest of some words by Damerau-Levenshtein distance (insertions,
 * deletions, substitutions and swaps of neighbours; no part is edited twice). */
#include <string.h>
#include <saola/config.h>

enum { WORD_MAX = 63 }; /* longer words have no neighbours */

/* Copies word without what people mistype and do not see. Returns its length, 0 if unusable. */
static size_t
normalise(const char *word, char plain[WORD_MAX + 1])
{
    size_t length = 0;
    word += strspn(word, "-_ ");
    for (; word[length] != '\0'; length++) {
        if (length == WORD_MAX)
            return 0;
        char c = word[length];
        if (c == '-' || c == ' ')
            c = '_';
        else if (c >= 'A' && c <= 'Z')
            c = (char)(c - 'A' + 'a');
        plain[length] = c;
    }
    plain[length] = '\0';
    return length;
}

static unsigned
min3(unsigned a, unsigned b, unsigned c)
{
    unsigned least = a < b ? a : b;
    return least < c ? least : c;
}

static unsigned
distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
    unsigned rows[3][WORD_MAX + 1]; /* the last two rows of the matrix and the one in work */
    unsigned *before = rows[0], *last = rows[1], *row = rows[2];
    for (size_t j = 0; j <= b_len; j++)
        last[j] = (unsigned)j;
    for (size_t i = 1; i <= a_len; i++) {
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= b_len; j++) {
            unsigned substitute = last[j - 1] + (a[i - 1] != b[j - 1]);
            row[j] = min3(last[j] + 1, row[j - 1] + 1, substitute);
            bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            if (swapped && before[j - 2] + 1 < row[j])
                row[j] = before[j - 2] + 1;
        }
        unsigned *spare = before;
        before = last;
        last = row;
        row = spare;
    }
    return last[b_len];
}

const char *
sl_words_nearest(const char *word, const char *const *candidates, size_t count)
{
    char plain[WORD_MAX + 1], other[WORD_MAX + 1];
    size_t length = normalise(word, plain);
    if (length == 0)
        return NULL;
    /* One slip in a short word, about one in three letters in a long one. */
    unsigned best = length < 4 ? 1 : (unsigned)(length / 3);
    const char *nearest = NULL;
    for (size_t i = 0; i < count; i++) {
        size_t other_length = normalise(candidates[i], other);
        if (other_length == 0)
            continue;
        unsigned d = distance(plain, length, other, other_length);
        if (d < best || (d == best && nearest == NULL)) {
            best = d;
            nearest = candidates[i];
        }
    }
    return nearest;
}
