// What the running scores of series, and the results of their single forecasts, say to whoever asks. In float: forecasts
// are no more exact, and half of the digits are half of a message.

#include "phase_c.h"

// → mase [rows], coverage [rows, I], pinball [rows], skill [rows] of columns; NaN where nothing is known.
void phase_c_scores(int64_t rows, const Settlement *s, const int64_t *index, float *mase, float *coverage,
                    float *pinball, float *skill) {
    for (int64_t row = 0; row < rows; row++) {
        const int64_t column = index[row];
        const double *loss = loss_of(s, column, ISSUED), *change = &s->season_state[column].change;
        const bool known = loss[1] > 0.0;
        double naive = INFINITY;
        for (int64_t r = SEASONAL_NAIVE; r <= LAST_VALUE; r++) {
            if (loss_of(s, column, r)[1] > 0.0) naive = smaller(naive, loss_of(s, column, r)[0]);
        }
        const double scaled = s->error[column] / change[0];  // MASE (Hyndman and Koehler 2006)
        mase[row] = known && change[1] > 0.0 && isfinite(scaled) ? (float)scaled : NAN;
        pinball[row] = known ? (float)loss[0] : NAN;
        skill[row] = known && isfinite(naive) && naive > 0.0 ? (float)(1.0 - loss[0] / naive) : NAN;
        for (int64_t j = 0; j < s->I; j++) {
            coverage[row * s->I + j] = known ? (float)s->coverage[column * s->I + j] : NAN;
        }
    }
}

// Results of the forecasts of these origins: actual, error, pinball [rows, K], that of both naive rungs [rows, K, 2],
// and which central intervals covered it [rows, K, I].
void phase_c_results(int64_t rows, const Settlement *s, const int64_t *index, const int64_t *origins, double *actual,
                      float *error, float *pinball, float *baselines, uint8_t *covered) {
    for (int64_t row = 0; row < rows; row++) {
        const int64_t turn = floor_mod(floor_div(origins[row], s->every), s->result_rows);
        const double *results = s->results + cell_of(index[row], turn, s->result_rows) * s->K * RESULT_WIDTH;
        for (int64_t k = 0; k < s->K; k++) {
            const double *result = results + k * RESULT_WIDTH;
            const int64_t at = row * s->K + k;
            const int64_t bits = isnan(result[5]) ? 0 : (int64_t)result[5];
            actual[at] = result[0];
            error[at] = (float)result[1];
            pinball[at] = (float)result[2];
            baselines[2 * at] = (float)result[3];
            baselines[2 * at + 1] = (float)result[4];
            for (int64_t j = 0; j < s->I; j++) covered[at * s->I + j] = (bits >> j) & 1;
        }
    }
}
