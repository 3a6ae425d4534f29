/* SPDX-License-Identifier: Apache-2.0 */
/**
 * acs_words.h: four neighbouring int8 numbers at once. Internal: addresses are multiples of four.
 */
#ifndef ACS_WORDS_H
#define ACS_WORDS_H

#include <stdint.h>
#include <string.h>

static inline uint32_t acs_word_at(const int8_t *x)
{
    uint32_t word;
#if defined(__GNUC__)
    x = __builtin_assume_aligned(x, 4);
#endif
    memcpy(&word, x, sizeof word);
    return word;
}

static inline void acs_put_word(int8_t *x, uint32_t word)
{
#if defined(__GNUC__)
    x = __builtin_assume_aligned(x, 4);
#endif
    memcpy(x, &word, sizeof word);
}

/* The greater of every two bytes, as int8. */
static inline uint32_t acs_greater_bytes(uint32_t a, uint32_t b)
{
#if defined(__ARM_FEATURE_DSP) && defined(__GNUC__)
    uint32_t greater;
    __asm__("ssub8 %0, %1, %2\n\tsel %0, %1, %2" : "=&r"(greater) : "r"(a), "r"(b) : "cc");
    return greater;
#else
    const uint32_t signs = 0x80808080u;
    const uint32_t x = a ^ signs, y = b ^ signs;              /* in the same order, as unsigned bytes */
    const uint32_t low = (x | signs) - (y & ~signs);          /* bit 7 of a byte: its lower bits are no less than y's */
    const uint32_t no_less = ((x & ~y) | (~(x ^ y) & low)) & signs;
    const uint32_t mask = (no_less >> 7) * 0xffu;
    return (a & mask) | (b & ~mask);
#endif
}

#endif /* ACS_WORDS_H */
