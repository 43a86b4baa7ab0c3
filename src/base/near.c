/* near.c - the edit distance of two short words, one row of the table at a time. */
#include "base/near.h"

#include "base/attr.h"

#include <string.h>

size_t near_distance(const char *a, size_t a_len, const char *b)
{
    size_t row[24], b_len = strlen(b);

    if (a_len >= ARRAY_LEN(row) || b_len >= ARRAY_LEN(row))
        return 99;
    for (size_t j = 0; j <= b_len; j++)
        row[j] = j;
    for (size_t i = 1; i <= a_len; i++) {
        size_t diagonal = row[0];

        row[0] = i;
        for (size_t j = 1; j <= b_len; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);

            diagonal = row[j];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[b_len];
}
