/* SPDX-License-Identifier: Apache-2.0 */
/* acs_elementwise.c: sums, clamps, and the fixed-point arithmetic below them. */
#include "acs_layers.h"
#include "acs_words.h"

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

/* Clamp to all of int8, one instruction where there is one. */
static inline int32_t saturate(int32_t value)
{
#if defined(__ARM_FEATURE_SAT) && defined(__GNUC__) && __GNUC__ >= 12
    return (int32_t)__builtin_arm_ssat(value, 8); /* what arm_acle.h's __ssat is, but for a warning */
#else
    return clamp(value, INT8_MIN, INT8_MAX);
#endif
}

/* Adds with factors. */
static inline int32_t linear_sum(const acs_add_t *l, int32_t coarse, int32_t fine)
{
    return (l->offset + coarse * l->coarse_factor + fine * l->fine_factor) >> l->shift;
}

/* Adds what lies at word boundaries with factors, four by four, to all of int8; returns how many that were. */
static uint32_t add_words(const acs_add_t *layer, const int8_t *coarse, const int8_t *fine, int8_t *output)
{
    const acs_add_t l = *layer; /* in registers: `output` may not be thought to change it */
    if (((uintptr_t)coarse | (uintptr_t)fine | (uintptr_t)output) % 4 != 0) {
        return 0;
    }
    const uint32_t count = l.count & ~3u;
    for (const int8_t *const end = output + count; output != end; output += 4, coarse += 4, fine += 4) {
        const uint32_t a = acs_word_at(coarse);
        const uint32_t b = acs_word_at(fine);
        uint32_t sums = 0;
        for (uint32_t bit = 0; bit < 32; bit += 8) {
            const int32_t sum = saturate(linear_sum(&l, (int8_t)(a >> bit), (int8_t)(b >> bit)));
            sums |= ((uint32_t)sum & 0xffu) << bit;
        }
        acs_put_word(output, sums);
    }
    return count;
}

void acs_add_s8(const acs_add_t *layer, const int8_t *coarse, const int8_t *fine, int8_t *output)
{
    if (layer->shift == 0) {
        add_plainly(layer, coarse, fine, output);
        return;
    }
    const acs_add_t l = *layer; /* in registers: `output` may not be thought to change it */
    uint32_t i = l.low == INT8_MIN && l.high == INT8_MAX ? add_words(layer, coarse, fine, output) : 0u;
    for (; i < l.count; i++) {
        output[i] = (int8_t)clamp(linear_sum(&l, coarse[i], fine[i]), l.low, l.high);
    }
}

void acs_add_residual_s8(const acs_residual_t *residual, uint32_t count, const int8_t *values, int8_t *sum)
{
    acs_add_t add = residual->add;
    add.count = count;
    if (residual->result_is_fine) {
        acs_add_s8(&add, sum, values, sum);
    } else {
        acs_add_s8(&add, values, sum, sum);
    }
}

void acs_clamp_s8(uint32_t count, int8_t low, int8_t high, const int8_t *input, int8_t *output)
{
    for (uint32_t i = 0; i < count; i++) {
        output[i] = (int8_t)clamp(input[i], low, high);
    }
}
