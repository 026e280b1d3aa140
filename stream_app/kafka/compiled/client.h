// What a client could not deliver, written by its threads and read by Python; see librdkafka.py.

#pragma once

#include <stdatomic.h>

#include "librdkafka.h"

enum { ERRORS_MAX = 8, TOPIC_BYTES_MAX = 255 };

typedef struct {
    struct {
        _Atomic int code;
        _Atomic int is_written;
        char topic[TOPIC_BYTES_MAX + 1];
    } errors[ERRORS_MAX];
} Undelivered;
