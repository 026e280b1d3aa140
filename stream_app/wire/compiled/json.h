// The parts of plain JSON: what is unusual (escapes, text beyond ASCII, …) is NULL, for others to judge. The text ends
// with a character that no part goes beyond: a newline or a zero byte.

#ifndef TIDECAST_JSON_H
#define TIDECAST_JSON_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "times.h"

enum { EXACT_DIGITS = 19, EXACT_POWER = 22, DEPTH_MAX = 8 };

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

// The name of a member; where its value begins.
static const char *read_name(const char *p, Text *name) {
    p = read_text(p, name);
    if (!p) return NULL;
    p = skip(p);
    return *p == ':' ? skip(p + 1) : NULL;
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
            p = read_name(p, &text);
            if (!p) return NULL;
        }
        p = skip_value(p, depth + 1);
        if (!p) return NULL;
        p = skip(p);
        if (*p == close) return p + 1;
        if (*p++ != ',') return NULL;
        p = skip(p);
    }
}

#endif
