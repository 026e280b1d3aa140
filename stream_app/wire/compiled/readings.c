// The commonest messages, flat JSON objects of one reading or of a pack, to columns; see plain_json.py. It takes exactly
// what can be understood at a glance; with anything else in any message it takes none of them.

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "times.h"

enum { UNUSUAL = -1, NO_ROOM = -2 };
enum { SERIES_ID, ENTITY, TIMESTAMP, VALUE, VALUES, FIELDS };
enum { ID_BYTES_MAX = 1024, PROBES_MAX = 64, EXACT_DIGITS = 19, EXACT_POWER = 22, DEPTH_MAX = 8 };

// What the poll is about: the names of the fields, one behind the other, and what stands between entity and variable.
typedef struct {
    const char *names;
    const int64_t *name_ends;  // [FIELDS]
    const char *separator;
    int64_t separator_bytes;
    int64_t bytes_max;  // of a message
    Unit unit;          // of times that are numbers
} Shape;

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

typedef struct {
    int64_t *codes;  // number of the series
    int64_t *times;  // ms
    double *values;
    int64_t *messages;
    int64_t *positions;  // within the message
    int64_t room, count;
} Columns;

typedef struct {
    const char *at;
    int64_t bytes;
} Text;

static const char *skip(const char *p) {
    while (*p == ' ' || *p == '\t') p++;
    return p;
}

// Behind the closing quote; NULL unless it is printable ASCII without escapes.
static const char *read_text(const char *p, Text *text) {
    if (*p != '"') return NULL;
    text->at = ++p;
    while ((signed char)*p >= ' ' && *p != '"' && *p != '\\' && *p != 0x7f) p++;
    if (*p != '"') return NULL;
    text->bytes = p - text->at;
    return p + 1;
}

// A finite number: exactly from 19 digits and a small power of ten, otherwise by the C library, which rounds correctly.
static const char *read_number(const char *p, double *value) {
    static const double tens[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                  1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    const char *start = p;
    bool negative = *p == '-', whole = true, exact = true;
    p += negative;
    uint64_t mantissa = 0;
    int64_t digits = 0, exponent = 0;
    if (!is_digit(*p) || (*p == '0' && is_digit(p[1]))) return NULL;
    for (; is_digit(*p); p++) mantissa = 10 * mantissa + (uint64_t)(*p - '0'), digits += mantissa != 0;
    if (*p == '.') {
        whole = false;
        if (!is_digit(*++p)) return NULL;
        for (; is_digit(*p); p++, exponent--) {
            mantissa = 10 * mantissa + (uint64_t)(*p - '0');
            digits += mantissa != 0;
        }
    }
    if (*p == 'e' || *p == 'E') {
        exact = whole = false;
        p++;
        p += *p == '+' || *p == '-';
        if (!is_digit(*p)) return NULL;
        while (is_digit(*p)) p++;
    }
    if (whole && negative && !mantissa) return NULL;  // -0
    if (exact && digits <= EXACT_DIGITS && mantissa <= 1ULL << 53 && exponent >= -EXACT_POWER) {
        double size = (double)mantissa / tens[-exponent];
        *value = negative ? -size : size;
        return p;
    }
    char *end;
    *value = strtod(start, &end);
    return end == p && isfinite(*value) ? p : NULL;
}

static const char *skip_word(const char *p, const char *word) {
    while (*word) {
        if (*p++ != *word++) return NULL;
    }
    return p;
}

// Behind a value that nobody asks for; NULL where it is nested deeper than tags are.
static const char *skip_value(const char *p, int depth) {
    Text text;
    double number;
    switch (*p) {
        case '"': return read_text(p, &text);
        case 't': return skip_word(p, "true");
        case 'f': return skip_word(p, "false");
        case 'n': return skip_word(p, "null");
        case '{':
        case '[': break;
        default: return read_number(p, &number);
    }
    char open = *p, close = open == '{' ? '}' : ']';
    if (depth == DEPTH_MAX) return NULL;
    p = skip(p + 1);
    if (*p == close) return p + 1;
    for (;;) {
        if (open == '{') {
            p = read_text(p, &text);
            if (!p) return NULL;
            p = skip(p);
            if (*p++ != ':') return NULL;
            p = skip(p);
        }
        p = skip_value(p, depth + 1);
        if (!p) return NULL;
        p = skip(p);
        if (*p == close) return p + 1;
        if (*p++ != ',') return NULL;
        p = skip(p);
    }
}

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

// Every number finds its place in slots that are free.
void place_names(int64_t count, Names *names) {
    for (int64_t number = 0; number < count; number++) {
        int64_t start = number ? names->ends[number - 1] : 0;
        uint64_t slot = hash_of((Text){names->bytes + start, names->ends[number] - start});
        while (names->slots[slot & (uint64_t)names->slot_mask]) slot++;
        names->slots[slot & (uint64_t)names->slot_mask] = (int32_t)(number + 1);
    }
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
        p = read_text(skip(p), &variable);
        if (!p || !variable.bytes || before + variable.bytes > ID_BYTES_MAX) return NULL;
        p = skip(p);
        if (*p++ != ':') return NULL;
        p = read_number(skip(p), &value);
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
        p = read_text(skip(p), &name);
        if (!p) return NULL;
        p = skip(p);
        if (*p++ != ':') return NULL;
        p = skip(p);
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
