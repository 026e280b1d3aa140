// The corrector (model_core/corrector.py): regressions of a series' delayed errors on a few features, one a horizon.

#include <math.h>
#include <stdbool.h>
#include <stdint.h>

#include "columns.h"

// model_core/corrector.py
enum { FEATURES = 4, PRODUCTS = FEATURES * (FEATURES + 1) / 2, LOSS = PRODUCTS + FEATURES, SUMS = LOSS + 2 };
enum { LOCATION = FEATURES, UNIT, CORRECTION, ENTRY };
enum { MODEL, SEASONAL_NAIVE, LAST_VALUE, TRACKED };  // model_core/ladder.py: Rung
enum { SQUARE, UPDATES };                             // of `unit`
#define WIDTH_MIN 0.1

// C corrected horizons, the first of K scored ones, H steps of the horizon, windows [B, L, W] whose first column is the target.
typedef struct {
    int64_t C, K, H, L, W;
    int64_t every;                                      // ticks between forecasts
    int64_t rows;                                       // of a block
    int64_t far;                                        // ticks back that the longer of both differences reaches
    const int64_t *horizons, *first_slot, *slot_count;  // [C]
    double decay, penalty, winsor, margin;
    double unit_floor_share, unit_min;
    // The answers of a poll.
    double *locations;      // [B, 3, H]
    const int8_t *reason;   // [B], 0: the model has answered
    const double *scale;    // [B]
    const float *windows;   // [B, L, W]
    // Columns, and what of them has changed.
    const double *unit;     // [columns, 3, 2]
    float *sums;            // [columns, C, SUMS]
    float *widths;          // [columns, K]
    double *moved;          // [columns]
    float *entries;         // [blocks, rows, 256, ENTRY]
    uint8_t *sums_marks, *entries_marks;
} Corrector;

static inline double within(double value, double most) {
    return value > most ? most : value < -most ? -most : value;  // NaN stays
}

static inline double or_nothing(double value) {
    return isfinite(value) ? value : 0.0;
}

static float *entry_of(const Corrector *s, int64_t column, int64_t c, int64_t origin, int64_t *slot) {
    *slot = s->first_slot[c] + floor_mod(floor_div(origin, s->every), s->slot_count[c]);
    return s->entries + cell_of(column, *slot, s->rows) * ENTRY;
}

// Weights [FEATURES] of a regression: (X'X + penalty) b = X'e, by Cholesky.
static void solve(const float *sums, double penalty, double *b) {
    double l[FEATURES][FEATURES];
    for (int64_t i = 0, at = 0; i < FEATURES; i++) {
        for (int64_t j = 0; j <= i; j++, at++) {
            double rest = (double)sums[at] + (i == j ? penalty : 0.0);
            for (int64_t m = 0; m < j; m++) rest -= l[i][m] * l[j][m];
            l[i][j] = i == j ? sqrt(rest > penalty * 1e-3 ? rest : penalty * 1e-3) : rest / l[j][j];
        }
    }
    for (int64_t i = 0; i < FEATURES; i++) {
        double rest = (double)sums[PRODUCTS + i];
        for (int64_t m = 0; m < i; m++) rest -= l[i][m] * b[m];
        b[i] = rest / l[i][i];
    }
    for (int64_t i = FEATURES - 1; i >= 0; i--) {
        double rest = b[i];
        for (int64_t m = i + 1; m < FEATURES; m++) rest -= l[m][i] * b[m];
        b[i] = rest / l[i][i];
    }
}

// How much of a correction counts: nothing unless it has been better than none, all of it from a margin on.
static double weight_of(const Corrector *s, const float *sums) {
    const double without = (double)sums[LOSS], with = (double)sums[LOSS + 1];
    if (!(without > with)) return 0.0;
    const double gain = 1.0 - with / without;
    return gain >= s->margin ? 1.0 : gain / s->margin;
}

// How much narrower quantiles are for it: by as much as the errors are smaller, where the correction counts in full.
static double width_of(const float *sums, double weight) {
    const double width = weight > 0.0 ? 1.0 - weight * (1.0 - (double)sums[LOSS + 1] / (double)sums[LOSS]) : 1.0;
    return width > WIDTH_MIN ? width : WIDTH_MIN;
}

// What moves the locations at every step: straight lines from nothing through the corrected horizons, and back to nothing
// as far beyond the last of them.
static void move(const Corrector *s, const double *corrections, double *location) {
    int64_t before = 0;
    double low = 0.0;
    for (int64_t c = 0; c <= s->C; c++) {
        const int64_t after = c < s->C ? s->horizons[c] : 2 * before;
        const double high = c < s->C ? corrections[c] : 0.0;
        for (int64_t h = before + 1; h <= after && h <= s->H; h++) {
            const double share = (double)(h - before) / (double)(after - before);
            location[h - 1] += low + share * (high - low);
        }
        before = after;
        low = high;
    }
}

