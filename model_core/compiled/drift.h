// The drift detectors of one series: what they are is written in model_core/drift, one file each.

#ifndef TIDECAST_DRIFT_H
#define TIDECAST_DRIFT_H

#include "phase_c.h"

enum { QUIET_AGAIN, NEAR_ALARM, FAR_ALARM, MISSING_RUN, FLAT_RUN, LEVEL_CHANGE };  // model_core/drift/alarms.py: Said

// A residual to be looked at: in units, without its winsor.
typedef struct {
    bool there;
    double z;
} Residual;

static inline double unit_of(const Settlement *s, int64_t column, int64_t rung) {
    return larger(sqrt(s->unit[(column * TRACKED + rung) * 2 + SQUARE]), s->unit_floor[column]);
}

// One step of both sides (Page 1954): g⁺ = max(0, g⁺ + z − k). Returns the larger.
static inline double page_step(double *g, double z, double slack, double winsor) {
    z = clipped(z, -winsor, winsor);
    g[UP] = larger(0.0, g[UP] + z - slack);
    g[DOWN] = larger(0.0, g[DOWN] - z - slack);
    return larger(g[UP], g[DOWN]);
}

static inline double cusum_step(const Settlement *s, double *g, double z) {
    return page_step(g, z, s->drift_slack, s->drift_winsor);
}

// An alarm of any detector starts both CUSUMs anew, and rests for a season.
static inline void begin_rest(const Settlement *s, Drift *of, int64_t tick) {
    for (int64_t i = 0; i < SIDES; i++) of->cusum[i] = of->ahead[i] = 0.0;
    of->rest = tick + s->season;
    of->alarms++;
}

// Two CUSUMs, of one-step residuals and of those a whole horizon ahead; an alarm of either starts both anew, and both
// rest for a season. Returns what there is to tell, QUIET_AGAIN when a rest is over, −1 for nothing.
static inline int64_t cusum_watch(const Settlement *s, int64_t column, int64_t tick, Residual near, Residual far,
                                  double *statistic) {
    Drift *of = s->drift + column;
    if (tick <= of->rest) return -1;
    int64_t said = of->rest != NO_ALARM ? QUIET_AGAIN : -1;
    of->rest = NO_ALARM;
    if (near.there && (*statistic = cusum_step(s, of->cusum, near.z)) > s->threshold) said = NEAR_ALARM;
    if (far.there) {
        const double of_far = cusum_step(s, of->ahead, far.z);
        if (of_far > s->far_threshold && said != NEAR_ALARM) {
            said = FAR_ALARM;
            *statistic = of_far;
        }
    }
    if (said > QUIET_AGAIN) begin_rest(s, of, tick);
    return said;
}

// Running mean of the one-step residual and its mean squares, of now and over a long time; winsorised as the unit's.
static inline void learn_ratios(const Settlement *s, int64_t column, double residual, double unit) {
    double *of = s->drift[column].ratios;
    const double size = s->unit_winsor * unit;
    const double r = of[RATIO_UPDATES] >= 1.0 ? clipped(residual, -size, size) : residual;
    of[MEAN_ERROR] = updated_mean(of[MEAN_ERROR], of[RATIO_UPDATES], r, s->decay);
    of[SQUARE_NOW] = updated_mean(of[SQUARE_NOW], of[RATIO_UPDATES], r * r, s->decay);
    of[SQUARE_USUAL] = updated_mean(of[SQUARE_USUAL], of[RATIO_UPDATES], r * r, s->slow_decay);
    of[RATIO_UPDATES] += 1.0;
}

// The gap between the quantiles that the value fell into.
static inline int64_t bin_of(const Settlement *s, double at, const float *quantiles) {
    int64_t bin = 0;
    for (int64_t i = 0; i < s->Q; i++) bin += (double)quantiles[i] < at;
    return bin;
}

// Counts that gap (Dawid 1984).
static inline void count_in_histogram(const Settlement *s, int64_t column, int64_t bin) {
    float *counts = s->pit + column * (s->Q + 1);
    for (int64_t i = 0; i <= s->Q; i++) counts[i] *= (float)s->decay;
    counts[bin] += 1.0f;
}

// --- runs at the end of a window -------------------------------------------------------------------------------------

typedef struct {
    int64_t cells;   // of it
    int64_t before;  // where the cell before it lies, −1 for none
} Run;

// The run of missing, or else of equal, cells that ends at `last`. Missing cells neither count among equal ones nor
// interrupt them.
static inline Run run_to(const float *window, int64_t width, int64_t last, bool missing) {
    const float value = window[last * width];
    Run run = {.cells = 1, .before = last - 1};
    for (; run.before >= 0; run.before--) {
        const float cell = window[run.before * width];
        if (missing ? cell == cell : cell == cell && cell != value) break;
        run.cells += missing || cell == cell;
    }
    return run;
}

static inline int64_t longest_run(const float *window, int64_t width, int64_t last, bool missing) {
    int64_t longest = 0;
    while (last >= 0) {
        const float cell = window[last * width];
        if ((cell != cell) != missing) {
            last--;
            continue;
        }
        const Run run = run_to(window, width, last, missing);
        if (run.cells > longest) longest = run.cells;
        last = run.before;
    }
    return longest;
}

// Looks how the window [L] of a forecast ends. Returns what there is to tell, −1 for nothing; `facts` [2] are the length
// of the run and what it takes. Mostly that is one comparison: the newest value is not the one before it.
static inline int64_t run_watch(const Settlement *s, int64_t column, const float *window, int64_t length, int64_t width,
                                double *facts) {
    if (length < 2) return -1;
    const int64_t last = length - 1, least = s->season < length / 2 ? s->season : length / 2;
    const bool missing = window[last * width] != window[last * width];
    const int64_t kind = missing ? MISSING_RUN : FLAT_RUN;
    const Run run = run_to(window, width, last, missing);
    int8_t *state = s->run_state + column;
    facts[0] = (double)run.cells, facts[1] = (double)least;
    if (*state) {
        if (*state == kind && run.cells >= least) return -1;
        *state = 0;
        return QUIET_AGAIN;
    }
    if (run.cells < least || run.before < 0) return -1;  // a window without any other value says nothing
    const int64_t twice = 2 * longest_run(window, width, run.before, missing);
    if (run.cells < twice) return -1;
    if (twice > least) facts[1] = (double)twice;
    *state = (int8_t)kind;
    return kind;
}

#endif
