// Cells that settle meet what was issued for them: scores, drift, offsets and units move, one series at a time.

#include "demand.h"
#include "level.h"

// What Python has to tell, as rows of the wave: CUSUMs that turned, forecasts whose last target has settled, series
// whose season is over.
typedef struct {
    int64_t turned, completed, summarised;  // how many
    int64_t *turned_rows, *completed_rows, *summarised_rows;
    double *statistic;  // of the CUSUMs that turned
    int8_t *said;       // which of them, or QUIET_AGAIN
    double *lost;       // of every row: the pinball of what was issued for it, NaN where nothing is scored; or null
} Found;

// The forecasts that can wait for one tick: which of the scored horizons, and where they lie.
typedef struct {
    int64_t tick, season, count;  // `season`: its number
    int64_t k[HORIZONS_MAX], slot[HORIZONS_MAX], result[HORIZONS_MAX];
} Due;

// A forecast that was issued for the cell.
typedef struct {
    int64_t k, result, rung;
    const float *quantiles;     // [3, Q]
    const float *issued;        // [Q], those that were published
    double loss[TRACKED + 1];   // pinball
    double median;              // of those, as it was shown
    double at[TRACKED + 1];     // where the value stands among the quantiles: of demand not just where it is
    double width[TRACKED];      // below the lowest value
    double mean;                // that was issued, of demand
    bool tracked[TRACKED];      // the rung had an answer of its own
} Entry;

static void find_due(const Settlement *s, int64_t tick, Due *due) {
    due->tick = tick;
    due->season = floor_div(tick, s->season);
    due->count = 0;
    for (int64_t k = 0; k < s->K; k++) {
        const int64_t origin = tick - s->horizons[k];
        if (floor_mod(origin, s->every)) continue;
        const int64_t turn = floor_div(origin, s->every), i = due->count++;
        due->k[i] = k;
        due->slot[i] = s->first_slot[k] + floor_mod(turn, s->slot_count[k]);
        due->result[i] = s->result_rows ? floor_mod(turn, s->result_rows) : 0;
    }
}

// Mean over levels of ρτ(y − q) = max(τ d, (τ − 1) d) (Koenker 1978).
static double pinball(const Settlement *s, const double *bounds, double y, const float *quantiles) {
    double sum = 0.0;
    for (int64_t i = 0; i < s->Q; i++) {
        const double d = y - shown(s, bounds, quantiles[i]);
        sum += larger(s->levels[i] * d, (s->levels[i] - 1.0) * d);
    }
    return sum / (double)s->Q;
}

// Where the value stands among the quantiles of each rung and of what was issued.
static void stand(const Settlement *s, int64_t column, int64_t tick, double y, Entry *entry) {
    for (int64_t r = 0; r <= TRACKED; r++) entry->at[r] = y;
    if (!s->demand) return;
    const double lower = (double)(float)s->bounds[2 * column], draw = drawn(s->seed[column], tick);
    for (int64_t r = 0; r < TRACKED; r++) {
        const double *unit = s->unit + (column * TRACKED + r) * 2;
        entry->width[r] = width_below(s, larger(sqrt(unit[SQUARE]), s->unit_floor[column]));
        entry->at[r] = placed(s, y, lower, entry->width[r], draw);
    }
    entry->at[ISSUED] = entry->at[entry->rung == LEVEL ? LAST_VALUE : entry->rung];
}

// Takes out what waits for the cell, with what it costs. Returns how many there were.
static int64_t take(const Settlement *s, const Due *due, int64_t column, double y, Entry *entries) {
    int64_t count = 0;
    for (int64_t i = 0; i < due->count; i++) {
        const int64_t cell = cell_of(column, due->slot[i], s->ledger_rows);
        const int64_t rung = s->issued_rung[cell];
        if (rung == NOT_ISSUED) continue;
        s->issued_rung[cell] = NOT_ISSUED;
        mark_row(s->issued_rung_marks, column, due->slot[i], s->ledger_rows);
        Entry *entry = entries + count++;
        entry->k = due->k[i], entry->result = due->result[i], entry->rung = rung;
        entry->quantiles = s->issued + cell * TRACKED * s->Q;
        const int64_t place = rung == LEVEL ? MODEL : rung;  // the level is not tracked, it lies in the model's place
        entry->issued = entry->quantiles + place * s->Q;
        for (int64_t r = 0; r < TRACKED; r++) {
            const float *quantiles = entry->quantiles + r * s->Q;
            entry->loss[r] = pinball(s, s->bounds + 2 * column, y, quantiles);
            entry->tracked[r] = isfinite(quantiles[s->median]) && !(r == MODEL && rung == LEVEL);
        }
        entry->loss[ISSUED] = entry->loss[place];
        entry->mean = s->demand ? (double)s->issued_mean[cell] : 0.0;
        entry->median = shown(s, s->bounds + 2 * column, entry->issued[s->median]);
        stand(s, column, due->tick, y, entry);
    }
    return count;
}

