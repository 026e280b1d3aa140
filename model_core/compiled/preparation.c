// Raw windows → what a model sees: filled, centred and scaled (model_core/preparation.py says why). One row at a time.
//
// L context, C covariates, H horizon, F of the covariates known ahead.

#include <float.h>
#include <math.h>

#include "lanes.h"

enum fill { FORWARD, INTERPOLATE, ZERO };  // FILL_CODES

#define SCALE_FLOOR_SHARE 1e-6f
#define SCALE_FLOOR 1e-12f
#define COVARIATE_CLIP 8.0
#define ROUGHNESS_MIN -4.0f
#define ROUGHNESS_MAX 1.0f
#define ROUGHNESS_MIDDLE 1.5f
#define RECENT 3
#define OUTLIER_SCALES 8.0
#define SPREAD_RATIO_MAX 5.0
#define SPREAD_RATIO_MIN 0.01  // a calm window is one like others, one that has stopped is not

// What comes out of a row beside its target.
typedef struct {
    float spread, scale, floor;
    double center;
} Shape;

// Copy a row's target into `target` [L], 1 where it was observed into `seen` [L]; returns how many were.
static int64_t split(const float *window, int64_t length, int64_t width, float *target, float *seen) {
    int64_t observed = 0;
    for (int64_t i = 0; i < length; i++) target[i] = window[i * width];
    for (int64_t i = 0; i < length; i++) {
        int finite = fabsf(target[i]) <= FLT_MAX;
        seen[i] = (float)finite;
        observed += finite;
    }
    return observed;
}

// Holes take the value before them (or a line to the value after, or 0); at an end the nearest observed one.
static void fill_holes(float *target, const float *seen, int64_t length, int code) {
    for (int64_t first = 0, last; first < length; first = last + 1) {
        last = first;
        if (seen[first] > 0.0f) continue;
        while (last + 1 < length && seen[last + 1] == 0.0f) last++;
        float after = last + 1 < length ? target[last + 1] : first > 0 ? target[first - 1] : 0.0f;
        float before = first > 0 ? target[first - 1] : after;
        for (int64_t i = first; i <= last; i++) {
            float share = first > 0 ? (float)(i - first + 1) / (float)(last - first + 2) : 0.0f;
            target[i] = code == ZERO ? 0.0f : code == INTERPOLATE ? before + (after - before) * share : before;
        }
    }
}

// Centre and scale a filled row by its observed cells. Shifted by one of its own values it keeps its digits: float32
// would lose them on a high level.
static Shape scale_row(float *target, const float *seen, int64_t length, int64_t observed, float *work) {
    float anchor = target[length - 1], count = (float)(observed > 1 ? observed : 1);
    for (int64_t i = 0; i < length; i++) {
        target[i] -= anchor;
        work[i] = seen[i] * target[i];
    }
    float mean = sum_of(work, length) / count;
    for (int64_t i = 0; i < length; i++) {
        target[i] -= mean;
        work[i] = seen[i] * (target[i] * target[i]);
    }
    Shape shape = {.spread = sqrtf(sum_of(work, length) / count), .center = (double)anchor + (double)mean};
    shape.floor = SCALE_FLOOR_SHARE * fabsf(anchor + mean) + SCALE_FLOOR;
    shape.scale = shape.spread < shape.floor ? shape.floor : shape.spread;
    for (int64_t i = 0; i < length; i++) target[i] /= shape.scale;
    return shape;
}

// Natural logarithm of a normal number. The library's has other last bits on other processors.
static double log_of(double value) {
    int exponent;
    double part = frexp(value, &exponent);  // [0.5, 1)
    if (part < 0.70710678118654752) {
        part *= 2.0;
        exponent--;
    }
    double ratio = (part - 1.0) / (part + 1.0), square = ratio * ratio, term = ratio, sum = 0.0;
    for (int odd = 1; odd <= 19; odd += 2, term *= square) sum += term / odd;
    return 2.0 * sum + exponent * 0.69314718055994531;
}

