// Forecasts that are due: which rung answers, and the quantiles of all that are tracked, one series at a time.

#include "demand.h"
#include "drift.h"

#define BORROWED_UPDATES 20.0  // how many updates a unit taken over from another rung counts for
#define LEVEL_WIDTH 1.5        // standard deviations a unit of the level's quantiles: wide on purpose
#define UNIT_MIN 1e-9

// What the predictor has answered, and room for what becomes of it. B windows.
typedef struct {
    const double *locations;     // [B, 3, H], NaN where a rung has no answer
    const int8_t *reason;        // [B], why the model has none
    const uint8_t *suspicious;   // [B]
    const double *scale;         // [B]
    const double *level;         // [B]
    const double *own;           // [B, H, G], the model's own quantiles, NaN where it has none; null: never any
    const float *windows;        // [B, L, width], the target is its column 0
    int64_t length, width;
    int8_t *rungs, *reasons;     // [B]
    float *quantiles;            // [B, Q, H], or null where nobody asks
    float *mean;                 // [B, H], or null where nobody asks
    int8_t *runs;                // [B], what the end of a window says (drift.h), −1 for nothing
    double *run_facts;           // [B, 2]
    int64_t turned;              // how many say something, in the last wave
} Answers;

// Units [3] of a column about to be forecast; a new one gets the cohort's offsets.
static void prepare(const Settlement *s, int64_t column, double scale, double *unit) {
    if (!s->calibrated[column]) {
        float *offsets = s->offsets + offsets_at(s, column, MODEL, 0);
        const int64_t size = s->K * s->Q;
        for (int64_t i = 0; i < TRACKED * size; i++) offsets[i] = (float)s->cohort_offsets[i];
        // Of a model of demand the cohort's levels count beside the series' own.
        for (int64_t i = 0; by_level(s, MODEL) && i < size; i++) offsets[i] = 0.0f;
        s->calibrated[column] = 1;
        mark(s->scored_marks, column);
    }
    const double least = larger(s->unit_floor_share * scale, UNIT_MIN);
    s->unit_floor[column] = least;
    double *state = s->unit + column * TRACKED * 2;
    double *model = state + 2 * MODEL, *last = state + 2 * LAST_VALUE;
    if (s->trained && model[UPDATES] == 0.0 && last[UPDATES] > 0.0) {
        // A model without residuals of its own starts with the unit of the last value's.
        model[SQUARE] = last[SQUARE];
        model[UPDATES] = smaller(last[UPDATES], BORROWED_UPDATES);
        mark(s->scored_marks, column);
    }
    for (int64_t r = 0; r < TRACKED; r++) {
        unit[r] = larger(state[2 * r + UPDATES] > 0.0 ? sqrt(state[2 * r + SQUARE]) : 0.5 * scale, least);
    }
}

static bool all_finite(const double *values, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        if (!isfinite(values[i])) return false;
    }
    return true;
}

// The naive rung in favour; it stays so for a season. Whichever had the luckier week also believes in the smaller
// errors: following every turn of the running losses would publish intervals that are too narrow (77 % instead of 80 %
// on white noise).
static int64_t favourite(const Settlement *s, int64_t column, int64_t origin) {
    const double *seasonal = loss_of(s, column, SEASONAL_NAIVE), *last = loss_of(s, column, LAST_VALUE);
    const double of_seasonal = seasonal[1] > 0.0 ? seasonal[0] : INFINITY;
    const double of_last = last[1] > 0.0 ? last[0] : INFINITY;
    const int8_t better = of_seasonal < of_last ? SEASONAL_NAIVE : LAST_VALUE;
    if (origin >= s->naive_since[column] + s->season && better != s->naive_rung[column]) {
        s->naive_rung[column] = better;
        s->naive_since[column] = origin;
    }
    return s->naive_rung[column];
}

// The rung that answers; `reason` becomes why the model does not.
static int64_t choose(const Settlement *s, int64_t column, int64_t origin, const double *locations, bool suspicious,
                      int8_t *reason) {
    if (*reason == OK) {
        if (suspicious) s->resting_until[column] = origin + s->season;
        if (origin <= s->resting_until[column]) *reason = OUT_OF_DISTRIBUTION;
    }
    const int64_t favoured = favourite(s, column, origin);
    if (*reason == OK) return MODEL;
    const bool seasonal = all_finite(locations + SEASONAL_NAIVE * s->H, s->H);
    const bool last = all_finite(locations + LAST_VALUE * s->H, s->H);
    if (seasonal && (favoured == SEASONAL_NAIVE || !last)) return SEASONAL_NAIVE;
    return last ? LAST_VALUE : LEVEL;
}