static bool inside(const Settlement *s, double y, const float *quantiles, int64_t interval) {
    const int64_t *of = s->intervals + 2 * interval;
    return (double)quantiles[of[0]] <= y && y <= (double)quantiles[of[1]];
}

// Running scores: one update a tick, with the mean over the horizons that have settled with it. Returns that of what was
// issued.
static double score(const Settlement *s, int64_t column, double y, const Entry *entries, int64_t count) {
    double sum[TRACKED + 1] = {0.0}, size = 0.0;
    int64_t losses[TRACKED + 1] = {0, 0, 0, count};
    for (int64_t i = 0; i < count; i++) {
        for (int64_t r = 0; r < TRACKED; r++) {
            if (!entries[i].tracked[r]) continue;
            sum[r] += entries[i].loss[r];
            losses[r]++;
        }
        sum[ISSUED] += entries[i].loss[ISSUED];
        size += fabs(y - entries[i].median);
    }
    const double updates = loss_of(s, column, ISSUED)[1];
    for (int64_t r = 0; r <= ISSUED; r++) {
        if (!losses[r]) continue;
        double *loss = loss_of(s, column, r);
        loss[0] = updated_mean(loss[0], loss[1], sum[r] / (double)losses[r], s->decay);
        loss[1] += 1.0;
    }
    if (s->quiet) return sum[ISSUED] / (double)count;
    s->error[column] = updated_mean(s->error[column], updates, size / (double)count, s->decay);
    double *coverage = s->coverage + column * (s->I ? s->I : 1);
    for (int64_t j = 0; j < s->I; j++) {
        int64_t hits = 0;
        for (int64_t i = 0; i < count; i++) {
            const bool hit = inside(s, entries[i].at[ISSUED], entries[i].issued, j);
            hits += hit;
            s->cohort_hits[entries[i].k * s->I + j] += hit;
        }
        coverage[j] = updated_mean(coverage[j], updates, (double)hits / (double)count, s->decay);
    }
    for (int64_t i = 0; i < count; i++) s->cohort_scored[entries[i].k]++;
    s->scored[column] += count;
    return sum[ISSUED] / (double)count;
}

// Which forecasts a whole horizon ahead are looked at: those whose spans do not overlap.
static bool starts_span(const Settlement *s, int64_t origin) {
    return floor_mod(floor_div(origin, s->every), s->span_turns) == 0;
}

// Of demand no residual is like another, a rare sale is always far from a median of zero: it is told by where among the
// quantiles it fell. In units of u, or of a standard normal variable; 0 before u is known.
static double standardised(const Settlement *s, int64_t column, double y, const Entry *entry, double spread) {
    const double *unit = s->unit + (column * TRACKED + entry->rung) * 2;
    if (unit[UPDATES] == 0.0) return 0.0;
    if (s->demand) return s->bin_score[bin_of(s, entry->at[ISSUED], entry->issued)];
    return (y - entry->median) / (unit_of(s, column, entry->rung) * spread);
}

// At most once a row: who has just alarmed rests.
static void tell_turned(Found *found, int64_t row, int64_t said, double statistic) {
    const int64_t i = found->turned++;
    found->turned_rows[i] = row, found->statistic[i] = statistic, found->said[i] = (int8_t)said;
}

