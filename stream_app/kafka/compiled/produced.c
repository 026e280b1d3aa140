// Records out of columns and into the client's queue, without a Python object for each; see delivery/producer.py.

#include "librdkafka.h"

enum { BY_KEY = -1, COPY = 2 };  // RD_KAFKA_PARTITION_UA, RD_KAFKA_MSG_F_COPY

typedef struct {
    const char *keys, *values;
    const int64_t *key_ends, *value_ends;
    const int8_t *is_tombstone;  // NULL: none is
} Records;

// From the row `first` on, in order; returns the row that was refused, for `*error`, or `rows`.
int64_t produce(int64_t rows, int64_t first, void *topic, const Records *records, int64_t *error) {
    for (int64_t row = first; row < rows; row++) {
        int64_t key = row ? records->key_ends[row - 1] : 0, value = row ? records->value_ends[row - 1] : 0;
        const char *text = records->is_tombstone && records->is_tombstone[row] ? NULL : records->values + value;
        size_t bytes = text ? (size_t)(records->value_ends[row] - value) : 0;
        if (kafka.produce(topic, BY_KEY, COPY, (void *)text, bytes, records->keys + key,
                          (size_t)(records->key_ends[row] - key), NULL)) {
            *error = kafka.last_error();
            return row;
        }
    }
    return rows;
}
