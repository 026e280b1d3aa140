// Running scores of a series, updated cell by cell. Arrays are those of Columns; `index` names columns, each once.

#include <math.h>
#include <stdint.h>

// Exponentially weighted mean after one more value: a plain average until the count outweighs the decay.
static inline double updated_mean(double mean, double updates, double value, double decay) {
    return mean + fmax(1.0 - decay, 1.0 / (updates + 1.0)) * (value - mean);
}

// state [columns, 2]: running mean of |y_t − y_{t−m}| and its updates; change [rows], NaN where unknown.
void season_change(int64_t rows, const int64_t *index, const double *change, double decay, double *state) {
    for (int64_t row = 0; row < rows; row++) {
        if (!isfinite(change[row])) continue;
        double *mean = state + 2 * index[row];
        mean[0] = updated_mean(mean[0], mean[1], change[row], decay);
        mean[1] += 1.0;
    }
}