// The detectors take the cell. Returns whether a decision is under way (above h/2): the unit keeps its value meanwhile.
static bool watch(const Settlement *s, int64_t column, int64_t tick, double y, const Entry *entries, int64_t count,
                  int64_t row, Found *found) {
    const Entry *first = entries, *last = entries + count - 1;
    Residual near = {.there = first->k == 0 && first->rung != LEVEL};
    Residual far = {.there = s->K > 1 && last->k == s->K - 1 && last->rung != LEVEL &&
                             starts_span(s, tick - s->horizons[last->k])};
    if (!near.there && !far.there) return false;
    if (near.there) {
        near.z = standardised(s, column, y, first, 1.0);
        if (!s->quiet) {
            const double unit = s->demand ? 1.0 : unit_of(s, column, first->rung);
            learn_ratios(s, column, s->demand ? near.z : y - first->median, unit);
            count_in_histogram(s, column, bin_of(s, first->at[ISSUED], first->issued));
        }
    }
    if (far.there) {
        const int64_t table = table_of(s, column, last->rung) * s->K + last->k;
        far.z = standardised(s, column, y, last, s->scored_spread[table]);
    }
    const double *g = s->drift[column].cusum;
    const bool deciding = near.there && larger(g[UP], g[DOWN]) > s->threshold / 2.0;
    double statistic = larger(g[UP], g[DOWN]);
    const int64_t said = cusum_watch(s, column, tick, near, far, &statistic);
    if (said >= 0) tell_turned(found, row, said, statistic);
    return deciding;
}

// Projects offsets [Q] so that the quantiles they make over base [Q] rise with the level. Only what falls is touched.
static void make_rise(const Settlement *s, double *offsets, const double *base, double spread) {
    double *table = s->sorted;
    bool falls = false;
    for (int64_t i = 0; i < s->Q; i++) {
        table[i] = base[i] + spread * offsets[i];
        falls |= i > 0 && table[i] < table[i - 1];
    }
    if (!falls) return;
    for (int64_t i = 1; i < s->Q; i++) {
        const double value = table[i];
        int64_t j = i;
        for (; j > 0 && table[j - 1] > value; j--) table[j] = table[j - 1];
        table[j] = value;
    }
    for (int64_t i = 0; i < s->Q; i++) offsets[i] = (table[i] - base[i]) / spread;
}

// A quantile moves by the rate times its miss. Equal is no evidence; one held at a bound must not wind up behind it.
static void learn_offsets(const Settlement *s, int64_t column, int64_t rung, const Entry *entry) {
    const double y = entry->at[rung];
    const float *quantiles = entry->quantiles + rung * s->Q;
    float *offsets = s->offsets + offsets_at(s, column, rung, entry->k);
    // As the quantiles are: 0.1 is not 0.1 there.
    const double lowest = s->bounds[2 * column] - (s->demand ? entry->width[rung] : 0.0);
    const float lower = (float)lowest, upper = (float)s->bounds[2 * column + 1];
    const int64_t cohort = (rung * s->K + entry->k) * s->Q;
    double *moved = s->table;
    for (int64_t i = 0; i < s->Q; i++) {
        const bool above = y > (double)quantiles[i];
        const bool held = above ? quantiles[i] >= upper : quantiles[i] <= lower;
        const bool counts = y != (double)quantiles[i] && !held;
        const double step = counts ? s->rates[entry->k] * ((double)above - (1.0 - s->levels[i])) : 0.0;
        moved[i] = clipped((double)offsets[i] + step, -OFFSET_MAX, OFFSET_MAX);
        s->cohort_above[cohort + i] += above && counts;
        s->cohort_counted[cohort + i] += counts;
    }
    const int64_t table = table_of(s, column, rung) * s->K + entry->k;
    make_rise(s, moved, s->scored_tables + table * s->Q, s->scored_spread[table]);
    for (int64_t i = 0; i < s->Q; i++) offsets[i] = (float)moved[i];
}

