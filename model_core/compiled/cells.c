// One cell of one series: readings add up in it, it settles into ring and scaler, it is corrected.

#include <float.h>
#include <math.h>

#include "phase_a.h"
#include "scaler.h"

// Add a reading to its cell.
void cell_add(Partition *p, int64_t column, int64_t tick, double value, int64_t stamp) {
    Fields *fields = &p->fields;
    int64_t row = row_at(column, tick, p->set.open_rows), at = row * BLOCK + column % BLOCK;
    double *total = &fields->open_value[at];
    int64_t first = fields->open_count[at]++ == 0;
    switch (fields->aggregate[column]) {
        case MEAN_OF:
        case SUM_OF:
            *total += value;
            break;
        case LAST_OF:  // of equal timestamps the last in the log
            if (stamp < fields->open_stamp[at]) break;
            fields->open_stamp[at] = stamp;
            *total = value;
            break;
        case MIN_OF:
            if (first || value < *total) *total = value;
            break;
        case MAX_OF:
            if (first || value > *total) *total = value;
            break;
        default:
            break;
    }
    fields->count_touched[row] = fields->value_touched[row] = TOUCHED;
    if (p->set.stamped) fields->stamp_touched[row] = TOUCHED;
}

// The row of `tick` becomes free for it, in every column.
void phase_a_clear(int64_t tick, Partition *p) {
    Fields *fields = &p->fields;
    for (int64_t block = 0; block < fields->blocks; block++) {
        int64_t row = row_at(block * BLOCK, tick, p->set.open_rows), start = row * BLOCK;
        for (int64_t at = start; at < start + BLOCK; at++) {
            fields->open_count[at] = 0;
            fields->open_value[at] = 0.0;
        }
        fields->count_touched[row] = fields->value_touched[row] = TOUCHED;
        if (!p->set.stamped) continue;
        for (int64_t at = start; at < start + BLOCK; at++) fields->open_stamp[at] = NEVER;
        fields->stamp_touched[row] = TOUCHED;
    }
}

// What float32 cannot hold would be infinite in the ring, and finite in the scaler: hold the largest in both.
static double bounded(double value) { return clipped(value, -(double)FLT_MAX, (double)FLT_MAX); }

// What a cell is worth.
double cell_value(const Partition *p, int64_t column, int64_t tick) {
    const Fields *fields = &p->fields;
    int64_t at = cell_at(column, tick, p->set.open_rows), readings = fields->open_count[at];
    if (readings == 0) return p->set.empty;
    switch (fields->aggregate[column]) {
        case MEAN_OF:
            return bounded(fields->open_value[at] / (double)readings);
        case COUNT_OF:
            return (double)readings;
        default:
            return bounded(fields->open_value[at]);
    }
}

void cell_put(Partition *p, int64_t column, int64_t tick, double value) {
    int64_t row = row_at(column, tick, p->set.capacity);
    p->fields.ring[row * BLOCK + column % BLOCK] = (float)value;
    p->fields.ring_touched[row] = TOUCHED;
}

// Whether a cell that has just settled leads to a forecast.
static int64_t is_due(Partition *p, int64_t column, int64_t tick) {
    const Settings *set = &p->set;
    if (p->fields.role[column] != TARGET || floor_mod(tick, set->forecast_every) != 0) return 0;
    if (isnan(set->empty) && tick - p->fields.last_seen[column] > set->dormant_ticks) return 0;
    if (p->fields.observed[column] >= set->min_readings) return 1;
    p->counts[WARMING_UP]++;
    return 0;
}

// The cell is final: into ring and scaler. Returns whether a forecast is due.
int64_t cell_enter(Partition *p, int64_t column, int64_t tick) {
    Fields *fields = &p->fields;
    double value = cell_value(p, column, tick);
    cell_put(p, column, tick, value);
    if (fields->first_tick[column] == NEVER) fields->first_tick[column] = tick;
    fields->last_tick[column] = tick;
    if (readings_in(p, column, tick)) fields->last_seen[column] = tick;
    if (isnan(value)) {
        p->counts[MISSING]++;
    } else {
        fields->observed[column]++;
        scaler_take(fields->scaler + column * SCALER_WIDTH, value, p->set.decay, p->set.level_decay);
    }
    p->counts[SETTLEMENTS]++;
    fields->hot_touched[column / BLOCK] = TOUCHED;
    if (!is_due(p, column, tick)) return 0;
    fields->newest_origin[column] = tick;
    fields->revision[column] = 0;
    return 1;
}

// A future covariate's cell: the newest value wins; cells skipped on the way are unknown.
void cell_put_known(Partition *p, int64_t column, int64_t tick, double value) {
    int64_t last = p->fields.last_tick[column], capacity = p->set.capacity;
    if (tick <= last - capacity) return;
    if (tick > last) {
        scaler_take(p->fields.scaler + column * SCALER_WIDTH, value, p->set.decay, p->set.level_decay);
        int64_t skipped = tick - last < capacity ? last + 1 : tick - capacity + 1;  // all of the ring, at most
        for (; skipped < tick; skipped++) cell_put(p, column, skipped, NAN);
        p->fields.last_tick[column] = tick;
        p->fields.hot_touched[column / BLOCK] = TOUCHED;
    }
    cell_put(p, column, tick, bounded(value));
}
