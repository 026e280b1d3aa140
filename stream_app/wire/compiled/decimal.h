// Numbers as JSON has them: the shortest decimal that reads back as the same float.
//
// Raffaello Giulietti, "The Schubfach way to render doubles" (2020); names are the paper's where it has them. The
// layout of the text (when there is an exponent, and when a trailing ".0") is that of orjson.

#ifndef TIDECAST_DECIMAL_H
#define TIDECAST_DECIMAL_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { POWER_MIN = -292, DIGITS_ROOM = 24 };

// The first 128 bits of 10^e, rounded up, for e from POWER_MIN on.
typedef struct {
    uint64_t high, low;
} Power;

typedef struct {
    uint64_t digits;
    int32_t exponent;  // digits · 10^exponent
} Decimal;

// floor(log2(10^e))
static inline int32_t log2_of_power(int32_t e) { return (e * 1741647) >> 19; }

// The upper part of g · cp, its last bit set where anything below it is.
static inline uint64_t round_to_odd(Power g, uint64_t cp) {
    unsigned __int128 low = (unsigned __int128)g.low * cp;
    unsigned __int128 sum = (unsigned __int128)g.high * cp + (uint64_t)(low >> 64);
    return (uint64_t)(sum >> 64) | ((uint64_t)sum > 1);
}

// Of c · 2^q, c > 0. `closer`: the next smaller float is half as far away as the next larger one.
static inline Decimal shortest(uint64_t c, int32_t q, bool closer, const Power *powers) {
    if (q <= 0 && q > -53 && (c & ((1ULL << -q) - 1)) == 0) return (Decimal){c >> -q, 0};  // a whole number
    bool odd = c & 1;
    int32_t k = (q * 1262611 - (closer ? 524031 : 0)) >> 22;  // floor(log10(2^q)), or of ¾ · 2^q
    int32_t h = q + log2_of_power(-k) + 1;
    Power g = powers[-k - POWER_MIN];
    uint64_t below = round_to_odd(g, (4 * c - 2 + closer) << h) + odd;  // the first and the last value, in quarters,
    uint64_t value = round_to_odd(g, (4 * c) << h);                     // that reads back as this float
    uint64_t above = round_to_odd(g, (4 * c + 2) << h) - odd;
    // One digit less where exactly one such number lies between them; otherwise the nearer one of two, if both do.
    uint64_t s = value / 4, tenth = s / 10, middle = 4 * s + 2;
    bool tenth_under = below <= 40 * tenth, tenth_over = 40 * tenth + 40 <= above;
    bool under = below <= 4 * s, over = 4 * s + 4 <= above;
    bool up = under != over ? over : (value > middle) | ((value == middle) & (s & 1));
    bool shorter = (s >= 10) & (tenth_under != tenth_over);
    return (Decimal){shorter ? tenth + tenth_over : s + up, k + shorter};
}

static inline int32_t digits_of(uint64_t number) {
    static const uint64_t tens[] = {
        0, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000, 1000000000, 10000000000, 100000000000,
        1000000000000, 10000000000000, 100000000000000, 1000000000000000, 10000000000000000, 100000000000000000,
        1000000000000000000, 10000000000000000000u,
    };
    int32_t about = (64 - __builtin_clzll(number | 1)) * 1233 >> 12;  // bits · log10(2)
    return about + (number >= tens[about]);
}

// Eight digits of a number below 10^8, the first one in the lowest byte: four times two, eight times one digit at once.
static inline uint64_t eight_digits(uint32_t number) {
    uint64_t fours = number / 10000 | (uint64_t)(number % 10000) << 32;
    uint64_t hundreds = (fours * 10486 >> 20) & 0x7f0000007f;
    uint64_t pairs = hundreds | (fours - 100 * hundreds) << 16;
    uint64_t tens = (pairs * 103 >> 10) & 0xf000f000f000f;
    return (tens | (pairs - 10 * tens) << 8) + 0x3030303030303030;
}