// A level moves by the rate times its miss; none winds up, there is no way out of (0, 1).
static void learn_levels(const Settlement *s, int64_t column, const Entry *entry) {
    const float *quantiles = entry->quantiles + MODEL * s->Q;
    float *offsets = s->offsets + offsets_at(s, column, MODEL, entry->k);
    const int64_t cohort = entry->k * s->Q;
    for (int64_t i = 0; i < s->Q; i++) {
        const bool above = entry->at[MODEL] > (double)quantiles[i];
        const double moved = (double)offsets[i] + s->rates[entry->k] * ((double)above - (1.0 - s->levels[i]));
        offsets[i] = (float)clipped(moved, -LEVEL_SHIFT_MAX, LEVEL_SHIFT_MAX);
        s->cohort_above[cohort + i] += above;
        s->cohort_counted[cohort + i]++;
    }
}

// Mean square of one-step residuals, innovations winsorised (residuals.py: update_unit).
static void learn_unit(const Settlement *s, int64_t column, int64_t rung, double residual) {
    double *state = s->unit + (column * TRACKED + rung) * 2;
    const double unit = larger(sqrt(state[SQUARE]), s->unit_floor[column]);
    double size = fabs(residual);
    if (state[UPDATES] >= 1.0) size = smaller(size, s->unit_winsor * unit);
    state[SQUARE] = updated_mean(state[SQUARE], state[UPDATES], size * size, s->decay);
    state[UPDATES] += 1.0;
}

static void learn(const Settlement *s, int64_t column, double y, const Entry *entries, int64_t count, bool frozen) {
    for (int64_t i = 0; i < count; i++) {
        const Entry *entry = entries + i;
        if (s->demand) {
            s->cohort_totals[entry->k * TOTALS + NEW_ACTUAL] += y;
            s->cohort_totals[entry->k * TOTALS + NEW_MEAN] += entry->mean;
        }
        for (int64_t r = 0; r < TRACKED; r++) {
            if (!entry->tracked[r]) continue;
            if (by_level(s, r)) {
                learn_levels(s, column, entry);
            } else {
                learn_offsets(s, column, r, entry);
            }
            if (entry->k == 0 && !frozen) {  // the first scored horizon is one step
                const float median = entry->quantiles[r * s->Q + s->median];
                const double uncorrected = shown(s, s->bounds + 2 * column, median) - moved_by(s, column, r);
                learn_unit(s, column, r, y - uncorrected);
            }
        }
    }
}

// Results of single forecasts, until their last scored horizon has settled. Returns whether that is now.
static bool keep_results(const Settlement *s, int64_t column, double actual, double y, const Entry *entries,
                         int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        const Entry *entry = entries + i;
        const int64_t cell = cell_of(column, entry->result, s->result_rows);
        double *result = s->results + (cell * s->K + entry->k) * RESULT_WIDTH;
        int64_t bits = 0;
        for (int64_t j = 0; j < s->I; j++) bits |= (int64_t)inside(s, entry->at[ISSUED], entry->issued, j) << j;
        result[0] = actual;
        result[1] = y - entry->median;
        result[2] = entry->loss[ISSUED];
        result[3] = entry->loss[SEASONAL_NAIVE];
        result[4] = entry->loss[LAST_VALUE];
        result[5] = (double)bits;
        mark_row(s->results_marks, column, entry->result, s->result_rows);
    }
    return entries[count - 1].k == s->K - 1;
}

// One row of a wave, whose column has forecasts waiting for it.
static void settle_cell(const Settlement *s, int64_t column, double actual, const Due *due, int64_t row, Found *found) {
    // Windows hold float32, so that is what a forecast can hit; a constant 21.3 would be missed for ever otherwise.
    const double y = (double)(float)actual;
    Entry entries[HORIZONS_MAX];
    const int64_t count = take(s, due, column, y, entries);
    if (!count) return;
    if (isfinite(actual)) {
        const double lost = score(s, column, y, entries, count);
        if (found->lost) found->lost[row] = lost;
        const bool frozen = watch(s, column, due->tick, y, entries, count, row, found);
        learn(s, column, y, entries, count, frozen);
        mark(s->scored_marks, column);
    }
    if (s->result_rows && keep_results(s, column, actual, y, entries, count)) {
        found->completed_rows[found->completed++] = row;
    }
    if (s->quiet) return;
    // Once a season a series says how it has been doing.
    const int64_t period = s->season > s->every ? s->season : s->every;
    if (s->scored[column] > 0 && floor_mod(due->tick, period) == 0) found->summarised_rows[found->summarised++] = row;
}

