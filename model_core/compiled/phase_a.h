// Phase A of a partition: readings enter cells, cells settle into ring and scaler, waves and windows come out.
//
// The structs are filled by phase_a.py; all their members are eight bytes wide, so that both sides agree where each is.
// Nothing here allocates: Python brings every buffer, and is asked for room (FULL) before one runs over.

#ifndef TIDECAST_PHASE_A_H
#define TIDECAST_PHASE_A_H

#include <stdint.h>

#include "columns.h"

#define NEVER (INT64_MIN / 4)  // before all ticks and times, with room to subtract from

enum role { TARGET, PAST, FUTURE };
enum aggregate { MEAN_OF, SUM_OF, LAST_OF, MIN_OF, MAX_OF, COUNT_OF };
enum wave_kind { SETTLED, CORRECTED, PASSED };
enum verdict { TOO_LATE, OUT_OF_RANGE };
enum count { ACCEPTED, LATE, DUPLICATE, CORRECTIONS, BEYOND, SETTLEMENTS, MISSING, WARMING_UP };  // as in cells.py
enum answer { DONE, FULL, BEGINS, GAP, SILENCE };  // why `phase_a_run` comes back

// The fields of model_core/windows.py and scaler.py. [S]: one row a series; rows: [blocks, rows, 256].
typedef struct {
    float *ring;          // rows by tick mod capacity
    int32_t *open_count;  // rows by tick mod open_rows, these three
    double *open_value;
    int64_t *open_stamp;
    int64_t *last_tick, *first_tick, *last_seen, *observed, *newest_origin, *revision;
    int8_t *aggregate, *fill, *role;
    double *scaler;                                                         // [S, 4]
    const int32_t *covariates;                                              // [S, C] columns, −1: none; 0 without C
    uint8_t *ring_touched, *count_touched, *value_touched, *stamp_touched;  // [blocks, rows]
    uint8_t *hot_touched;                                                   // [blocks]
    int64_t *last_wave;  // [S] number of the newest wave with a cell of the series
    int64_t *listed;     // [S] room for columns that settle together
    int64_t blocks;      // that there is room for
    int64_t used;        // columns ever handed out
} Fields;

typedef struct {
    int64_t length, horizon, capacity, open_rows, past, future;  // `past`, `future`: covariates, C together
    int64_t forecast_every, min_readings, dormant_ticks, open_ticks, known_ahead, report_ticks, silence_ticks;
    int64_t readings_per_step;  // 0: only the watermark settles
    int64_t stamped;            // whether some series' aggregate is `last`
    int64_t behind_ms, lateness_ms, step_ms;
    const int64_t *midnights;  // of local days; 0 on other grids
    int64_t days;
    double empty;  // what a cell without readings is worth, NaN or 0
    double decay, level_decay;
} Settings;

// A cell that settled or was corrected.
typedef struct {
    int64_t wave, column, tick, offset;
    double value, change;
    int64_t origin;  // NEVER: no forecast is due
    int64_t revision, settled;
} Cell;

// Cells that are told together, at most one of a series.
typedef struct {
    int64_t kind, closed, cause, cells, due;
    int64_t next_cell, next_due;  // for sorting
} Wave;

typedef struct {
    int64_t position, verdict, amount;  // ms behind the watermark, or ticks ahead of it
} Rejection;

// B windows, as WindowBatch lays them out. F of the covariates are future ones, m is the season.
typedef struct {
    float *windows;          // [B, L, 1 + C]
    float *known;            // [B, H, F]
    float *season;           // [B, m]
    double *center, *scale;  // [B, 1 + C]
    double *level;           // [B]
    int64_t *readings;       // [B]
    int8_t *fill;            // [B]
} Windows;

typedef struct {
    int64_t closed, newest_ms, season;
    // The readings of a poll, and how many of them are done.
    const int64_t *index, *stamps, *offsets;
    const double *values;
    const uint8_t *repeated;  // which of them are duplicates; 0 where nobody asks
    int64_t at;
    // Ticks close through `goal` because of the reading at offset `cause`; they have since `gap_from`.
    int64_t goal, gap_from, cause;
    // Cells that entered together wait in fields.listed to be told.
    int64_t listed, told, first_round, silence_due;
    // A reading has been taken: cells of its series may be ready. From `late_tick` on where the series begins late.
    int64_t following, follower, late_tick, follow_offset;
    // What was told, and for how much there is room. `group`: the first wave that cells may still join.
    Cell *cells;
    Wave *waves;
    Rejection *rejected;
    int64_t cell_count, cell_room, wave_count, wave_room, window_count, window_room, rejected_count, rejected_room;
    int64_t first_wave, group;
    int64_t *counts;
    int64_t known_tick, known_start, known_end;  // the step of the grid that was asked for last
    Settings set;
    Fields fields;
    Windows windows;
} Partition;

// Which row of a field addressed by tick, counted through all blocks.
static inline int64_t row_at(int64_t column, int64_t tick, int64_t rows) {
    return row_of(column, floor_mod(tick, rows), rows);
}

static inline int64_t cell_at(int64_t column, int64_t tick, int64_t rows) {
    return row_at(column, tick, rows) * BLOCK + column % BLOCK;
}

static inline int64_t readings_in(const Partition *p, int64_t column, int64_t tick) {
    return p->fields.open_count[cell_at(column, tick, p->set.open_rows)];
}

// cells.c
void cell_add(Partition *p, int64_t column, int64_t tick, double value, int64_t stamp);
double cell_value(const Partition *p, int64_t column, int64_t tick);
int64_t cell_enter(Partition *p, int64_t column, int64_t tick);
void cell_put(Partition *p, int64_t column, int64_t tick, double value);
void cell_put_known(Partition *p, int64_t column, int64_t tick, double value);
void phase_a_clear(int64_t tick, Partition *p);

// waves.c
int64_t wave_room(const Partition *p);
void wave_group(Partition *p);
void wave_passed(Partition *p, int64_t cause);
void wave_tell(
    Partition *p, int64_t kind, int64_t column, int64_t tick, double value, int64_t offset, int64_t origin
);

// windows.c
void window_gather(const Partition *p, int64_t column, int64_t origin, int64_t slot);

#endif
