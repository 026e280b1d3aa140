// Texts that come again and again, each with a number; see numbered_texts.py.

#ifndef TIDECAST_NAMES_H
#define TIDECAST_NAMES_H

#include <stdint.h>
#include <string.h>

#include "json.h"

enum { UNUSUAL = -1, NO_ROOM = -2 };
enum { PROBES_MAX = 64 };

// Series ids seen lately, each with a number, from 0 on in the order of their coming: an open hash table.
typedef struct {
    int32_t *slots;  // [slot_mask + 1]: number + 1, 0 where it is free
    int64_t slot_mask;
    int64_t *ends;  // [room]: where the id of each number ends in `bytes`
    int64_t *seen;  // [room]: the message that named it last, counted over all calls
    char *bytes;
    int64_t room, byte_room;
    int64_t count, messages;
} Names;

static uint64_t hash_of(Text id) {
    const uint64_t odd = 0x9e3779b97f4a7c15;
    uint64_t hash = (uint64_t)id.bytes * odd;
    for (; id.bytes > 0; id.at += 8, id.bytes -= 8) {
        uint64_t word = 0;
        memcpy(&word, id.at, id.bytes < 8 ? (size_t)id.bytes : 8);
        hash = (hash ^ word) * odd;
        hash ^= hash >> 32;
    }
    return hash;
}

// The number of a series, a new one where it has none.
static int64_t number_of(Names *names, Text id) {
    uint64_t slot = hash_of(id);
    for (int64_t probe = 0; probe < PROBES_MAX; probe++, slot++) {
        int32_t *at = names->slots + (slot & (uint64_t)names->slot_mask);
        if (!*at) {
            int64_t start = names->count ? names->ends[names->count - 1] : 0;
            if (names->count == names->room || start + id.bytes > names->byte_room) return NO_ROOM;
            memcpy(names->bytes + start, id.at, (size_t)id.bytes);
            names->ends[names->count] = start + id.bytes;
            names->seen[names->count] = -1;
            *at = (int32_t)++names->count;
            return names->count - 1;
        }
        int64_t number = *at - 1, start = number ? names->ends[number - 1] : 0;
        if (names->ends[number] - start == id.bytes && !memcmp(names->bytes + start, id.at, (size_t)id.bytes)) {
            return number;
        }
    }
    return UNUSUAL;  // so many of one hash do not come by chance
}

#endif