// `count` digits of a number, at `out`, where there is room for DIGITS_ROOM; what stands behind them is undefined.
static inline void put_digits(char *out, uint64_t number, int32_t count) {
    if (count > 16) {
        uint64_t first = number / 10000000000000000, digits = eight_digits((uint32_t)first) >> 8 * (24 - count);
        memcpy(out, &digits, 8);
        out += count - 16, number -= first * 10000000000000000, count = 16;
    }
    if (count > 8) {
        uint64_t first = number / 100000000, digits = eight_digits((uint32_t)first) >> 8 * (16 - count);
        memcpy(out, &digits, 8);
        out += count - 8, number -= first * 100000000, count = 8;
    }
    uint64_t digits = eight_digits((uint32_t)number) >> 8 * (8 - count);
    memcpy(out, &digits, 8);
}

static inline char *put_zeros(char *out, int32_t count) {
    memset(out, '0', (size_t)count);
    return out + count;
}

static inline char *put_integer(char *out, int64_t number) {
    uint64_t size = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
    if (number < 0) *out++ = '-';
    int32_t count = digits_of(size);
    put_digits(out, size, count);
    return out + count;
}

// Those at the end of its digits go into the exponent; what has few digits has many of them.
static inline Decimal without_zeros(Decimal decimal) {
    if (decimal.digits % 10) return decimal;
    if (decimal.digits % 100000000 == 0) decimal.digits /= 100000000, decimal.exponent += 8;
    if (decimal.digits % 10000 == 0) decimal.digits /= 10000, decimal.exponent += 4;
    while (decimal.digits % 10 == 0) decimal.digits /= 10, decimal.exponent++;
    return decimal;
}

// With an exponent where the point would stand behind more than `before` digits or before more than `zeros` zeros.
static inline char *put_decimal(char *out, Decimal decimal, int32_t before, int32_t zeros) {
    decimal = without_zeros(decimal);
    int32_t count = digits_of(decimal.digits), point = count + decimal.exponent;
    char digits[DIGITS_ROOM + 16];
    put_digits(digits, decimal.digits, count);
    if (point > 0 && point <= before) {
        memcpy(out, digits, 16);
        if (decimal.exponent >= 0) {
            out = put_zeros(out + count, decimal.exponent);
            memcpy(out, ".0", 2);
            return out + 2;
        }
        out[point] = '.';
        memcpy(out + point + 1, digits + point, 16);
        return out + count + 1;
    }
    if (point <= 0 && point >= -zeros) {
        memcpy(out, "0.00000", 7);
        out += 2 - point;
        memcpy(out, digits, DIGITS_ROOM);
        return out + count;
    }
    *out++ = digits[0];
    if (count > 1) {
        *out++ = '.';
        memcpy(out, digits + 1, DIGITS_ROOM);
        out += count - 1;
    }
    *out++ = 'e';
    if (point > 0) *out++ = '+';
    return put_integer(out, point - 1);
}

// Of `bits` with so many for the fraction and the exponent; null for what JSON cannot say.
static inline char *put_float(char *out, uint64_t bits, int32_t fraction, int32_t exponent, const Power *powers) {
    uint64_t part = bits & ((1ULL << fraction) - 1);
    int32_t most = (1 << exponent) - 1, biased = (int32_t)(bits >> fraction) & most;
    if (biased == most) return memcpy(out, "null", 4), out + 4;
    *out = '-';
    out += bits >> (fraction + exponent);
    if (!biased && !part) return memcpy(out, "0.0", 3), out + 3;
    uint64_t c = biased ? part | 1ULL << fraction : part;
    int32_t q = (biased ? biased : 1) - (most >> 1) - fraction;
    Decimal decimal = shortest(c, q, !part && biased > 1, powers);
    return fraction == 52 ? put_decimal(out, decimal, 16, 4) : put_decimal(out, decimal, 13, 5);
}

static inline char *put_real(char *out, const char *from, const Power *powers) {
    uint64_t bits;
    memcpy(&bits, from, sizeof bits);
    return put_float(out, bits, 52, 11, powers);
}

static inline char *put_short_real(char *out, const char *from, const Power *powers) {
    uint32_t bits;
    memcpy(&bits, from, sizeof bits);
    return put_float(out, bits, 23, 8, powers);
}

#endif
