// Texts that are put together row by row, each from the same parts; see lines.py.

#include <stdint.h>
#include <string.h>

#include "decimal.h"

enum { FIXED, TEXTS, CHOSEN, SAME, REALS, SHORT_REALS, INTEGERS, INSTANTS, FLAGS };

typedef struct {
    int64_t kind;
    int64_t count;   // FIXED: its bytes. SAME: as which part. Others: how many a row, with commas between
    int64_t stride;  // numbers, INSTANTS, FLAGS: bytes from one row to the next
    const char *data;
    const int64_t *ends;   // TEXTS, CHOSEN: where each text ends in `data`
    const int64_t *which;  // CHOSEN: the text of each row
    char *from, *to;       // where it was put last
} Part;

static inline char *put(char *out, const char *from, int64_t bytes) {
    memcpy(out, from, (size_t)bytes);
    return out + bytes;
}

static inline char *put_text(char *out, const Part *part, int64_t number) {
    int64_t start = number ? part->ends[number - 1] : 0;
    return put(out, part->data + start, part->ends[number] - start);
}

static char *put_numbers(char *out, const Part *part, int64_t row, const Power *powers) {
    const char *from = part->data + row * part->stride;
    for (int64_t i = 0; i < part->count; i++) {
        if (i) *out++ = ',';
        if (part->kind == REALS) {
            out = put_real(out, from + 8 * i, powers);
        } else if (part->kind == SHORT_REALS) {
            out = put_short_real(out, from + 4 * i, powers);
        } else {
            int64_t number;
            memcpy(&number, from + 8 * i, sizeof number);
            out = put_integer(out, number);
        }
    }
    return out;
}

// Milliseconds since 1970, within the years 1 to 9999, as RFC 3339; without a fraction where it is none.
static char *put_instant(char *out, const char *from) {
    int64_t ms;
    memcpy(&ms, from, sizeof ms);
    int64_t second = (ms - ((ms % 1000) + 1000) % 1000) / 1000, day = (second - ((second % 86400) + 86400) % 86400) / 86400;
    int32_t in_day = (int32_t)(second - 86400 * day), fraction = (int32_t)(ms - 1000 * second);
    // Howard Hinnant, "chrono-compatible low-level date algorithms": days from 0000-03-01, in eras of 400 years
    int64_t since = day + 719468, era = since / 146097;
    int32_t of_era = (int32_t)(since - 146097 * era);
    int32_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int32_t of_year = of_era - (365 * year + year / 4 - year / 100);
    int32_t shifted = (5 * of_year + 2) / 153, month = shifted < 10 ? shifted + 3 : shifted - 9;
    put_digits(out, (uint64_t)(year + 400 * era + (month <= 2)), 4);
    put_digits(out + 5, (uint64_t)month, 2);
    put_digits(out + 8, (uint64_t)(of_year - (153 * shifted + 2) / 5 + 1), 2);
    put_digits(out + 11, (uint64_t)in_day / 3600, 2);
    put_digits(out + 14, (uint64_t)in_day / 60 % 60, 2);
    put_digits(out + 17, (uint64_t)in_day % 60, 2);
    out[4] = out[7] = '-', out[10] = 'T', out[13] = out[16] = ':', out[19] = '.';
    put_digits(out + 20, (uint64_t)fraction, 3);
    out += fraction ? 23 : 19;
    *out = 'Z';
    return out + 1;
}

static char *put_flags(char *out, const Part *part, int64_t row) {
    static const char *const words[] = {"false", "true", "null"};
    const char *from = part->data + row * part->stride;
    for (int64_t i = 0; i < part->count; i++) {
        if (i) *out++ = ',';
        out = put(out, words[(int)from[i]], from[i] ? 4 : 5);
    }
    return out;
}

static inline char *put_part(char *out, const Part *part, const Part *parts, int64_t row, const Power *powers) {
    switch (part->kind) {
        case FIXED: return put(out, part->data, part->count);
        case TEXTS: return put_text(out, part, row);
        case CHOSEN: return put_text(out, part, part->which[row]);
        case INSTANTS: return put_instant(out, part->data + row * part->stride);
        case FLAGS: return put_flags(out, part, row);
        case SAME: return put(out, parts[part->count].from, parts[part->count].to - parts[part->count].from);
        default: return put_numbers(out, part, row, powers);
    }
}

// The text of row r ends at ends[r] in `out`, which has room for all of them and 64 bytes more.
void put_lines(int64_t rows, int64_t count, Part *parts, const Power *powers, char *out, int64_t *ends) {
    char *at = out;
    for (int64_t row = 0; row < rows; row++) {
        for (Part *part = parts; part < parts + count; part++) {
            part->from = at;
            at = part->to = put_part(at, part, parts, row, powers);
        }
        ends[row] = at - out;
    }
}
