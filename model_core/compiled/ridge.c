// Ridge's answer for each window (model_core/models/ridge.py). Each output is one sum, feature after feature; rows and
// outputs go side by side, which changes no order.

#include "lanes.h"

// L context, R newest cells that roughness multiplies, C covariates, H outputs, K calendar columns, F known covariates.
typedef struct {
    int64_t length, recent, covariates, horizon, calendar, known;
    const float *window_weights;  // [⌈H / 8⌉, 2 + L + R + C L + F H, 8], 0 beyond H
    const float *target_weights;  // [K + F, H]
} Ridge;

static int64_t width_of(const Ridge *ridge) {
    return 2 + ridge->length + ridge->recent + ridge->covariates * ridge->length + ridge->known * ridge->horizon;
}

// One, roughness, the window, its newest cells times roughness, the window of each covariate, and what is known of each
// future one ahead.
static void features_of(
    const Ridge *ridge, const float *target, float rough, const float *covariates, const float *known, float *out
) {
    int64_t length = ridge->length, count = ridge->covariates;
    *out++ = 1.0f;
    *out++ = rough;
    for (int64_t i = 0; i < length; i++) *out++ = target[i];
    for (int64_t i = length - ridge->recent; i < length; i++) *out++ = target[i] * rough;
    for (int64_t c = 0; c < count; c++)
        for (int64_t i = 0; i < length; i++) *out++ = covariates[i * count + c];
    for (int64_t f = 0; f < ridge->known; f++)
        for (int64_t h = 0; h < ridge->horizon; h++) *out++ = known[h * ridge->known + f];
}

static void put_products(const Ridge *ridge, int rows, const float *features, float *out) {
    int64_t width = width_of(ridge), horizon = ridge->horizon;
    for (int64_t first = 0; first < horizon; first += LANES) {
        const float *weights = ridge->window_weights + first * width;
        Lanes sums[ABREAST];
        if (rows == ABREAST) {
            multiply(ABREAST, width, features, weights, sums);
        } else {
            for (int row = 0; row < rows; row++) multiply(1, width, features + row * width, weights, sums + row);
        }
        for (int row = 0; row < rows; row++)
            for (int64_t h = first; h < horizon && h < first + LANES; h++)
                out[row * horizon + h] = sums[row][h - first];
    }
}

// dates [H] of one origin: calendar [H, K] times its weights.
static void dates_of(const Ridge *ridge, const float *calendar, float *dates) {
    for (int64_t h = 0; h < ridge->horizon; h++) {
        dates[h] = 0.0f;
        for (int64_t k = 0; k < ridge->calendar; k++)
            dates[h] += calendar[h * ridge->calendar + k] * ridge->target_weights[k * ridge->horizon + h];
    }
}

static void add_known(const Ridge *ridge, const float *known, float *out) {
    const float *weights = ridge->target_weights + ridge->calendar * ridge->horizon;
    for (int64_t f = 0; f < ridge->known; f++)
        for (int64_t h = 0; h < ridge->horizon; h++)
            out[h] += known[h * ridge->known + f] * weights[f * ridge->horizon + h];
}

// target [n, L], roughness [n], covariates [n, L, C], known [n, H, F], calendar [origins, H, K], origin_of int64 [n]
// → out [n, H]. dates: room for [origins, H]; work: room for 4 rows of features. All float32 but origin_of.
void ridge_answer(
    int64_t rows, const Ridge *ridge, const float *target, const float *roughness, const float *covariates,
    const float *known, const float *calendar, int64_t origins, const int64_t *origin_of, float *out, float *dates,
    float *work
) {
    int64_t horizon = ridge->horizon, length = ridge->length, width = width_of(ridge);
    for (int64_t origin = 0; origin < origins; origin++)
        dates_of(ridge, calendar + origin * horizon * ridge->calendar, dates + origin * horizon);
    for (int64_t first = 0; first < rows; first += ABREAST) {
        int count = rows - first < ABREAST ? (int)(rows - first) : ABREAST;
        for (int i = 0; i < count; i++) {
            int64_t row = first + i;
            const float *seen = covariates + row * length * ridge->covariates;
            const float *ahead = known + row * horizon * ridge->known;
            features_of(ridge, target + row * length, roughness[row], seen, ahead, work + i * width);
        }
        put_products(ridge, count, work, out + first * horizon);
    }
    for (int64_t row = 0; row < rows; row++) {
        for (int64_t h = 0; h < horizon; h++) out[row * horizon + h] += dates[origin_of[row] * horizon + h];
        add_known(ridge, known + row * horizon * ridge->known, out + row * horizon);
    }
}
