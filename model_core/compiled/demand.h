// Demand is discrete: half of its values may be one and the same zero. What is learned of it, and whether it was
// covered, goes by the randomised probability integral transform (Czado, Gneiting and Held 2009): a count y stands
// anywhere in (y − 1, y], a sum of zero anywhere within a unit below zero, at a place drawn from series and tick. The
// quantiles that wait in the ledger are of that continuous value (Machado and Santos Silva 2005 call it the jittered
// count); shown are those of the count itself, rounded up.
//
// A model of demand has no location that quantiles could be moved along with: it is asked at other levels instead
// (Gibbs and Candès 2021). What is learned are levels, of a series slowly and of the cohort as a whole faster, since
// what moves demand moves that of all series. Its mean is corrected by the total of actual values over that of means.

#ifndef TIDECAST_DEMAND_H
#define TIDECAST_DEMAND_H

#include "phase_c.h"

#define DUST 1e-6  // of a count, relative: what float32 leaves on a whole number

#define LEVEL_SHIFT_MAX 0.4
#define LEVEL_MIN 0.01
#define COHORT_RATE 0.05  // of a cohort's levels, at most; for late labels less, or it would swing
#define COHORT_GAIN 0.5
#define COHORT_COUNT 20.0  // values in a tick that are worth half of that
#define TOTAL_TICKS 3.0    // ticks with which a correction counts half
#define TOTAL_RATIO_MAX 2.0

enum totals { OF_ACTUAL, OF_MEAN, OF_TICKS, NEW_ACTUAL, NEW_MEAN, TOTALS };

static inline bool by_level(const Settlement *s, int64_t rung) {
    return s->demand && rung == MODEL;
}

// A value of a table at a level, on the line between its neighbours.
static inline double at_level(const double *table, const double *levels, int64_t count, double level) {
    if (count < 2) return table[0];
    int64_t i = 1;
    while (i < count - 1 && levels[i] < level) i++;
    const double share = (level - levels[i - 1]) / (levels[i] - levels[i - 1]);
    return table[i - 1] + share * (table[i] - table[i - 1]);
}

// By how much the means of a bucket were too small, as far as that is known.
static inline double correction(const Settlement *s, int64_t k) {
    const double *totals = s->cohort_totals + k * TOTALS;
    if (!(totals[OF_MEAN] > 0.0) || !(totals[OF_ACTUAL] > 0.0)) return 1.0;
    const double ratio = clipped(totals[OF_ACTUAL] / totals[OF_MEAN], 1.0 / TOTAL_RATIO_MAX, TOTAL_RATIO_MAX);
    return 1.0 + (ratio - 1.0) * totals[OF_TICKS] / (totals[OF_TICKS] + TOTAL_TICKS);
}

static inline double whole(double quantile) {
    return ceil(quantile - DUST * larger(1.0, fabs(quantile))) + 0.0;  // + 0: no minus zero
}

// How far below the lowest value its place may be.
static inline double width_below(const Settlement *s, double unit) {
    return !s->demand ? 0.0 : s->whole ? 1.0 : unit;
}

// A number in (0, 1) that series and tick decide (splitmix64, Steele, Lea and Flood 2014).
static inline double drawn(int64_t seed, int64_t tick) {
    uint64_t x = (uint64_t)seed + (uint64_t)tick * 0x9E3779B97F4A7C15u;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    x ^= x >> 31;
    return ((double)(x >> 11) + 0.5) * 0x1p-53;
}

// Where a value of demand stands among the quantiles of the continuous one.
static inline double placed(const Settlement *s, double y, double lower, double width, double draw) {
    return s->whole || y <= lower ? y - draw * width : y;
}

// What is published of a quantile in the ledger.
static inline double shown(const Settlement *s, const double *bounds, float quantile) {
    if (!s->demand) return (double)quantile;
    return larger(s->whole ? whole((double)quantile) : (double)quantile, s->whole ? whole(bounds[0]) : bounds[0]);
}

#endif