// Cells [rows], at most one of a column: index, ticks, values (NaN where missing) and |y_t − y_{t−m}| (NaN where
// unknown). `found` has room for as many rows.
void phase_c_settle(int64_t rows, const Settlement *s, Found *found, const int64_t *index, const int64_t *ticks,
            const double *values, const double *change) {
    Due due = {.count = -1};
    found->turned = found->completed = found->summarised = 0;
    for (int64_t row = 0; row < rows; row++) {
        const int64_t column = index[row];
        if (found->lost) found->lost[row] = NAN;
        if (s->role[column] != 0) continue;  // a covariate
        if (isfinite(change[row])) {
            Season *season = s->season_state + column;
            season->change = updated_mean(season->change, season->updates, change[row], s->decay);
            season->updates += 1.0;
            mark(s->season_state_marks, column);
        }
        // All cells of a wave mostly settle the same tick; with forecast_every most ticks have nothing waiting.
        if (due.count < 0 || ticks[row] != due.tick) find_due(s, ticks[row], &due);
        double statistic = 0.0;
        if (level_watch(s, column, due.tick, due.season, values[row], &statistic)) {
            begin_rest(s, s->drift + column, due.tick);
            mark(s->scored_marks, column);
            tell_turned(found, row, LEVEL_CHANGE, statistic);
        }
        if (due.count) settle_cell(s, column, values[row], &due, row, found);
    }
}

// Levels of the cohort at one scored horizon: the more values a tick has, and the sooner they come, the faster.
static void close_levels(const Settlement *s, int64_t k) {
    double *offsets = s->cohort_offsets + k * s->Q;
    const double most = smaller(COHORT_RATE, COHORT_GAIN * (double)s->every / (double)s->horizons[k]);
    for (int64_t i = 0; i < s->Q; i++) {
        int64_t *above = s->cohort_above + k * s->Q + i, *counted = s->cohort_counted + k * s->Q + i;
        if (*counted) {
            const double count = (double)*counted, rate = most * count / (count + COHORT_COUNT);
            const double moved = offsets[i] + rate * ((double)*above / count - (1.0 - s->levels[i]));
            offsets[i] = clipped(moved, -LEVEL_SHIFT_MAX, LEVEL_SHIFT_MAX);
        }
        *above = *counted = 0;
    }
}

static void close_totals(const Settlement *s, int64_t k) {
    double *totals = s->cohort_totals + k * TOTALS;
    if (totals[NEW_MEAN] == 0.0 && totals[NEW_ACTUAL] == 0.0) return;
    totals[OF_ACTUAL] = s->decay * totals[OF_ACTUAL] + totals[NEW_ACTUAL];
    totals[OF_MEAN] = s->decay * totals[OF_MEAN] + totals[NEW_MEAN];
    totals[OF_TICKS] = s->decay * totals[OF_TICKS] + 1.0;
    totals[NEW_ACTUAL] = totals[NEW_MEAN] = 0.0;
}

// The watermark closed a tick: the cohort takes what was learned since the last one.
void phase_c_close(int64_t rungs, const Settlement *s) {
    const int64_t size = rungs * s->K * s->Q;
    bool any = false;
    for (int64_t i = 0; i < size; i++) any |= s->cohort_counted[i] > 0;
    if (!any) return;
    for (int64_t k = 0; s->demand && k < s->K; k++) {
        close_levels(s, k);
        close_totals(s, k);
    }
    for (int64_t start = s->demand ? s->K * s->Q : 0; start < size; start += s->Q) {
        double *offsets = s->cohort_offsets + start;
        const double rate = s->rates[start / s->Q % s->K];
        for (int64_t i = 0; i < s->Q; i++) {
            int64_t *above = s->cohort_above + start + i, *counted = s->cohort_counted + start + i;
            if (*counted) {
                const double share = (double)*above / (double)*counted;
                offsets[i] = clipped(offsets[i] + rate * (share - (1.0 - s->levels[i])), -OFFSET_MAX, OFFSET_MAX);
            }
            *above = *counted = 0;
        }
        make_rise(s, offsets, s->scored_tables + start, s->scored_spread[start / s->Q]);
    }
}
