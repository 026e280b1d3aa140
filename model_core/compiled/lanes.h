// Sums and products of float32 in an order that is written down: eight lanes side by side, then lane by lane.
//
// A library would choose the order by shape and processor. Here a row's bytes depend on the row alone, and are the same
// on every machine.

#ifndef TIDECAST_LANES_H
#define TIDECAST_LANES_H

#include <stdint.h>
#include <string.h>

#define LANES 8

typedef float Lanes __attribute__((vector_size(LANES * sizeof(float))));

static inline Lanes lanes_at(const float *from) {
    Lanes lanes;
    memcpy(&lanes, from, sizeof lanes);
    return lanes;
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
