// Phase C of a partition: cells that settle meet what was issued for them, and forecasts that are due are issued.
//
// The structs are those of phase_c.py, filled by model_core/settlement_kernel.py; all their members are eight bytes wide,
// so that both sides agree where each is. Nothing here allocates.

#ifndef TIDECAST_PHASE_C_H
#define TIDECAST_PHASE_C_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>

#include "columns.h"

enum { MODEL, SEASONAL_NAIVE, LAST_VALUE, LEVEL };  // model_core/ladder.py: Rung
enum { TRACKED = 3, ISSUED = TRACKED };             // rungs that are scored; the running loss of what was published
enum { OK = 0, OUT_OF_DISTRIBUTION = 4 };           // Reason
enum { SQUARE, UPDATES };                           // of `unit`
enum { NOT_ISSUED = -1, RESULT_WIDTH = 6 };         // model_core/ledger.py, model_core/scoring.py
enum { HORIZONS_MAX = 16 };                         // more than StreamSpec.scored_horizons can have
#define NO_ALARM INT64_MIN  // model_core/drift/cusum.py
#define OFFSET_MAX 5.0      // of an offset, in spreads of its table

enum { UP, DOWN, SIDES };                                              // of a CUSUM
enum { MEAN_ERROR, SQUARE_NOW, SQUARE_USUAL, RATIO_UPDATES, RATIOS };  // of `ratios`

// What changes with each cell, waited for or not.
typedef struct {
    double change, updates;  // running mean |y_t − y_{t−m}|
    double sum;              // of the cells of the season that is under way
    int64_t cells, number;   // how many, and which season (tick / m)
} Season;

// What the detectors of errors keep (model_core/drift/cusum.py, ratios.py).
typedef struct {
    double cusum[SIDES], ahead[SIDES];  // of one step, of a whole horizon
    int64_t rest, alarms;               // resting up to this tick, NO_ALARM: not resting; how many there were
    double ratios[RATIOS];
} Drift;

// What changes with a season (model_core/drift/level.py).
typedef struct {
    double reference, square, seasons, g[SIDES];
} Level;

// K scored horizons, Q levels, H steps of the horizon, I central intervals, N series with tables of their own.
typedef struct {
    // The stream.
    int64_t K, Q, H, I;
    int64_t median;                                     // position of the level 0.5
    int64_t every;                                      // ticks between forecasts
    int64_t whole;                                      // counts: quantiles are whole numbers
    int64_t demand;                                     // sums and counts: demand.h
    int64_t ledger_rows;                                // of a block
    int64_t result_rows;                                // of a block; 0: results of single forecasts are not kept
    int64_t quiet;                                      // what is only told, not learned from, is left out
    const int64_t *horizons, *first_slot, *slot_count;  // [K]
    const int64_t *bucket;                              // [H]
    const int64_t *intervals;                           // [I, 2]
    const double *levels, *normal;                      // [Q]
    const double *bin_score;                            // [Q + 1], of a normal variable between two levels the mean
    int64_t G;                                          // levels of a model's own distribution; demand only
    const double *fine_levels;                          // [G]
    int64_t span_turns;                                 // forecasts whose spans of H overlap
    double unit_floor_share, unit_winsor, drift_slack, drift_winsor;
    double level_slack, level_winsor, level_decay, level_seasons;

    // The model in charge.
    int64_t trained;                // there is one
    int64_t season;                 // ticks
    const double *rates;            // [K], by which a miss moves an offset
    double decay, slow_decay;       // of running means, of those over a long time
    double threshold, far_threshold, level_threshold;  // of the CUSUMs
    const double *tables, *spread;  // [3 + N, H, Q], [3 + N, H]
    const double *scored_tables;    // [3 + N, K, Q]: at the scored horizons
    const double *scored_spread;    // [3 + N, K]

    // The cohort.
    double *cohort_offsets;                  // [3, K, Q]
    int64_t *cohort_above, *cohort_counted;  // [3, K, Q]
    double *cohort_totals;                   // [K, 5], demand.h: enum totals; demand only
    int64_t *cohort_hits, *cohort_scored;    // [K, I], [K]: since the last report

    // Columns of one row, [columns, …].
    const int8_t *role;
    const double *bounds;  // [2]
    float *offsets;        // [3, K, Q]
    double *unit;          // [3, 2]
    double *unit_floor;
    int8_t *calibrated;
    const int32_t *base_row;
    double *loss;  // [4, 2]
    double *error;
    Season *season_state;
    double *coverage;  // [max(I, 1)]
    int64_t *scored;
    Drift *drift;
    Level *level;
    float *pit;  // [Q + 1]
    int8_t *run_state;
    int64_t *resting_until;
    int8_t *naive_rung;
    int64_t *naive_since;
    const int64_t *seed;  // of what is drawn; demand only

    // Columns of many rows, [blocks, rows, 256, …].
    float *issued;  // [3, Q]
    int8_t *issued_rung;
    double *results;  // [K, 6]
    float *issued_mean;  // demand only

    // What of them has changed, [blocks] or [blocks, rows].
    uint8_t *season_state_marks, *level_marks, *scored_marks, *issuing_marks, *issued_marks, *issued_rung_marks,
        *results_marks, *issued_mean_marks;

    double *table, *sorted;  // [Q] each, room for the arithmetic of one row

    // The corrector's columns (corrector.c), null where it is off: of the model's quantiles at each scored horizon how much
    // narrower they are than uncorrected ones, and by how much the newest location one step ahead was moved.
    const float *widths;  // [K]
    const double *moved;
} Settlement;

// Like numpy's maximum and minimum: NaN when either is.
static inline double larger(double a, double b) {
    return a > b || a != a ? a : b;
}

static inline double smaller(double a, double b) {
    return a < b || a != a ? a : b;
}

static inline double clipped(double value, double low, double high) {
    return smaller(larger(value, low), high);
}

// Exponentially weighted mean after one more value: a plain average until the count outweighs the decay.
static inline double updated_mean(double mean, double updates, double value, double decay) {
    return mean + larger(1.0 - decay, 1.0 / (updates + 1.0)) * (value - mean);
}

static inline void mark(uint8_t *marks, int64_t column) {
    marks[column / BLOCK] = TOUCHED;
}

static inline void mark_row(uint8_t *marks, int64_t column, int64_t row, int64_t rows) {
    marks[row_of(column, row, rows)] = TOUCHED;
}

// Which residual table counts for a rung of a column.
static inline int64_t table_of(const Settlement *s, int64_t column, int64_t rung) {
    const int64_t own = s->base_row[column];
    return rung == MODEL && own >= 0 ? TRACKED + own : rung;
}

// Where a rung's offsets at a scored horizon begin.
static inline int64_t offsets_at(const Settlement *s, int64_t column, int64_t rung, int64_t k) {
    return ((column * TRACKED + rung) * s->K + k) * s->Q;
}

// How wide a rung's quantiles are at a scored horizon, as a share of those of uncorrected answers.
static inline double width_of(const Settlement *s, int64_t column, int64_t rung, int64_t k) {
    return rung == MODEL && s->widths ? (double)s->widths[column * s->K + k] : 1.0;
}

// By how much a rung's newest location one step ahead was moved: the unit is that of uncorrected answers.
static inline double moved_by(const Settlement *s, int64_t column, int64_t rung) {
    return rung == MODEL && s->moved ? s->moved[column] : 0.0;
}

// Of a column: [running pinball, updates] of a rung, or of what was ISSUED.
static inline double *loss_of(const Settlement *s, int64_t column, int64_t rung) {
    return s->loss + (column * (TRACKED + 1) + rung) * 2;
}

#endif
