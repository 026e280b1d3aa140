// Event times as producers write them, to whole milliseconds since the epoch, rounded towards the past: whole numbers in
// the stream's unit, and RFC 3339 with an offset. What is written in any other way is NULL, for timestamps.py to judge.

#ifndef TIDECAST_TIMES_H
#define TIDECAST_TIMES_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

enum { TIME_DIGITS_MAX = 18, FRACTION_DIGITS = 6, FRACTION_DIGITS_MAX = 9 };
enum { YEAR_MIN = 1000, YEAR_MAX = 9998 };  // no offset leads out of the years 1 to 9999 from here

// Milliseconds are number · multiply / divide; numbers beyond the bounds become them, far out of any range of times.
typedef struct {
    int64_t multiply, divide;
    int64_t least, most;
} Unit;

static inline bool is_digit(char c) { return c >= '0' && c <= '9'; }

static inline int64_t floor_divided(int64_t number, int64_t by) {
    int64_t whole = number / by;
    return whole - (whole * by > number);
}

static const char *read_number_of_time(const char *p, const Unit *unit, int64_t *ms) {
    bool negative = *p == '-';
    p += negative;
    const char *first = p;
    int64_t number = 0;
    while (is_digit(*p) && p - first <= TIME_DIGITS_MAX) number = 10 * number + (*p++ - '0');
    int64_t digits = p - first;
    if (!digits || digits > TIME_DIGITS_MAX || (*first == '0' && digits > 1)) return NULL;
    if (*p == '.' || *p == 'e' || *p == 'E') return NULL;  // no whole number, perhaps
    if (negative) number = -number;
    number = number < unit->least ? unit->least : number > unit->most ? unit->most : number;
    *ms = unit->divide == 1 ? number * unit->multiply : floor_divided(number, unit->divide);
    return p;
}

static const char *read_digits(const char *p, int count, int64_t *number) {
    *number = 0;
    for (; count; count--, p++) {
        if (!is_digit(*p)) return NULL;
        *number = 10 * *number + (*p - '0');
    }
    return p;
}

// Two digits, up to `most`, behind the character `before`.
static const char *read_pair(const char *p, char before, int64_t most, int64_t *number) {
    if (*p != before) return NULL;
    p = read_digits(p + 1, 2, number);
    return p && *number <= most ? p : NULL;
}

// Microseconds, rounded as msgspec does: by the seventh digit alone.
static const char *read_fraction(const char *p, int64_t *micros) {
    const char *first = p;
    for (; is_digit(*p); p++) {
        int64_t digit = *p - '0', place = p - first;
        if (place == FRACTION_DIGITS_MAX) return NULL;
        if (place < FRACTION_DIGITS) *micros = 10 * *micros + digit;
        if (place == FRACTION_DIGITS) *micros += digit >= 5;
    }
    if (p == first) return NULL;
    for (int64_t place = p - first; place < FRACTION_DIGITS; place++) *micros *= 10;
    return p;
}

// Days from 1970-01-01 to a day of the Gregorian calendar; years begin in March, so that a leap day is the last of one.
static int64_t days_since_epoch(int64_t year, int64_t month, int64_t day) {
    year -= month <= 2;
    int64_t months = (month + 9) % 12;  // since March
    return 365 * year + year / 4 - year / 100 + year / 400 + (153 * months + 2) / 5 + day - 719469;
}

static bool is_day(int64_t year, int64_t month, int64_t day) {
    static const int8_t lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    if (year < YEAR_MIN || year > YEAR_MAX || !month || !day) return false;
    bool leap = year % 4 == 0 && (year % 100 || year % 400 == 0);
    return day <= lengths[month - 1] + (leap && month == 2);
}

// "2026-03-01T10:00:00.5+01:00", to behind the closing quote.
static const char *read_rfc3339(const char *p, int64_t *ms) {
    int64_t year, month, day, hour, minute, second, micros = 0, hours = 0, minutes = 0;
    p = read_digits(p + 1, 4, &year);
    if (!p || !(p = read_pair(p, '-', 12, &month)) || !(p = read_pair(p, '-', 31, &day))) return NULL;
    if (!is_day(year, month, day) || (*p != 'T' && *p != ' ')) return NULL;
    if (!(p = read_pair(p, *p, 23, &hour)) || !(p = read_pair(p, ':', 59, &minute))) return NULL;
    if (!(p = read_pair(p, ':', 59, &second))) return NULL;
    if (*p == '.' && !(p = read_fraction(p + 1, &micros))) return NULL;
    int64_t east = *p == '-' ? -1 : 1;
    if (*p == 'Z') {
        p++;
    } else if ((*p != '+' && *p != '-') || !(p = read_pair(p, *p, 23, &hours)) ||
               !(p = read_pair(p, ':', 59, &minutes))) {
        return NULL;
    }
    if (*p != '"') return NULL;
    minute += 60 * hour - east * (60 * hours + minutes);
    int64_t seconds = 86400 * days_since_epoch(year, month, day) + 60 * minute + second;
    *ms = 1000 * seconds + micros / 1000;
    return p + 1;
}

static const char *read_time(const char *p, const Unit *unit, int64_t *ms) {
    return *p == '"' ? read_rfc3339(p, ms) : read_number_of_time(p, unit, ms);
}

#endif
