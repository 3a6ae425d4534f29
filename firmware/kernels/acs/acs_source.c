/* SPDX-License-Identifier: Apache-2.0 */
/* acs_source.c: which pairs of channels are active, and their words. */
#include "acs_dsp.h"

#include <string.h>

acs_stretch_t acs_next_stretch(const acs_source_t *source, uint16_t i, const acs_stretch_t *last)
{
    const uint32_t group = acs_list_at(source->active, source->groups, i);
    const uint32_t channel = group * source->channels;
    acs_stretch_t stretch = {.group = group, .pair = 0, .half = channel & 1u};
    if (i > 0) {
        const uint32_t behind = (last->group + 1) * source->channels; /* the channel behind the last one */
        stretch.pair = last->pair + (last->half + source->channels + 1) / 2;
        if (channel / 2 < (behind + 1) / 2) {
            stretch.pair--; /* it shares the last pair */
        }
    }
    return stretch;
}

uint32_t acs_find_runs(const acs_source_t *source, uint32_t pair_bytes, acs_run_t *runs, uint32_t *pairs)
{
    const uint16_t count = acs_list_count(source->active, source->groups);
    uint32_t found = 0;
    *pairs = 0;
    for (uint16_t i = 0; i < count; i++) {
        const uint32_t channel = acs_list_at(source->active, source->groups, i) * source->channels;
        const uint32_t begin = channel / 2 * pair_bytes;
        const uint32_t end = (channel + source->channels + 1) / 2 * pair_bytes;
        if (found > 0 && begin <= runs[found - 1].end) {
            runs[found - 1].end = end;
        } else {
            runs[found++] = (acs_run_t){begin, end};
        }
    }
    if (found == 0) {
        runs[found++] = (acs_run_t){0, acs_fours(source) ? 2 * pair_bytes : pair_bytes};
    }
    for (uint32_t r = 0; r < found; r++) {
        *pairs += (runs[r].end - runs[r].begin) / pair_bytes;
    }
    return found;
}

#if ACS_DSP_ASSEMBLY

/* Bytes 0 and 2 of four, or 1 and 3, sign-extended and added to two 16-bit numbers. */
static inline int32_t even_bytes(int32_t offset, int32_t four)
{
    int32_t words;
    __asm__("sxtab16 %0, %1, %2" : "=r"(words) : "r"(offset), "r"(four));
    return words;
}

static inline int32_t odd_bytes(int32_t offset, int32_t four)
{
    int32_t words;
    __asm__("sxtab16 %0, %1, %2, ror #8" : "=r"(words) : "r"(offset), "r"(four));
    return words;
}

#else

static inline int32_t even_bytes(int32_t offset, int32_t four)
{
    const uint32_t low = (uint32_t)((int8_t)four + (int16_t)offset) & 0xffffu;
    const uint32_t high = (uint32_t)((int8_t)(four >> 16) + (offset >> 16)) << 16;
    return (int32_t)(high | low);
}

static inline int32_t odd_bytes(int32_t offset, int32_t four)
{
    return even_bytes(offset, four >> 8);
}

#endif

/* Two 16-bit numbers, minus zero_point each. */
static inline int32_t offset_of(int32_t zero_point)
{
    return (int32_t)(((uint32_t)-zero_point & 0xffffu) | (uint32_t)-zero_point << 16);
}

static inline int32_t load_four(const int8_t *bytes)
{
    int32_t four;
    memcpy(&four, bytes, sizeof four);
    return four;
}

void acs_expand_row(const acs_source_t *source, const acs_stretch_t *stretch, int32_t zero_point, uint32_t pixels,
                    const int8_t *input, int32_t *words, uint32_t pair_step)
{
    const uint32_t channels = source->channels;
    if (!acs_fours(source)) {
        for (uint32_t p = 0; p < pixels; p++, input += channels, words += ACS_WINDOW_ROWS) {
            acs_expand_pixel(source, stretch, zero_point, input, words, pair_step);
        }
        return;
    }
    const int32_t offset = offset_of(zero_point);
    for (uint32_t c = 0; c < channels; c += 4, words += 2 * pair_step) {
        const int8_t *from = input + c;
        int32_t *even = words;
        int32_t *odd = words + pair_step;
        const int32_t *const end = words + pixels * ACS_WINDOW_ROWS;
        for (; even < end; even += ACS_WINDOW_ROWS, odd += ACS_WINDOW_ROWS, from += channels) {
            const int32_t four = load_four(from);
            *even = even_bytes(offset, four);
            *odd = odd_bytes(offset, four);
        }
    }
}

void acs_expand_pixel(const acs_source_t *source, const acs_stretch_t *stretch, int32_t zero_point,
                      const int8_t *input, int32_t *words, uint32_t pair_step)
{
    const int8_t *const end = input + source->channels;
    if (acs_fours(source)) {
        const int32_t offset = offset_of(zero_point);
        for (; input < end; input += 4, words += 2 * pair_step) {
            const int32_t four = load_four(input);
            words[0] = even_bytes(offset, four);
            words[pair_step] = odd_bytes(offset, four);
        }
        return;
    }
    for (uint32_t half = stretch->half; input < end; half++) {
        int16_t *const halves = (int16_t *)(words + half / 2 * pair_step);
        halves[half % 2] = (int16_t)(*input++ - zero_point);
    }
}

void acs_expand_tiles(const acs_source_t *source, const acs_stretch_t *stretch, int32_t zero_point, uint32_t pixels,
                      const int8_t *input, int32_t *words, uint32_t tile_words)
{
    const uint32_t channels = source->channels;
    const int32_t offset = offset_of(zero_point);
    words += stretch->pair * ACS_TILE_PIXELS;
    for (uint32_t p = 0; p < pixels; p += ACS_TILE_PIXELS, input += ACS_TILE_PIXELS * channels, words += tile_words) {
        const int8_t *const end = input + channels;
        int32_t *to = words;
        for (const int8_t *from = input; from < end; from += 4, to += 2 * ACS_TILE_PIXELS) {
            const int32_t first = load_four(from);
            const int32_t second = load_four(from + channels);
            to[0] = even_bytes(offset, first);
            to[1] = even_bytes(offset, second);
            to[2] = odd_bytes(offset, first);
            to[3] = odd_bytes(offset, second);
        }
    }
}