// Forecasts of distinct columns [rows], made from the answers at `start` and after: locations of the model move, and what
// they were waits for their targets, where those have not settled yet (`settled` as for phase_c_issue).
void corrector_correct(int64_t rows, const Corrector *s, int64_t start, const int64_t *index, const int64_t *origins,
                       const int64_t *settled) {
    for (int64_t row = 0; row < rows; row++) {
        const int64_t at = start + row, column = index[row], origin = origins[row];
        double *locations = s->locations + at * TRACKED * s->H, corrections[16];
        const bool answered = s->reason[at] == 0;
        const float *newest = s->windows + (at * s->L + s->L - 1) * s->W;
        const double value = (double)*newest;
        const double near = or_nothing(value - (double)newest[-s->W]);
        const double far = or_nothing(value - (double)newest[-s->far * s->W]);
        const double *state = s->unit + (column * TRACKED + MODEL) * 2;
        const double least = s->unit_floor_share * s->scale[at];
        double unit = state[UPDATES] > 0.0 ? sqrt(state[SQUARE]) : 0.5 * s->scale[at];
        unit = unit > least ? unit : least;
        unit = unit > s->unit_min ? unit : s->unit_min;
        for (int64_t c = 0; c < s->C; c++) {
            const int64_t h = s->horizons[c] - 1;
            const float *sums = s->sums + (column * s->C + c) * SUMS;
            const double location = locations[MODEL * s->H + h];
            const double features[FEATURES] = {
                or_nothing(locations[LAST_VALUE * s->H + h] - location),
                or_nothing(locations[SEASONAL_NAIVE * s->H + h] - location), near, far};
            double x[FEATURES], b[FEATURES], correction = 0.0;
            solve(sums, s->penalty, b);
            for (int64_t i = 0; i < FEATURES; i++) {
                x[i] = within(features[i] / unit, s->winsor);
                correction += x[i] * b[i];
            }
            const double weight = weight_of(s, sums);
            corrections[c] = weight * correction * unit;
            s->widths[column * s->K + c] = (float)width_of(sums, weight);
            if (origin + s->horizons[c] <= settled[row]) continue;
            int64_t slot;
            float *entry = entry_of(s, column, c, origin, &slot);
            for (int64_t i = 0; i < FEATURES; i++) entry[i] = (float)x[i];
            entry[LOCATION] = answered && state[UPDATES] > 0.0 ? (float)location : NAN;  // no unit yet: nothing to learn in
            entry[UNIT] = (float)unit;
            entry[CORRECTION] = (float)correction;
            s->entries_marks[row_of(column, slot, s->rows)] = TOUCHED;
            if (s->horizons[c] == 1) s->moved[column] = answered ? corrections[c] : 0.0;
        }
        if (answered) move(s, corrections, locations + MODEL * s->H);
    }
}

// Cells [rows] of distinct columns settle: values [rows], NaN where missing. Each meets what waits for it, once.
void corrector_learn(int64_t rows, const Corrector *s, const int64_t *index, const int64_t *ticks,
                     const double *values) {
    const float decay = (float)s->decay;
    for (int64_t row = 0; row < rows; row++) {
        const int64_t column = index[row];
        for (int64_t c = 0; c < s->C; c++) {
            const int64_t origin = ticks[row] - s->horizons[c];
            if (floor_mod(origin, s->every)) continue;
            int64_t slot;
            float *entry = entry_of(s, column, c, origin, &slot);
            const double location = (double)entry[LOCATION], unit = (double)entry[UNIT];
            if (isnan(location)) continue;
            entry[LOCATION] = NAN;
            s->entries_marks[row_of(column, slot, s->rows)] = TOUCHED;
            const double error = within(((double)(float)values[row] - location) / unit, 2.0 * s->winsor);
            if (!isfinite(error)) continue;
            float *sums = s->sums + (column * s->C + c) * SUMS;
            for (int64_t i = 0, at = 0; i < FEATURES; i++) {
                for (int64_t j = 0; j <= i; j++, at++) sums[at] = decay * sums[at] + entry[i] * entry[j];
                sums[PRODUCTS + i] = decay * sums[PRODUCTS + i] + entry[i] * (float)error;
            }
            sums[LOSS] = decay * sums[LOSS] + (float)fabs(error);
            sums[LOSS + 1] = decay * sums[LOSS + 1] + (float)fabs(error - (double)entry[CORRECTION]);
            s->sums_marks[column / BLOCK] = TOUCHED;
        }
    }
}
