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

#endif /* ACS_WORDS_H */
