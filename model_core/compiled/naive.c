// Both naive forecasts of each window, and how much of it was observed (model_core/models/naive.py).

#include <math.h>
#include <stdint.h>

#define SEASON_SHARE_MIN 0.5

// The newest observed cell of the last season, as far as the window reaches; NaN where it holds none.
static double newest_of(const float *window, int64_t length, int64_t width, int64_t season) {
    for (int64_t i = length - 1; i >= 0 && i >= length - season; i--)
        if (isfinite(window[i * width])) return (double)window[i * width];
    return NAN;
}

static int64_t observed_in(const float *cells, int64_t count, int64_t stride) {
    int64_t observed = 0;
    for (int64_t i = 0; i < count; i++) observed += isfinite(cells[i * stride]) != 0;
    return observed;
}

static void repeat_season(const float *cells, int64_t season, double newest, int64_t horizon, double *out) {
    int64_t asked = horizon < season ? horizon : season, observed = observed_in(cells, asked, 1);
    int64_t answers = (double)observed / (double)asked >= SEASON_SHARE_MIN && (observed == asked || isfinite(newest));
    for (int64_t h = 0, at = 0; h < horizon; h++, at = at + 1 < season ? at + 1 : 0)
        out[h] = !answers ? NAN : isfinite(cells[at]) ? (double)cells[at] : newest;
}

// windows float32 [n, L, width] (the target is its column 0), seasons float32 [n, m] → seasonal and last float64
// [n, H], `stride` doubles from row to row; share and season_share float64 [n], of the cells observed.
void naive_answer(
    int64_t rows, int64_t length, int64_t width, int64_t season, int64_t horizon, const float *windows,
    const float *seasons, int64_t stride, double *seasonal, double *last, double *share, double *season_share
) {
    for (int64_t row = 0; row < rows; row++) {
        const float *window = windows + row * length * width, *cells = seasons + row * season;
        double newest = newest_of(window, length, width, season);
        repeat_season(cells, season, newest, horizon, seasonal + row * stride);
        for (int64_t h = 0; h < horizon; h++) last[row * stride + h] = newest;
        share[row] = (double)observed_in(window, length, width) / (double)length;
        season_share[row] = (double)observed_in(cells, season, 1) / (double)season;
    }
}
