/* SPDX-License-Identifier: Apache-2.0 */
/* acs_elementwise.c: sums, clamps, and the fixed-point arithmetic below them. */
#include "acs_layers.h"

/* C leaves both to the compiler; every compiler for these chips does it so, and the numbers need it. */
_Static_assert((-3 >> 1) == -2, "a right shift of a negative number must copy the sign");
_Static_assert((int32_t)0xfffffffeu == -2, "a conversion to a signed type must wrap");

/* TFLite shifts both addends left by 20 before it scales them, so that little is lost. */
#define ADD_LEFT_SHIFT 20

/* (value * multiplier) / 2^31, rounded to nearest, ties up: gemmlowp's doubling high multiply. The
 * one saturating case, both arguments INT32_MIN, cannot come up: a Q31 multiplier is positive. */
static inline int32_t doubling_high_multiply(int32_t value, int32_t multiplier)
{
    return (int32_t)(((int64_t)value * multiplier + (1 << 30)) >> 31);
}

/* value / 2^exponent, rounded to nearest, ties away from zero. */
static inline int32_t divide_by_power_of_two(int32_t value, uint32_t exponent)
{
    const int32_t mask = (int32_t)((1u << exponent) - 1u);
    const int32_t threshold = (mask >> 1) + (value < 0 ? 1 : 0);
    return (value >> exponent) + ((value & mask) > threshold ? 1 : 0);
}

static inline int32_t clamp(int32_t value, int32_t low, int32_t high)
{
    return value < low ? low : (value > high ? high : value);
}

int32_t acs_rescale(int32_t value, acs_scale_t scale)
{
    const uint32_t left = scale.shift > 0 ? (uint32_t)scale.shift : 0u;
    const uint32_t right = scale.shift < 0 ? (uint32_t)-scale.shift : 0u;
    /* Shifted as unsigned: TFLite lets an overflow wrap, in C only unsigned numbers may. */
    const int32_t shifted = (int32_t)((uint32_t)value << left);
    return divide_by_power_of_two(doubling_high_multiply(shifted, scale.multiplier), right);
}

/* Adds by the definition. */
static void add_plainly(const acs_add_t *l, const int8_t *coarse, const int8_t *fine, int8_t *output)
{
    for (uint32_t i = 0; i < l->count; i++) {
        const int32_t halved = (coarse[i] - l->coarse_zero_point) * (1 << (ADD_LEFT_SHIFT - 1));
        const int32_t scaled = acs_rescale((fine[i] - l->fine_zero_point) * (1 << ADD_LEFT_SHIFT), l->fine);
        const int32_t sum = acs_rescale(halved + scaled, l->output) + l->output_zero_point;
        output[i] = (int8_t)clamp(sum, l->low, l->high);
    }
}

/* value / 2^exponent for exponent >= 1, ties away from zero: half less one bit where value < 0. */
static inline int32_t shift_right(int32_t value, int32_t half, uint32_t exponent)
{
    return (value + (value >> 31) + half) >> exponent;
}

/* (doubled * multiplier) / 2^32, rounded to nearest, ties up: of a doubled value, what doubling_high_multiply()
 * gives of the value itself. */
static inline int32_t high_multiply(int32_t doubled, int32_t multiplier)
{
#if defined(__ARM_FEATURE_DSP) && defined(__thumb2__)
    int32_t high;
    __asm__("smmulr %0, %1, %2" : "=r"(high) : "r"(doubled), "r"(multiplier));
    return high;
#else
    return (int32_t)(((int64_t)doubled * multiplier + (1LL << 31)) >> 32);
#endif
}

static inline int32_t saturate(int32_t value)
{
#if defined(__ARM_FEATURE_SAT) && defined(__thumb2__)
    __asm__("ssat %0, #8, %0" : "+r"(value));
    return value;
#else
    return clamp(value, INT8_MIN, INT8_MAX);
#endif
}

/*
 * The same numbers in far fewer instructions, for an output that is shifted right by at least one bit. Both
 * addends are doubled from the start; equal scales make the fine one a plain shift. full: the clamp is int8's
 * own, and `half` takes in the zero point.
 */
static inline void add_quickly(const acs_add_t *l, const int8_t *coarse, const int8_t *fine, int8_t *output,
                               bool equal, bool full)
{
    const int32_t fine_zero = l->fine_zero_point * (1 << (ADD_LEFT_SHIFT + 1));
    const int32_t coarse_zero = l->coarse_zero_point * (1 << ADD_LEFT_SHIFT);
    const int32_t fine_multiplier = l->fine.multiplier;
    const int32_t multiplier = l->output.multiplier;
    const uint32_t fine_right = (uint32_t)-l->fine.shift;
    const uint32_t right = (uint32_t)-l->output.shift;
    const int32_t fine_half = equal ? 0 : (int32_t)(1u << (fine_right - 1));
    const int32_t zero = l->output_zero_point;
    const int32_t half = (int32_t)(1u << (right - 1)) + (full ? zero * (1 << right) : 0);
    const int32_t low = l->low;
    const int32_t high = l->high;

    for (const int8_t *const end = coarse + l->count; coarse < end; coarse++, fine++, output++) {
        const int32_t doubled = *fine * (1 << (ADD_LEFT_SHIFT + 1)) - fine_zero;
        const int32_t addend =
            equal ? doubled / 2 : 2 * shift_right(high_multiply(doubled, fine_multiplier), fine_half, fine_right);
        const int32_t sum = *coarse * (1 << ADD_LEFT_SHIFT) - coarse_zero + addend;
        const int32_t value = shift_right(high_multiply(sum, multiplier), half, right);
        *output = (int8_t)(full ? saturate(value) : clamp(value + zero, low, high));
    }
}

/* Right shifts by which a zero point can be moved to the left without leaving 32 bits. */
#define MOST_ZERO_POINT_SHIFT 22

void acs_add_s8(const acs_add_t *layer, const int8_t *coarse, const int8_t *fine, int8_t *output)
{
    const bool equal = layer->fine.shift == 0 && layer->fine.multiplier == 1 << 30;
    const bool full = layer->low == INT8_MIN && layer->high == INT8_MAX &&
                      layer->output.shift >= -MOST_ZERO_POINT_SHIFT;
    if (layer->output.shift >= 0 || (layer->fine.shift >= 0 && !equal)) {
        add_plainly(layer, coarse, fine, output);
    } else if (full && equal) {
        add_quickly(layer, coarse, fine, output, true, true);
    } else if (full) {
        add_quickly(layer, coarse, fine, output, false, true);
    } else {
        add_quickly(layer, coarse, fine, output, equal, false);
    }
}

void acs_clamp_s8(uint32_t count, int8_t low, int8_t high, const int8_t *input, int8_t *output)
{
    for (uint32_t i = 0; i < count; i++) {
        output[i] = (int8_t)clamp(input[i], low, high);
    }
}
