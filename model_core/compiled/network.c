// One layer of a small network (model_core/models/patch_mixer.py): each output one sum, input after input, then its
// bias. Rows and outputs go side by side, which changes no order: a row's bytes depend on nothing but the row.

#include "lanes.h"

// x [rows, inputs], weights [⌈outputs / 8⌉, inputs, 8], 0 beyond `outputs`, bias [outputs] → out [rows, outputs], where
// `rectified` nothing below 0.
void network_layer(
    int64_t rows, int64_t inputs, int64_t outputs, const float *x, const float *weights, const float *bias,
    int64_t rectified, float *out
) {
    for (int64_t first = 0; first < rows; first += ABREAST) {
        int count = rows - first < ABREAST ? (int)(rows - first) : ABREAST;
        const float *features = x + first * inputs;
        for (int64_t at = 0; at < outputs; at += LANES) {
            const float *tile = weights + at * inputs;
            Lanes sums[ABREAST];
            if (count == ABREAST) {
                multiply(ABREAST, inputs, features, tile, sums);
            } else {
                for (int row = 0; row < count; row++) multiply(1, inputs, features + row * inputs, tile, sums + row);
            }
            for (int row = 0; row < count; row++)
                for (int64_t o = at; o < outputs && o < at + LANES; o++) {
                    float sum = sums[row][o - at] + bias[o];
                    out[(first + row) * outputs + o] = rectified && sum < 0.0f ? 0.0f : sum;
                }
        }
    }
}
