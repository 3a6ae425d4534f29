/* SPDX-License-Identifier: Apache-2.0 */
/* acs_rows_twin.c: acs_rows.S in C, number for number, for every target without its instructions. */
#include "acs_dsp_math.h"

#if !ACS_DSP_ASSEMBLY

static void expand_fours(const int8_t *input, int32_t *words, const acs_fours_t *fours, uint32_t step)
{
    const uint32_t pair_step = fours->pair_step / 4;
    for (uint32_t c = 0; c < fours->channels; c += 4, words += 2 * pair_step) {
        const int8_t *from = input + c;
        int32_t *even = words;
        for (uint32_t p = 0; p < fours->pixels; p++, even += step, from += fours->channels) {
            const int32_t four = acs_load_four(from);
            even[0] = acs_even_bytes(fours->offset, four);
            even[pair_step] = acs_odd_bytes(fours->offset, four);
        }
    }
}

void acs_expand_fours_1(const int8_t *input, int32_t *words, const acs_fours_t *fours)
{
    expand_fours(input, words, fours, 1);
}

void acs_expand_fours_4(const int8_t *input, int32_t *words, const acs_fours_t *fours)
{
    expand_fours(input, words, fours, 4);
}

void acs_expand_fours_5(const int8_t *input, int32_t *words, const acs_fours_t *fours)
{
    expand_fours(input, words, fours, 5);
}

void acs_roll(int32_t *words, uint32_t columns)
{
    for (; columns > 0; columns--, words += ACS_WINDOW_ROWS(1)) {
        words[0] = words[2];
        words[1] = words[3];
    }
}

void acs_clear_words(int32_t *words, uint32_t count)
{
    memset(words, 0, sizeof *words * count);
}

int32_t *acs_copy_runs(int32_t *to, const int32_t *from, const acs_run_t *runs, const acs_run_t *end)
{
    for (; runs < end; runs++) {
        for (uint32_t i = runs->begin / 4; i < runs->end / 4; i++) {
            *to++ = from[i];
        }
    }
    return to;
}

#endif /* !ACS_DSP_ASSEMBLY */
