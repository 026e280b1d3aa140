// The walk over a poll's readings in log order: ticks close, readings are judged and taken, cells settle.
//
// The result is that of taking the log one reading after the other, wherever polls or full buffers cut it.

#include <stddef.h>

#include "phase_a.h"
#include "scaler.h"

// For phase_a.py to compare with what it takes the structs for.
int64_t phase_a_bytes(int64_t which) {
    const size_t sizes[] = {sizeof(Partition), sizeof(Cell), sizeof(Wave), sizeof(Rejection)};
    return (int64_t)sizes[which];
}

// --- the grid --------------------------------------------------------------------------------------------------------

static int64_t start_of(const Settings *set, int64_t tick) {
    if (!set->midnights) return tick * set->step_ms;
    return set->midnights[tick < 0 ? 0 : tick < set->days ? tick : set->days - 1];
}

// The day of a moment: the last midnight that is not after it.
static int64_t day_of(const Settings *set, int64_t at_ms) {
    int64_t low = 0, high = set->days;
    while (low < high) {
        int64_t middle = (low + high) / 2;
        if (set->midnights[middle] <= at_ms) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low - 1;
}

// Readings that follow each other are most often of one step.
static int64_t tick_of(Partition *p, int64_t at_ms) {
    if (at_ms < p->known_start || at_ms >= p->known_end) {
        p->known_tick = p->set.midnights ? day_of(&p->set, at_ms) : floor_div(at_ms, p->set.step_ms);
        p->known_start = start_of(&p->set, p->known_tick);
        p->known_end = start_of(&p->set, p->known_tick + 1);
    }
    return p->known_tick;
}

// --- ticks close -----------------------------------------------------------------------------------------------------

// The watermark passed the end of a tick: it is final for every series that lags. All enter before any forecast looks
// at them. A column is listed as it is where its cell settled, as its complement where the series has not begun.
static void close_next(Partition *p) {
    Fields *fields = &p->fields;
    int64_t tick = ++p->closed;
    wave_group(p);
    // A wave of its own, so that a report leaves with the reading that made it due, whatever settles.
    if (floor_mod(tick, p->set.report_ticks) == 0) wave_passed(p, p->cause);
    p->listed = p->told = 0;
    for (int64_t column = 0; column < fields->used; column++) {
        int64_t last = fields->last_tick[column];
        if (last >= tick || last == NEVER || fields->role[column] == FUTURE) continue;
        int64_t begun = fields->first_tick[column] != NEVER || readings_in(p, column, tick);
        if (begun) cell_enter(p, column, tick);
        fields->last_tick[column] = tick;
        fields->hot_touched[column / BLOCK] = TOUCHED;
        fields->listed[p->listed++] = begun ? column : ~column;
    }
    p->first_round = 1;
    p->silence_due = floor_mod(tick, p->set.silence_ticks) == 0;
}

// Of the columns listed those whose next cell is complete go on, again together.
static void enter_complete(Partition *p) {
    int64_t kept = 0, wanted = p->set.readings_per_step, *listed = p->fields.listed;
    for (int64_t i = 0; i < p->listed && wanted; i++) {
        int64_t column = listed[i] < 0 ? ~listed[i] : listed[i], next = p->fields.last_tick[column] + 1;
        if (readings_in(p, column, next) < wanted) continue;
        cell_enter(p, column, next);
        listed[kept++] = column;
    }
    p->listed = kept;
    p->told = 0;
}

// Tell the cells of the columns listed, and those that follow from them; false when there is no room.
static int64_t tell_listed(Partition *p) {
    for (; p->told < p->listed; p->told++) {
        int64_t column = p->fields.listed[p->told];
        if (column < 0) continue;
        if (!wave_room(p)) return 0;
        int64_t tick = p->fields.last_tick[column], due = p->fields.newest_origin[column] == tick;
        wave_tell(p, SETTLED, column, tick, cell_value(p, column, tick), p->cause, due ? tick : NEVER);
    }
    if (p->first_round) phase_a_clear(p->closed + p->set.open_ticks + 1, p);
    p->first_round = 0;
    enter_complete(p);
    return 1;
}

// --- one reading -----------------------------------------------------------------------------------------------------

// A reading of a settled cell: the window changes, and the newest forecast that saw the cell is issued again.
static void correct(Partition *p, int64_t column, int64_t tick, int64_t offset) {
    Fields *fields = &p->fields;
    double value = cell_value(p, column, tick);
    cell_put(p, column, tick, value);
    // Whoever only ever comes late is not silent.
    if (fields->last_seen[column] < tick) fields->last_seen[column] = tick;
    fields->hot_touched[column / BLOCK] = TOUCHED;
    p->counts[CORRECTIONS]++;
    int64_t origin = fields->newest_origin[column];
    if (origin < tick || origin - p->set.length >= tick) return;
    fields->revision[column]++;
    wave_tell(p, CORRECTED, column, tick, value, offset, origin);
}

static void reject(Partition *p, int64_t verdict, int64_t amount) {
    p->rejected[p->rejected_count++] = (Rejection){p->at, verdict, amount};
}

// Known-future values: the newest wins, the watermark does not move, nothing settles. What comes before time begins
// has no limit.
static void take_future(Partition *p, int64_t column, int64_t tick, double value) {
    int64_t ahead = p->closed == NEVER ? 0 : tick - p->closed;
    if (ahead <= p->set.open_ticks + p->set.known_ahead) {
        cell_put_known(p, column, tick, value);
        return;
    }
    p->counts[BEYOND]++;
    reject(p, OUT_OF_RANGE, ahead);
}

static void take_present(Partition *p, int64_t column, int64_t tick) {
    const Fields *fields = &p->fields;
    cell_add(p, column, tick, p->values[p->at], p->stamps[p->at]);
    p->late_tick = INT64_MAX;
    if (tick <= fields->last_tick[column]) {
        // A new series may begin behind the watermark: its cells are ready as they come.
        if (fields->first_tick[column] == NEVER) p->late_tick = tick;
        else correct(p, column, tick, p->offsets[p->at]);
    }
    p->following = 1;
    p->follower = column;
    p->follow_offset = p->offsets[p->at];
}

// The next cell of the series that has just spoken, when it is ready; NEVER when it is not.
static int64_t next_ready(const Partition *p) {
    int64_t next = p->fields.last_tick[p->follower] + 1, wanted = p->set.readings_per_step;
    if (p->late_tick <= p->closed) return p->late_tick;
    return wanted && readings_in(p, p->follower, next) >= wanted ? next : NEVER;
}

// Settle what a reading made ready; false when there is no room.
static int64_t follow(Partition *p) {
    for (int64_t tick = next_ready(p); tick != NEVER; tick = next_ready(p)) {
        if (!wave_room(p)) return 0;
        int64_t due = cell_enter(p, p->follower, tick);
        double value = cell_value(p, p->follower, tick);
        wave_tell(p, SETTLED, p->follower, tick, value, p->follow_offset, due ? tick : NEVER);
        if (p->late_tick <= p->closed) p->late_tick++;
    }
    p->following = 0;
    return 1;
}

// Judge and take the next reading, unless time must begin or pass first.
static enum answer take_next(Partition *p) {
    int64_t column = p->index[p->at], stamp = p->stamps[p->at];
    int64_t future = p->set.future && p->fields.role[column] == FUTURE, moves = !future && stamp > p->newest_ms;
    if (!wave_room(p)) return FULL;
    if (moves) {
        if (p->closed == NEVER) return BEGINS;
        int64_t goal = tick_of(p, stamp - p->set.behind_ms) - 1;
        if (goal > p->closed) {
            p->goal = goal;
            p->gap_from = p->closed;
            p->cause = p->offsets[p->at];
            return DONE;
        }
    }
    int64_t tick = tick_of(p, stamp), watermark = p->newest_ms - p->set.behind_ms;
    if (!future && p->known_end + p->set.lateness_ms <= watermark) {
        p->counts[LATE]++;
        reject(p, TOO_LATE, watermark - p->known_end);
    } else if (p->repeated && p->repeated[p->at]) {
        p->counts[DUPLICATE]++;
    } else {
        p->counts[ACCEPTED]++;
        if (future) take_future(p, column, tick, p->values[p->at]);
        else take_present(p, column, tick);
    }
    if (moves) p->newest_ms = stamp;
    p->at++;
    return DONE;
}

// Go on until `count` readings are done (DONE), or until Python must do something first: take what was told (FULL), say
// where time begins (BEGINS), skip the rest of a long gap (GAP), or look for series that fell silent (SILENCE).
int64_t phase_a_run(int64_t count, Partition *p) {
    for (;;) {
        if (p->listed) {
            if (!tell_listed(p)) return FULL;
        } else if (p->silence_due) {
            p->silence_due = 0;
            return SILENCE;
        } else if (p->following) {
            if (!follow(p)) return FULL;
        } else if (p->closed < p->goal) {
            if (p->closed - p->gap_from >= p->set.dormant_ticks + p->set.open_ticks) return GAP;
            if (!wave_room(p)) return FULL;
            close_next(p);
            // Nothing lags when every series was complete: the row is cleared all the same.
            if (!p->listed) tell_listed(p);
        } else if (p->at == count) {
            return DONE;
        } else {
            enum answer answer = take_next(p);
            if (answer != DONE) return answer;
        }
    }
}

// The newest of these event times and `newest_ms`; INT64_MAX when one is more than `jump_ms` ahead of those before it.
// NEVER moves nothing.
int64_t phase_a_newest(int64_t count, const int64_t *moves, int64_t newest_ms, int64_t jump_ms) {
    for (int64_t i = 0; i < count; i++) {
        if (moves[i] <= newest_ms) continue;
        if (newest_ms != NEVER && moves[i] - newest_ms > jump_ms) return INT64_MAX;
        newest_ms = moves[i];
    }
    return newest_ms;
}

// One finite value for each of the distinct columns `index` of a table [S, 4].
void scaler_update(
    int64_t count, double *table, const int64_t *index, const double *values, double decay, double level_decay
) {
    for (int64_t i = 0; i < count; i++) scaler_take(table + index[i] * SCALER_WIDTH, values[i], decay, level_decay);
}