static void keep_in_order(const Settlement *s, double unit, const double *bounds, double *quantiles) {
    const double lowest = bounds[0] - width_below(s, unit);
    for (int64_t i = 1; i < s->Q; i++) quantiles[i] = larger(quantiles[i - 1], quantiles[i]);
    for (int64_t i = 0; i < s->Q; i++) quantiles[i] = clipped(quantiles[i], lowest, bounds[1]);
}

// q[τ] = ŷ + u · (base[τ] + spread · Δ[τ]), rising with τ and within the bounds. → quantiles [Q], as the ledger has them
static void place(const Settlement *s, double location, double unit, const double *base, double spread,
                  const float *offsets, const double *bounds, double *quantiles) {
    for (int64_t i = 0; i < s->Q; i++) {
        quantiles[i] = location + unit * (base[i] + spread * (double)offsets[i]);
    }
    keep_in_order(s, unit, bounds, quantiles);
}

// A model of demand, asked at other levels: its own distribution [G], or where it has none a table around its location.
static void place_by_level(const Settlement *s, double location, double unit, const double *base, const double *own,
                           const double *cohort, const float *offsets, const double *bounds, double *quantiles) {
    const bool has_own = own && isfinite(own[0]);
    for (int64_t i = 0; i < s->Q; i++) {
        const double level = clipped(s->levels[i] + cohort[i] + (double)offsets[i], LEVEL_MIN, 1.0 - LEVEL_MIN);
        if (has_own) {
            const double quantile = at_level(own, s->fine_levels, s->G, level);
            quantiles[i] = quantile < 0.0 ? bounds[0] + quantile * width_below(s, unit) : quantile;
        } else {
            quantiles[i] = location + unit * at_level(base, s->levels, s->Q, level);
        }
    }
    keep_in_order(s, unit, bounds, quantiles);
}

// The same around the level, for every step of the horizon.
static void place_wide(const Settlement *s, double level, double scale, double unit, const double *bounds,
                       double *quantiles) {
    const double lowest = bounds[0] - width_below(s, unit);
    for (int64_t i = 0; i < s->Q; i++) {
        quantiles[i] = clipped(level + LEVEL_WIDTH * scale * s->normal[i], lowest, bounds[1]);
    }
}

// The quantiles of the rung that answers at every step of the horizon → published [Q, H].
static void publish(const Settlement *s, int64_t column, int64_t rung, const double *location, double unit,
                    const double *own, float *published) {
    const int64_t table = table_of(s, column, rung) * s->H;
    const float *offsets = s->offsets + offsets_at(s, column, rung, 0);
    const double *bounds = s->bounds + 2 * column;
    double *quantiles = s->table;
    for (int64_t h = 0; h < s->H; h++) {
        const double *base = s->tables + (table + h) * s->Q;
        const int64_t bucket = s->bucket[h] * s->Q;
        if (by_level(s, rung)) {
            place_by_level(s, location[h], unit, base, own ? own + h * s->G : 0, s->cohort_offsets + bucket,
                           offsets + bucket, bounds, quantiles);
        } else {
            const double width = width_of(s, column, rung, s->bucket[h]);
            place(s, location[h], width * unit, base, s->spread[table + h], offsets + bucket, bounds, quantiles);
        }
        for (int64_t i = 0; i < s->Q; i++) published[i * s->H + h] = (float)shown(s, bounds, (float)quantiles[i]);
    }
}

static void publish_level(const Settlement *s, int64_t column, const double *wide, float *published) {
    for (int64_t i = 0; i < s->Q; i++) {
        const float quantile = (float)shown(s, s->bounds + 2 * column, (float)wide[i]);
        for (int64_t h = 0; h < s->H; h++) published[i * s->H + h] = quantile;
    }
}

