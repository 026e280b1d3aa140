// The level of a series against what is usual (model_core/drift/level.py), once a season.

#ifndef TIDECAST_LEVEL_H
#define TIDECAST_LEVEL_H

#include "drift.h"

// A season's mean stands against the reference. Returns whether a level that has changed is to be told; `may_tell`: the
// series does not rest.
static inline bool level_step(const Settlement *s, int64_t column, double mean, bool may_tell, double *statistic) {
    Level *of = s->level + column;
    const double off = mean - of->reference, unit = larger(sqrt(of->square), s->unit_floor[column]);
    const double most = s->level_winsor * unit;
    const bool judges = of->seasons >= s->level_seasons;
    const bool frozen = judges && larger(of->g[UP], of->g[DOWN]) > s->level_threshold / 2.0;
    bool alarm = false;
    if (judges && unit > 0.0) {
        *statistic = page_step(of->g, off / unit, s->level_slack, s->level_winsor);
        alarm = may_tell && *statistic > s->level_threshold;
    }
    if (!frozen) {
        const double learned = judges ? clipped(off, -most, most) : off;
        if (of->seasons > 0.0) of->square = updated_mean(of->square, of->seasons - 1.0, learned * learned, s->level_decay);
        of->reference = updated_mean(of->reference, of->seasons, learned + of->reference, s->level_decay);
        of->seasons += 1.0;
    }
    if (alarm) of->g[UP] = of->g[DOWN] = of->seasons = 0.0;
    return alarm;
}

// A cell joins its season; with the first one of the next the last is judged, if half of it was there. Returns whether
// the level has changed.
static inline bool level_watch(const Settlement *s, int64_t column, int64_t tick, int64_t number, double value,
                               double *statistic) {
    Season *season = s->season_state + column;
    bool alarm = false;
    if (season->number != number) {
        if (season->cells > 0 && 2 * season->cells >= s->season) {
            const bool may_tell = tick > s->drift[column].rest;
            alarm = level_step(s, column, season->sum / (double)season->cells, may_tell, statistic);
            mark(s->level_marks, column);
        }
        season->number = number;
        season->sum = 0.0;
        season->cells = 0;
        mark(s->season_state_marks, column);
    }
    if (isfinite(value)) {
        season->sum += value;
        season->cells++;
        mark(s->season_state_marks, column);
    }
    return alarm;
}

#endif
