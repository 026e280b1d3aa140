// Messages out of librdkafka's queue and into columns, without a Python object for each; see fetch_queue.py.

#define _GNU_SOURCE  // clock_gettime, memmem, memrchr

#include <stdbool.h>
#include <string.h>
#include <time.h>

#include "librdkafka.h"

enum { NONE = -1 };  // bytes of a value or key that is not there
enum { VALUES, KEYS, HEADERS, SIZES };

// Whatever these queues get goes to the target: librdkafka forgets it when a partition is assigned anew.
void forward(int64_t count, void **queues, void *target) {
    for (int64_t i = 0; i < count; i++) kafka.queue_forward(queues[i], target);
}

static int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

// Waits `first_ms` for the first message, then `gather_ms` for those that come along with it, and never longer than
// `most_ms`.
int64_t take(int64_t most, void *queue, int64_t first_ms, int64_t gather_ms, int64_t most_ms, Message **messages) {
    int64_t end = now_ms() + most_ms;
    int64_t first = kafka.consume_batch_queue(queue, (int)(first_ms < most_ms ? first_ms : most_ms), messages, 1);
    if (first < 1 || most < 2) return first;
    int64_t left = end - now_ms();
    if (left > gather_ms) left = gather_ms;
    int64_t more = kafka.consume_batch_queue(queue, left > 0 ? (int)left : 0, messages + 1, (size_t)most - 1);
    return more < 0 ? first : first + more;
}

static int64_t header_bytes(const void *headers) {
    const char *name;
    const void *value;
    size_t bytes;
    int64_t total = 0;
    for (size_t i = 0; !kafka.header_get_all(headers, i, &name, &value, &bytes); i++) {
        total += (int64_t)(2 * sizeof(int64_t) + strlen(name) + (value ? bytes : 0));
    }
    return total;
}

// Errors go behind the messages, both in their order; `topics` [count] of each, then; `sizes` in bytes, of messages.
int64_t measure(int64_t count, Message **messages, Message **room, void **topics, int64_t *sizes) {
    int64_t good = 0, bad = 0;
    memset(sizes, 0, SIZES * sizeof *sizes);
    for (int64_t i = 0; i < count; i++) {
        if (messages[i]->err) room[bad++] = messages[i];
        else messages[good++] = messages[i];
    }
    memcpy(messages + good, room, (size_t)bad * sizeof *messages);
    for (int64_t i = 0; i < count; i++) topics[i] = messages[i]->topic;
    for (int64_t i = 0; i < good; i++) {
        void *headers;
        sizes[VALUES] += (int64_t)messages[i]->value_bytes + 1;
        sizes[KEYS] += (int64_t)messages[i]->key_bytes;
        if (!kafka.message_headers(messages[i], &headers)) sizes[HEADERS] += header_bytes(headers);
    }
    return good;
}

static char *put(char *to, const void *from, int64_t bytes) {
    if (bytes > 0) memcpy(to, from, (size_t)bytes);
    return to + (bytes > 0 ? bytes : 0);
}

// Each header: bytes of its name, of its value, name, value.
static char *put_headers(char *to, const void *headers) {
    const char *name;
    const void *value;
    size_t bytes;
    for (size_t i = 0; !kafka.header_get_all(headers, i, &name, &value, &bytes); i++) {
        int64_t sizes[] = {(int64_t)strlen(name), value ? (int64_t)bytes : NONE};
        to = put(to, sizes, sizeof sizes);
        to = put(to, name, sizes[0]);
        to = put(to, value, sizes[1]);
    }
    return to;
}

// As message_columns.py has them, each [count].
typedef struct {
    int64_t *partitions, *offsets, *value_ends, *value_bytes, *key_ends, *key_bytes, *record_ms, *record_kinds;
    int64_t *header_ends;
    char *values, *keys, *headers;
    int64_t header_bytes;  // of all messages
} Columns;

// Of the values of a topic: the part that nobody wants, from `begin` on to the first byte of the last `end`, with it.
typedef struct {
    void *topic;
    const char *begin;
    int64_t begin_bytes;
    const char *end;
    int64_t end_bytes;
} Middle;

static const Middle *middle_of(void *topic, int64_t count, const Middle *middles) {
    for (int64_t i = 0; i < count; i++) {
        if (middles[i].topic == topic) return middles + i;
    }
    return NULL;
}

static const char *last(const char *from, const char *to, const char *text, int64_t bytes) {
    for (int64_t room = to - from - bytes + 1; room > 0;) {
        const char *at = memrchr(from, *text, (size_t)room);
        if (!at || !memcmp(at, text, (size_t)bytes)) return at;
        room = at - from;
    }
    return NULL;
}

// What is no JSON object, or lacks a border, stays whole.
static char *put_without(char *to, const Message *message, const Middle *middle) {
    const char *value = message->value, *end = value + message->value_bytes;
    if (!message->value_bytes || *value != '{') return put(to, value, (int64_t)message->value_bytes);
    const char *begin = memmem(value, message->value_bytes, middle->begin, (size_t)middle->begin_bytes);
    const char *after = begin ? last(begin, end, middle->end, middle->end_bytes) : NULL;
    if (!after) return put(to, value, (int64_t)message->value_bytes);
    return put(put(to, value, begin - value), after + 1, end - after - 1);
}

// Values are parted by newlines, and the last one is followed by a zero byte. Returns the bytes of all values so.
int64_t copy(int64_t count, Message **messages, int64_t middle_count, const Middle *middles, const Columns *columns) {
    bool has_headers = columns->header_bytes > 0;  // to ask for those of a message takes longer than to copy it
    char *value = columns->values, *key = columns->keys, *header = columns->headers;
    for (int64_t i = 0; i < count; i++) {
        const Message *message = messages[i];
        int kind;
        void *headers;
        columns->partitions[i] = message->partition;
        columns->offsets[i] = message->offset;
        columns->value_bytes[i] = message->value ? (int64_t)message->value_bytes : NONE;
        columns->key_bytes[i] = message->key ? (int64_t)message->key_bytes : NONE;
        const Middle *middle = middle_count ? middle_of(message->topic, middle_count, middles) : NULL;
        char *start = value;
        value = middle ? put_without(value, message, middle) : put(value, message->value, columns->value_bytes[i]);
        if (message->value) columns->value_bytes[i] = value - start;
        key = put(key, message->key, columns->key_bytes[i]);
        columns->value_ends[i] = value - columns->values;
        columns->key_ends[i] = key - columns->keys;
        *value++ = i + 1 < count ? '\n' : 0;
        columns->record_ms[i] = kafka.message_timestamp(message, &kind);
        columns->record_kinds[i] = kind;
        if (has_headers && !kafka.message_headers(message, &headers)) header = put_headers(header, headers);
        columns->header_ends[i] = header - columns->headers;
    }
    return value - columns->values;
}

void release(int64_t count, Message **messages) {
    for (int64_t i = 0; i < count; i++) kafka.message_destroy(messages[i]);
}
