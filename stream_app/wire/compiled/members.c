// A few members of flat JSON objects to columns, the others passed over; see members.py.

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "json.h"
#include "names.h"
#include "times.h"

// FIRST: of a list of numbers.
enum { TEXT, TIME, NUMBER, FIRST };
enum { NOTHING = -1, TEXT_BYTES_MAX = 1024 };

typedef struct {
    const char *name;
    int64_t name_bytes;
    int64_t kind;
    Names *texts;  // TEXT: where each has a number
    union {
        int64_t *wholes;  // TEXT: its number, NOTHING where it is null or missing. TIME: ms, INT64_MIN where it is missing
        double *reals;    // NaN where it is null or missing
    };
} Member;

static const char *read_number_or_null(const char *p, double *value) {
    *value = NAN;
    return *p == 'n' ? skip_word(p, "null") : read_number(p, value);
}

static const char *read_first(const char *p, double *value) {
    *value = NAN;
    if (*p++ != '[') return NULL;
    p = skip(p);
    if (*p == ']') return p + 1;
    for (double each, *to = value;; to = &each) {
        p = read_number_or_null(p, to);
        if (!p) return NULL;
        p = skip(p);
        if (*p == ']') return p + 1;
        if (*p++ != ',') return NULL;
        p = skip(p);
    }
}

// `*failed` says why there is no more.
static const char *read_member(const char *p, const Member *member, int64_t row, int64_t *failed) {
    static const Unit no_numbers = {1, 1, 0, 0};
    Text text;
    switch (member->kind) {
        case TIME: return *p == '"' ? read_time(p, &no_numbers, member->wholes + row) : NULL;
        case NUMBER: return read_number_or_null(p, member->reals + row);
        case FIRST: return read_first(p, member->reals + row);
    }
    if (*p == 'n') return skip_word(p, "null");
    p = read_text(p, &text);
    if (!p || text.bytes > TEXT_BYTES_MAX) return NULL;
    int64_t number = number_of(member->texts, text);
    if (number < 0) return *failed = number, NULL;
    member->wholes[row] = number;
    return p;
}

static int64_t member_of(int64_t count, const Member *members, Text name) {
    for (int64_t i = 0; i < count; i++) {
        if (members[i].name_bytes == name.bytes && !memcmp(members[i].name, name.at, (size_t)name.bytes)) return i;
    }
    return NOTHING;
}

// One message, to behind its closing brace.
static const char *read_object(const char *p, int64_t count, const Member *members, int64_t row, int64_t *failed) {
    unsigned found = 0;
    *failed = UNUSUAL;
    for (int64_t i = 0; i < count; i++) {
        if (members[i].kind == NUMBER || members[i].kind == FIRST) members[i].reals[row] = NAN;
        else members[i].wholes[row] = members[i].kind == TIME ? INT64_MIN : NOTHING;
    }
    if (*p++ != '{') return NULL;
    for (;;) {
        Text name;
        p = read_name(skip(p), &name);
        if (!p) return NULL;
        int64_t member = member_of(count, members, name);
        if (member != NOTHING && found & 1u << member) return NULL;
        if (member != NOTHING) found |= 1u << member;
        p = member == NOTHING ? skip_value(p, 0) : read_member(p, members + member, row, failed);
        if (!p) return NULL;
        p = skip(p);
        if (*p == '}') return p + 1;
        if (*p++ != ',') return NULL;
    }
}

// Rows from `first` on, of values that end at `ends` in `text`. `is_read` [rows]: whether it was understood. How many
// rows were looked at: fewer than all where a table of texts has no more room.
int64_t read_members(int64_t rows, int64_t first, const char *text, const int64_t *ends, const int64_t *bytes,
                   int64_t count, const Member *members, int8_t *is_read) {
    for (int64_t row = first; row < rows; row++) {
        int64_t failed = UNUSUAL;
        const char *end = text + ends[row];
        const char *p = bytes[row] > 0 ? read_object(end - bytes[row], count, members, row, &failed) : NULL;
        if (!p && failed == NO_ROOM) return row;
        is_read[row] = p == end;
    }
    return rows;
}