// Enters the quantiles of all tracked rungs, at the scored horizons whose target has not settled yet. `wide` [Q] are the
// level's where it answered, else null.
static void enter(const Settlement *s, int64_t column, int64_t origin, int64_t settled, int64_t rung,
                  const double *locations, const double *unit, const double *own, const double *wide, double level) {
    const double *bounds = s->bounds + 2 * column;
    for (int64_t k = 0; k < s->K; k++) {
        if (origin + s->horizons[k] <= settled) continue;  // of a corrected forecast the first have had their score
        const int64_t slot = s->first_slot[k] + floor_mod(floor_div(origin, s->every), s->slot_count[k]);
        const int64_t cell = cell_of(column, slot, s->ledger_rows);
        for (int64_t r = 0; r < TRACKED; r++) {
            const double *quantiles = wide;
            if (!wide || r != MODEL) {
                const int64_t table = table_of(s, column, r) * s->K + k, h = s->horizons[k] - 1;
                const double location = locations[r * s->H + h], *base = s->scored_tables + table * s->Q;
                const float *offsets = s->offsets + offsets_at(s, column, r, k);
                if (by_level(s, r)) {
                    place_by_level(s, location, unit[r], base, own ? own + h * s->G : 0, s->cohort_offsets + k * s->Q,
                                   offsets, bounds, s->table);
                } else {
                    const double width = width_of(s, column, r, k);
                    place(s, location, width * unit[r], base, s->scored_spread[table], offsets, bounds, s->table);
                }
                quantiles = s->table;
            }
            float *entered = s->issued + (cell * TRACKED + r) * s->Q;
            for (int64_t i = 0; i < s->Q; i++) entered[i] = (float)quantiles[i];
        }
        s->issued_rung[cell] = (int8_t)rung;
        mark_row(s->issued_marks, column, slot, s->ledger_rows);
        mark_row(s->issued_rung_marks, column, slot, s->ledger_rows);
        if (s->demand) {
            const double mean = wide ? level : locations[rung * s->H + s->horizons[k] - 1];
            s->issued_mean[cell] = (float)clipped(mean, bounds[0], bounds[1]);
            mark_row(s->issued_mean_marks, column, slot, s->ledger_rows);
        }
    }
}

// The row of a forecast that is issued for the first time is empty.
static void begin_results(const Settlement *s, int64_t column, int64_t origin) {
    const int64_t row = floor_mod(floor_div(origin, s->every), s->result_rows);
    double *results = s->results + cell_of(column, row, s->result_rows) * s->K * RESULT_WIDTH;
    for (int64_t i = 0; i < s->K * RESULT_WIDTH; i++) results[i] = NAN;
    mark_row(s->results_marks, column, row, s->result_rows);
}

// A series that has stopped, or stands still, is told of where a forecast looks at it.
static void watch_run(const Settlement *s, int64_t column, int64_t at, Answers *answers) {
    const int64_t cells = answers->length * answers->width;
    const int64_t said = run_watch(s, column, answers->windows + at * cells, answers->length, answers->width,
                                   answers->run_facts + 2 * at);
    answers->runs[at] = (int8_t)said;
    answers->turned += said >= 0;
}

static void publish_mean(const Settlement *s, int64_t column, const double *location, bool steady, float *mean) {
    const double *bounds = s->bounds + 2 * column;
    for (int64_t h = 0; h < s->H; h++) {
        const double value = clipped(location[steady ? 0 : h], bounds[0], bounds[1]);
        mean[h] = (float)clipped(value * correction(s, s->bucket[h]), bounds[0], bounds[1]);
    }
}

// Forecasts of distinct columns [rows], made from the answers at `start` and after. `settled` [rows] are the newest
// settled ticks; `corrected`: they have been issued before.
void phase_c_issue(int64_t rows, const Settlement *s, Answers *answers, int64_t start, const int64_t *index,
           const int64_t *origins, const int64_t *settled, int64_t corrected) {
    answers->turned = 0;
    for (int64_t row = 0; row < rows; row++) {
        const int64_t at = start + row, column = index[row], origin = origins[row];
        const double *locations = answers->locations + at * TRACKED * s->H;
        const double scale = answers->scale[at], level = answers->level[at];
        double unit[TRACKED];
        prepare(s, column, scale, unit);
        answers->reasons[at] = answers->reason[at];
        const int64_t rung =
            choose(s, column, origin, locations, answers->suspicious[at], answers->reasons + at);
        answers->rungs[at] = (int8_t)rung;
        mark(s->issuing_marks, column);
        float *published = answers->quantiles ? answers->quantiles + at * s->Q * s->H : 0;
        const bool on_level = rung == LEVEL;
        const double *location = on_level ? &level : locations + rung * s->H;
        const double *own = answers->own ? answers->own + at * s->H * s->G : 0;
        if (on_level) {
            place_wide(s, level, scale, unit[LAST_VALUE], s->bounds + 2 * column, s->sorted);
            if (published) publish_level(s, column, s->sorted, published);
        } else if (published) {
            publish(s, column, rung, location, unit[rung], own, published);
        }
        enter(s, column, origin, settled[row], rung, locations, unit, own, on_level ? s->sorted : 0, level);
        if (s->result_rows && !corrected) begin_results(s, column, origin);
        if (!corrected && !s->quiet) watch_run(s, column, at, answers);
        if (answers->mean) publish_mean(s, column, location, on_level, answers->mean + at * s->H);
    }
}