// How much a window moves from step to step for its spread, from about −1 to 1; steps across holes do not count.
static float roughness_of(const float *target, const float *seen, int64_t length, float *work) {
    int64_t steps = 0;
    for (int64_t i = 1; i < length; i++) {
        float both = seen[i] * seen[i - 1], step = target[i] - target[i - 1];
        work[i - 1] = both * (step * step);
        steps += both > 0.0f;
    }
    float ratio = sum_of(work, length - 1) / (float)(steps > 1 ? steps : 1) + 1e-12f;
    if (!isfinite(ratio)) return ratio;
    float rough = (float)(0.5 * log_of((double)ratio));
    rough = rough < ROUGHNESS_MIN ? ROUGHNESS_MIN : rough > ROUGHNESS_MAX ? ROUGHNESS_MAX : rough;
    return (rough + ROUGHNESS_MIDDLE) / ROUGHNESS_MIDDLE;
}

// Whether the newest cells lie far outside the running scaler, or the spread is not at all the running one.
static int is_suspicious(const float *window, int64_t length, int64_t width, double spread, double center, double scale) {
    if (!(scale > 0.0)) return 0;  // an unknown scale says nothing
    int64_t found = 0, outside = 0;
    for (int64_t i = length - 1; i >= 0 && found < RECENT; i--) {
        float value = window[i * width];
        if (!isfinite(value)) continue;
        found++;
        outside += fabs((double)value - center) / scale > OUTLIER_SCALES;
    }
    double ratio = spread / scale;
    return (found == RECENT && outside == RECENT) || ratio > SPREAD_RATIO_MAX || ratio < SPREAD_RATIO_MIN;
}

// windows float32 [n, L, 1 + C], center and scale float64 [n, 1 + C], fill int8 [n] → target float32 [n, L],
// roughness float32 [n], middles and scales float64 [n], constant and suspicious uint8 [n]. work: float32 [2 L].
void prepare_targets(
    int64_t rows, int64_t length, int64_t width, const float *windows, const double *center, const double *scale,
    const int8_t *fill, float *target, float *roughness, double *middles, double *scales, uint8_t *constant,
    uint8_t *suspicious, float *work
) {
    float *seen = work + length;
    for (int64_t row = 0; row < rows; row++) {
        const float *window = windows + row * length * width;
        float *mine = target + row * length;
        int64_t observed = split(window, length, width, mine, seen);
        if (observed < length) fill_holes(mine, seen, length, fill[row]);
        Shape shape = scale_row(mine, seen, length, observed, work);
        roughness[row] = roughness_of(mine, seen, length, work);
        middles[row] = shape.center;
        scales[row] = (double)shape.scale;
        constant[row] = shape.spread <= shape.floor;
        suspicious[row] =
            (uint8_t)is_suspicious(window, length, width, (double)shape.spread, center[row * width], scale[row * width]);
    }
}

// Covariates in running standard deviations, 0 (the usual) where nothing is known: of values float32 [n, T, V] the last
// `kept` of V → float32 [n, T, kept]; center and scale float64 [n, W], of which the last `kept` are theirs.
void prepare_covariates(
    int64_t rows, int64_t ticks, int64_t width, int64_t kept, int64_t scalers, const float *values,
    const double *center, const double *scale, float *scaled
) {
    for (int64_t row = 0; row < rows; row++) {
        const double *middle = center + (row + 1) * scalers - kept, *spread = scale + (row + 1) * scalers - kept;
        for (int64_t tick = 0; tick < ticks; tick++) {
            const float *from = values + (row * ticks + tick + 1) * width - kept;
            float *to = scaled + (row * ticks + tick) * kept;
            for (int64_t c = 0; c < kept; c++) {
                double units = ((double)from[c] - middle[c]) / spread[c];
                units = units < -COVARIATE_CLIP ? -COVARIATE_CLIP : units > COVARIATE_CLIP ? COVARIATE_CLIP : units;
                to[c] = isfinite(from[c]) && spread[c] > 0.0 && !isnan(units) ? (float)units : 0.0f;
            }
        }
    }
}
