/* SPDX-License-Identifier: Apache-2.0 */
/* acs_elementwise.c: sums, clamps, and the fixed-point arithmetic below them. */
#include "acs_layers.h"

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

void acs_add_s8(const acs_add_t *layer, const int8_t *first, const int8_t *second, int8_t *output)
{
    const acs_add_t l = *layer; /* a copy: the compiler then knows that output does not change it */
    const uint32_t right_first = (uint32_t)-l.first.shift;
    const uint32_t right_second = (uint32_t)-l.second.shift;
    const uint32_t right_output = (uint32_t)-l.output.shift;
    for (uint32_t i = 0; i < l.count; i++) {
        const int32_t a = (first[i] - l.first_zero_point) * (1 << ADD_LEFT_SHIFT);
        const int32_t b = (second[i] - l.second_zero_point) * (1 << ADD_LEFT_SHIFT);
        const int32_t sum =
            divide_by_power_of_two(doubling_high_multiply(a, l.first.multiplier), right_first) +
            divide_by_power_of_two(doubling_high_multiply(b, l.second.multiplier), right_second);
        const int32_t scaled =
            divide_by_power_of_two(doubling_high_multiply(sum, l.output.multiplier), right_output);
        output[i] = (int8_t)clamp(scaled + l.output_zero_point, l.low, l.high);
    }
}

void acs_clamp_s8(uint32_t count, int8_t low, int8_t high, const int8_t *input, int8_t *output)
{
    for (uint32_t i = 0; i < count; i++) {
        output[i] = (int8_t)clamp(input[i], low, high);
    }
}
