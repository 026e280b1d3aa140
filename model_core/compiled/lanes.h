// Sums and products of float32 in an order that is written down: eight lanes side by side, then lane by lane.
//
// A library would choose the order by shape and processor. Here a row's bytes depend on the row alone, and are the same
// on every machine.

#ifndef TIDECAST_LANES_H
#define TIDECAST_LANES_H

#include <stdint.h>
#include <string.h>

#define LANES 8
#define ABREAST 4  // rows side by side, so that one row's additions need not wait for each other

typedef float Lanes __attribute__((vector_size(LANES * sizeof(float))));

static inline Lanes lanes_at(const float *from) {
    Lanes lanes;
    memcpy(&lanes, from, sizeof lanes);
    return lanes;
}

// features [rows, width] times eight columns of weights.
static inline void multiply(int rows, int64_t width, const float *features, const float *weights, Lanes *sums) {
    for (int row = 0; row < rows; row++) sums[row] = (Lanes){0};
    for (int64_t i = 0; i < width; i++) {
        Lanes weight = lanes_at(weights + i * LANES);
        for (int row = 0; row < rows; row++) sums[row] += features[row * width + i] * weight;
    }
}

static inline float sum_of(const float *values, int64_t count) {
    Lanes lanes = {0};
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES) lanes += lanes_at(values + i);
    float total = ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) + ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]));
    for (; i < count; i++) total += values[i];
    return total;
}

#endif
