// Windows of one series as they stand at an origin, copied out of the ring.

#include <math.h>

#include "phase_a.h"
#include "scaler.h"

// Cells of ticks [first, first + count) of a column, `stride` floats apart.
static void copy_span(const Partition *p, int64_t column, int64_t first, int64_t count, float *out, int64_t stride) {
    int64_t capacity = p->set.capacity, row = floor_mod(first, capacity);
    const float *ring = p->fields.ring + column / BLOCK * capacity * BLOCK + column % BLOCK;
    while (count > 0) {
        int64_t rows = count < capacity - row ? count : capacity - row;
        for (int64_t i = 0; i < rows; i++) out[i * stride] = ring[(row + i) * BLOCK];
        out += rows * stride;
        count -= rows;
        row = 0;
    }
}

// The same of a covariate: NaN where there is no such column, and for ticks that the ring does not hold.
static void copy_visible(const Partition *p, int64_t column, int64_t first, int64_t count, float *out, int64_t stride) {
    int64_t capacity = p->set.capacity, last = column < 0 ? NEVER : p->fields.last_tick[column];
    for (int64_t tick = first; tick < first + count; tick++, out += stride) {
        int64_t held = column >= 0 && tick <= last && tick > last - capacity;
        *out = held ? p->fields.ring[cell_at(column, tick, capacity)] : NAN;
    }
}

static void gather_covariates(const Partition *p, int64_t column, int64_t origin, int64_t slot) {
    const Settings *set = &p->set;
    int64_t covariates = set->past + set->future, width = 1 + covariates;
    float *window = p->windows.windows + slot * set->length * width;
    float *known = p->windows.known + slot * set->horizon * set->future;
    for (int64_t c = 0; c < covariates; c++) {
        int64_t partner = p->fields.covariates[column * covariates + c], at = slot * width + 1 + c;
        copy_visible(p, partner, origin + 1 - set->length, set->length, window + 1 + c, width);
        if (c >= set->past) copy_visible(p, partner, origin + 1, set->horizon, known + c - set->past, set->future);
        const double *scaler = p->fields.scaler + partner * SCALER_WIDTH;
        p->windows.center[at] = partner < 0 ? 0.0 : scaler[MEAN];
        p->windows.scale[at] = partner < 0 ? 0.0 : scaler_spread(scaler);
    }
}

// The window of a column up to `origin` becomes number `slot`.
void window_gather(const Partition *p, int64_t column, int64_t origin, int64_t slot) {
    const Windows *out = &p->windows;
    int64_t length = p->set.length, season = p->season, width = 1 + p->set.past + p->set.future;
    const double *scaler = p->fields.scaler + column * SCALER_WIDTH;
    float *window = out->windows + slot * length * width, *recent = out->season + slot * season;
    // Each cell lies in a cache line of its own: what both hold is fetched once.
    if (season < length) {
        copy_span(p, column, origin + 1 - length, length, window, width);
        for (int64_t i = 0; i < season; i++) recent[i] = window[(length - season + i) * width];
    } else {
        copy_span(p, column, origin + 1 - season, season, recent, 1);
        for (int64_t i = 0; i < length; i++) window[i * width] = recent[season - length + i];
    }
    out->center[slot * width] = scaler[MEAN];
    out->scale[slot * width] = scaler_spread(scaler);
    out->level[slot] = scaler[LEVEL];
    out->fill[slot] = p->fields.fill[column];
    out->readings[slot] = p->fields.observed[column];
    if (width > 1) gather_covariates(p, column, origin, slot);
}
