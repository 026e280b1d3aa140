// The incremental scaler of one series: exponentially weighted mean, spread and level (model_core/scaler.py).

#ifndef TIDECAST_SCALER_H
#define TIDECAST_SCALER_H

#include <math.h>

enum { WEIGHT, MEAN, M2, LEVEL, SCALER_WIDTH };

#define WINSOR 8.0        // standard deviations
#define WINSOR_FROM 32.0  // weight from which the spread is trusted enough to clip by it

static inline double clipped(double value, double low, double high) {
    return value < low ? low : value > high ? high : value;
}

static inline double scaler_spread(const double *state) {
    return sqrt(state[M2] / (state[WEIGHT] > 1.0 ? state[WEIGHT] : 1.0));
}

// One finite value more; weights have decayed by `decay` since the last one (West 1979).
static inline void scaler_take(double *state, double value, double decay, double level_decay) {
    double weight = state[WEIGHT], mean = state[MEAN], level = state[LEVEL], spread = scaler_spread(state);
    double delta = value - mean, kept = decay * weight, total = kept + 1.0;
    if (weight >= WINSOR_FROM && spread > 0.0) delta = clipped(delta, -WINSOR * spread, WINSOR * spread);
    state[WEIGHT] = total;
    state[MEAN] = mean + delta / total;
    state[M2] = decay * state[M2] + kept / total * delta * delta;
    state[LEVEL] = weight == 0.0 ? value : level + (1.0 - level_decay) * (mean + delta - level);
}

#endif
