// Runs of marked rows; see runs.py.

#include <stddef.h>
#include <stdint.h>

// With this row, `count` runs, [first, last) each.
static int64_t add(int64_t count, int64_t row, int64_t gap, int64_t *runs) {
    if (count && row - runs[2 * count - 1] <= gap) {
        runs[2 * count - 1] = row + 1;
        return count;
    }
    runs[2 * count] = row;
    runs[2 * count + 1] = row + 1;
    return count + 1;
}

int64_t runs_of(int64_t rows, const uint8_t *marked, int64_t gap, int64_t *runs) {
    int64_t count = 0;
    for (int64_t row = 0; row < rows; row++) {
        if (marked[row]) count = add(count, row, gap, runs);
    }
    return count;
}

int64_t runs_take(int64_t rows, uint8_t *marks, const uint8_t *others, int64_t bit, int64_t gap, int64_t *runs) {
    int64_t count = 0;
    for (int64_t row = 0; row < rows; row++) {
        if ((marks[row] | (others ? others[row] : 0)) & bit) count = add(count, row, gap, runs);
        marks[row] &= (uint8_t)~bit;
    }
    return count;
}
