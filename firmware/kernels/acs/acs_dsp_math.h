/* SPDX-License-Identifier: Apache-2.0 */
/**
 * acs_dsp_math.h: arithmetic on 16-bit numbers in pairs, and the short requantisation. Internal, for C only.
 */
#ifndef ACS_DSP_MATH_H
#define ACS_DSP_MATH_H

#include <string.h>

#include "acs_dsp.h"

#if ACS_DSP_ASSEMBLY

/* Bytes 0 and 2 of four, or 1 and 3, sign-extended and added to two 16-bit numbers. */
static inline int32_t acs_even_bytes(int32_t offset, int32_t four)
{
    int32_t words;
    __asm__("sxtab16 %0, %1, %2" : "=r"(words) : "r"(offset), "r"(four));
    return words;
}

static inline int32_t acs_odd_bytes(int32_t offset, int32_t four)
{
    int32_t words;
    __asm__("sxtab16 %0, %1, %2, ror #8" : "=r"(words) : "r"(offset), "r"(four));
    return words;
}

/* Two products of 16-bit numbers, added to a sum, which wraps. */
static inline int32_t acs_multiply_both(int32_t a, int32_t b, int32_t sum)
{
    int32_t result;
    __asm__("smlad %0, %1, %2, %3" : "=r"(result) : "r"(a), "r"(b), "r"(sum));
    return result;
}

#else

static inline int32_t acs_multiply_both(int32_t a, int32_t b, int32_t sum)
{
    const int32_t low = (int16_t)a * (int16_t)b;
    const int32_t high = (a >> 16) * (b >> 16);
    return (int32_t)((uint32_t)sum + (uint32_t)low + (uint32_t)high);
}

static inline int32_t acs_even_bytes(int32_t offset, int32_t four)
{
    const uint32_t low = (uint32_t)((int8_t)four + (int16_t)offset) & 0xffffu;
    const uint32_t high = (uint32_t)((int8_t)(four >> 16) + (offset >> 16)) << 16;
    return (int32_t)(high | low);
}

static inline int32_t acs_odd_bytes(int32_t offset, int32_t four)
{
    return acs_even_bytes(offset, four >> 8);
}

#endif

/* Two 16-bit numbers, minus zero_point each. */
static inline int32_t acs_offset(int32_t zero_point)
{
    return (int32_t)(((uint32_t)-zero_point & 0xffffu) | (uint32_t)-zero_point << 16);
}

static inline int32_t acs_load_four(const int8_t *bytes)
{
    int32_t four;
    memcpy(&four, bytes, sizeof four);
    return four;
}

/* See "Finish" in acs_dsp.h; doubled: twice the sum. */
static inline int32_t acs_finish(int32_t doubled, int32_t multiplier, int32_t rounding, int32_t shift)
{
#if ACS_DSP_ASSEMBLY
    int32_t value;
    __asm__("smmulr %0, %1, %2" : "=r"(value) : "r"(doubled), "r"(multiplier));
    value = (value + (value >> 31) + rounding) >> shift;
    __asm__("ssat %0, #8, %0" : "+r"(value));
    return value;
#else
    const int32_t high = (int32_t)(((int64_t)doubled * multiplier + (1LL << 31)) >> 32);
    const int32_t value = (high + (high >> 31) + rounding) >> shift;
    return value < INT8_MIN ? INT8_MIN : (value > INT8_MAX ? INT8_MAX : value);
#endif
}

/* A tap of a pair of channels, for a pixel and a quad: sums are E, P, E, P, as in acs_dsp.h. */
static inline void acs_add_tap_paired(const int32_t *weights, int32_t word, int32_t sums[ACS_QUAD])
{
    sums[0] = acs_multiply_both(acs_even_bytes(0, weights[0]), word, sums[0]);
    sums[1] = acs_multiply_both(weights[0], word, sums[1]);
    sums[2] = acs_multiply_both(acs_even_bytes(0, weights[1]), word, sums[2]);
    sums[3] = acs_multiply_both(weights[1], word, sums[3]);
}

static inline void acs_add_tap_wide(const int32_t *weights, int32_t word, int32_t sums[ACS_QUAD])
{
    for (uint32_t c = 0; c < ACS_QUAD; c++) {
        sums[c] = acs_multiply_both(weights[c], word, sums[c]);
    }
}

/* A quad of a pixel. how: the part of the table `finish` behind the sums to start from. */
static inline void acs_write_quad(const int32_t sums[ACS_QUAD], const int32_t *how, bool wide, int8_t *output)
{
    for (uint32_t c = 0; c < ACS_QUAD; c++, how += 3) {
        const bool second = !wide && c % 2 == 1;
        const int32_t doubled =
            second ? (int32_t)((uint32_t)sums[c] - (uint32_t)sums[c - 1]) >> 7 : sums[c] * 2;
        output[c] = (int8_t)acs_finish(doubled, how[0], how[1], how[2]);
    }
}

#endif /* ACS_DSP_MATH_H */
