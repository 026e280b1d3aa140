// Where cells lie in the arrays of model_core/columns.py, and what ticks are to rows.

#ifndef TIDECAST_COLUMNS_H
#define TIDECAST_COLUMNS_H

#include <stdint.h>

#define BLOCK 256  // columns
#define TOUCHED 3  // a mark: changed for both sides of a snapshot

// Python's // and %, for a positive divisor: there were ticks before 1970.
static inline int64_t floor_div(int64_t a, int64_t b) {
    int64_t quotient = a / b;
    return quotient - (a % b < 0);
}

static inline int64_t floor_mod(int64_t a, int64_t b) {
    int64_t rest = a % b;
    return rest < 0 ? rest + b : rest;
}

// Which row of a field of many rows, counted through all blocks.
static inline int64_t row_of(int64_t column, int64_t row, int64_t rows) {
    return column / BLOCK * rows + row;
}

static inline int64_t cell_of(int64_t column, int64_t row, int64_t rows) {
    return row_of(column, row, rows) * BLOCK + column % BLOCK;
}

#endif
