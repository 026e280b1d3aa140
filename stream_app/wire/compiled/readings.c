// The commonest messages, flat JSON objects of one reading or of a pack, to columns; see plain_json.py. It takes exactly
// what can be understood at a glance; with anything else in any message it takes none of them.

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "json.h"
#include "names.h"
#include "times.h"

enum { SERIES_ID, ENTITY, TIMESTAMP, VALUE, VALUES, FIELDS };
enum { ID_BYTES_MAX = 1024 };

// What the poll is about: the names of the fields, one behind the other, and what stands between entity and variable.
typedef struct {
    const char *names;
    const int64_t *name_ends;  // [FIELDS]
    const char *separator;
    int64_t separator_bytes;
    int64_t bytes_max;  // of a message
    Unit unit;          // of times that are numbers
} Shape;

typedef struct {
    int64_t *codes;  // number of the series
    int64_t *times;  // ms
    double *values;
    int64_t *messages;
    int64_t *positions;  // within the message
    int64_t room, count;
} Columns;

// Every number finds its place in slots that are free.
void place_names(int64_t count, Names *names) {
    for (int64_t number = 0; number < count; number++) {
        int64_t start = number ? names->ends[number - 1] : 0;
        uint64_t slot = hash_of((Text){names->bytes + start, names->ends[number] - start});
        while (names->slots[slot & (uint64_t)names->slot_mask]) slot++;
        names->slots[slot & (uint64_t)names->slot_mask] = (int32_t)(number + 1);
    }
}

// One more reading, its time to be set when it is known. Twice the same series in a message is for others to judge.
static int64_t add(Columns *columns, Names *names, Text id, double value, int64_t message, int64_t position) {
    if (!id.bytes || id.bytes > ID_BYTES_MAX) return UNUSUAL;
    if (columns->count == columns->room) return NO_ROOM;
    int64_t number = number_of(names, id);
    if (number < 0) return number;
    if (names->seen[number] == names->messages + message) return UNUSUAL;
    names->seen[number] = names->messages + message;
    int64_t row = columns->count++;
    columns->codes[row] = number;
    columns->values[row] = value;
    columns->messages[row] = message;
    columns->positions[row] = position;
    return row;
}

// The members of a pack, to behind its closing brace; `*failed` says why there is no more.
static const char *read_pack(const char *p, const Shape *shape, Text entity, Columns *columns, Names *names,
                             int64_t message, int64_t *failed) {
    char whole[ID_BYTES_MAX];
    int64_t before = 0;
    *failed = UNUSUAL;
    if (entity.at) {
        before = entity.bytes + shape->separator_bytes;
        if (!entity.bytes || before > ID_BYTES_MAX) return NULL;
        memcpy(whole, entity.at, (size_t)entity.bytes);
        memcpy(whole + entity.bytes, shape->separator, (size_t)shape->separator_bytes);
    }
    if (*p++ != '{') return NULL;
    for (int64_t position = 0;; position++) {
        Text variable;
        double value;
        p = read_name(skip(p), &variable);
        if (!p || !variable.bytes || before + variable.bytes > ID_BYTES_MAX) return NULL;
        p = read_number(p, &value);
        if (!p) return NULL;
        if (entity.at) {
            memcpy(whole + before, variable.at, (size_t)variable.bytes);
            variable = (Text){whole, before + variable.bytes};
        }
        int64_t row = add(columns, names, variable, value, message, position);
        if (row < 0) return *failed = row, NULL;
        p = skip(p);
        if (*p == '}') return p + 1;
        if (*p++ != ',') return NULL;
    }
}

static int field_of(const Shape *shape, Text name) {
    for (int field = 0; field < FIELDS; field++) {
        int64_t start = field ? shape->name_ends[field - 1] : 0;
        if (shape->name_ends[field] - start == name.bytes && !memcmp(shape->names + start, name.at, (size_t)name.bytes)) {
            return field;
        }
    }
    return FIELDS;
}

// One message, to behind its closing brace.
static const char *read_message(const char *p, const Shape *shape, Columns *columns, Names *names, int64_t message,
                                int64_t *failed) {
    Text id = {0}, entity = {0};
    int64_t time = 0, first = columns->count;
    double value = 0;
    unsigned found = 0;
    *failed = UNUSUAL;
    if (*p++ != '{') return NULL;
    for (;;) {
        Text name;
        p = read_name(skip(p), &name);
        if (!p) return NULL;
        int field = field_of(shape, name);
        if (field < FIELDS && found & 1u << field) return NULL;
        if (field == ENTITY && found & 1u << VALUES) return NULL;
        if (field < FIELDS) found |= 1u << field;
        switch (field) {
            case SERIES_ID: p = read_text(p, &id); break;
            case ENTITY: p = read_text(p, &entity); break;
            case TIMESTAMP: p = read_time(p, &shape->unit, &time); break;
            case VALUE: p = read_number(p, &value); break;
            case VALUES: p = read_pack(p, shape, entity, columns, names, message, failed); break;
            default: p = skip_value(p, 0);
        }
        if (!p) return NULL;
        *failed = UNUSUAL;
        p = skip(p);
        if (*p == '}') break;
        if (*p++ != ',') return NULL;
    }
    if (found == (1u << SERIES_ID | 1u << TIMESTAMP | 1u << VALUE)) {
        int64_t row = add(columns, names, id, value, message, 0);
        if (row < 0) return *failed = row, NULL;
    } else if ((found & ~(1u << ENTITY)) != (1u << TIMESTAMP | 1u << VALUES)) {
        return NULL;
    }
    for (int64_t row = first; row < columns->count; row++) columns->times[row] = time;
    return p + 1;
}

// `count` messages with a newline between each two; `text` ends with a zero byte. Since no newline is taken inside a
// message, so many of them with so many newlines are one on each line. Readings found, or why there are none.
int64_t read_messages(int64_t count, const char *text, int64_t bytes, const Shape *shape, Names *names,
                      Columns *columns) {
    const char *p = text;
    int64_t failed = UNUSUAL;
    columns->count = 0;
    for (int64_t message = 0; message < count && p; message++) {
        const char *start = p;
        p = read_message(p, shape, columns, names, message, &failed);
        if (!p) break;
        if (p - start > shape->bytes_max || *p != (message + 1 < count ? '\n' : 0)) {
            p = NULL, failed = UNUSUAL;
            break;
        }
        p += message + 1 < count;
    }
    names->messages += count;
    return p && p == text + bytes ? columns->count : failed;
}
