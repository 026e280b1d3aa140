// What happened to cells, told in waves: cells that are told together, at most one of a series.

#include <math.h>
#include <string.h>

#include "phase_a.h"

#define GROUP_WAVES_MAX 64  // among which a cell looks for its own

// Whether one more cell can be told, and one more reading rejected, before Python takes what there is.
int64_t wave_room(const Partition *p) {
    return p->cell_count < p->cell_room && p->window_count < p->window_room && p->wave_count < p->wave_room &&
           p->rejected_count < p->rejected_room;
}

// Cells told from now on stand in later waves than those before.
void wave_group(Partition *p) { p->group = p->first_wave + p->wave_count; }

static void add_wave(Partition *p, int64_t kind, int64_t cause) {
    p->waves[p->wave_count++] = (Wave){.kind = kind, .closed = p->closed, .cause = cause};
}

// A wave without cells: the watermark passed a tick at which reports are due.
void wave_passed(Partition *p, int64_t cause) { add_wave(p, PASSED, cause); }

// The first wave of the group after the newest one with a cell of the series.
static int64_t wave_of(Partition *p, int64_t kind, int64_t column, int64_t cause) {
    int64_t after = p->fields.last_wave[column] + 1;
    int64_t wave = (after > p->group ? after : p->group) - p->first_wave;
    while (wave < p->wave_count && p->waves[wave].kind != kind) wave++;
    if (wave == p->wave_count) {
        add_wave(p, kind, cause);
        if (p->first_wave + p->wave_count - p->group > GROUP_WAVES_MAX) p->group = p->first_wave + wave;
    }
    p->fields.last_wave[column] = p->first_wave + wave;
    return wave;
}

// A cell has settled, or was corrected; where it has an `origin` its window is copied as it stands.
void wave_tell(
    Partition *p, int64_t kind, int64_t column, int64_t tick, double value, int64_t offset, int64_t origin
) {
    int64_t wave = wave_of(p, kind, column, offset);
    double before = (double)p->fields.ring[cell_at(column, tick - p->season, p->set.capacity)];
    p->cells[p->cell_count++] = (Cell){
        .wave = wave,
        .column = column,
        .tick = tick,
        .offset = offset,
        .value = value,
        .change = fabs((double)(float)value - before),  // both as the ring holds them
        .origin = origin,
        .revision = p->fields.revision[column],
        .settled = p->fields.last_tick[column],
    };
    p->waves[wave].cells++;
    if (origin == NEVER) return;
    p->waves[wave].due++;
    window_gather(p, column, origin, p->window_count++);
}

static void copy_window(const Partition *p, int64_t from, const Windows *out, int64_t to) {
    const Windows *in = &p->windows;
    int64_t width = 1 + p->set.past + p->set.future, cells = p->set.length * width, season = p->season;
    int64_t known = p->set.horizon * p->set.future;
    memcpy(out->windows + to * cells, in->windows + from * cells, (size_t)cells * sizeof(float));
    memcpy(out->season + to * season, in->season + from * season, (size_t)season * sizeof(float));
    if (known) memcpy(out->known + to * known, in->known + from * known, (size_t)known * sizeof(float));
    for (int64_t c = 0; c < width; c++) {
        out->center[to * width + c] = in->center[from * width + c];
        out->scale[to * width + c] = in->scale[from * width + c];
    }
    out->level[to] = in->level[from];
    out->readings[to] = in->readings[from];
    out->fill[to] = in->fill[from];
}

static void count_ahead(Partition *p) {
    int64_t cells = 0, due = 0;
    for (int64_t w = 0; w < p->wave_count; w++) {
        p->waves[w].next_cell = cells;
        p->waves[w].next_due = due;
        cells += p->waves[w].cells;
        due += p->waves[w].due;
    }
}

// Everything told, wave by wave, into arrays of its size: n cells of which d are due. Then there is room again.
//
// cells int64 [3, n]: columns, ticks, offsets; values float64 [2, n]: values, changes over a season;
// due int64 [4, d]: positions among the cells, origins, revisions, newest settled ticks.
void phase_a_take(int64_t n, Partition *p, int64_t *cells, double *values, int64_t *due, const Windows *windows) {
    int64_t d = p->window_count, window = 0;
    count_ahead(p);
    for (int64_t i = 0; i < n; i++) {
        const Cell *cell = &p->cells[i];
        Wave *wave = &p->waves[cell->wave];
        int64_t at = wave->next_cell++;
        cells[at] = cell->column;
        cells[n + at] = cell->tick;
        cells[2 * n + at] = cell->offset;
        values[at] = cell->value;
        values[n + at] = cell->change;
        if (cell->origin == NEVER) continue;
        int64_t to = wave->next_due++;
        due[to] = at;
        due[d + to] = cell->origin;
        due[2 * d + to] = cell->revision;
        due[3 * d + to] = cell->settled;
        copy_window(p, window++, windows, to);
    }
    p->first_wave += p->wave_count;
    p->cell_count = p->wave_count = p->window_count = p->rejected_count = 0;
    wave_group(p);
}
