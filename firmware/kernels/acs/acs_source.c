/* SPDX-License-Identifier: Apache-2.0 */
/* acs_source.c: which pairs of channels are active, and their words. */
#include "acs_dsp.h"
#include "acs_dsp_math.h"

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

/* Channel by channel, each a half of its words. */
static void expand_halves(const acs_source_t *source, const acs_stretch_t *stretch, int32_t zero_point,
                          uint32_t pixels, const int8_t *input, int32_t *words, uint32_t step, uint32_t pair_step)
{
    for (uint32_t c = 0; c < source->channels; c++) {
        const uint32_t half = stretch->half + c;
        const int8_t *from = input + c;
        int16_t *to = (int16_t *)(words + half / 2 * pair_step) + half % 2;
        for (const int16_t *const end = to + 2 * pixels * step; to < end; to += 2 * step) {
            *to = (int16_t)(*from - zero_point);
            from += source->channels;
        }
    }
}

/* expand_fours: expands with words `step` apart. */
static void expand_row(const acs_source_t *source, const acs_stretch_t *stretch, int32_t zero_point, uint32_t pixels,
                       const int8_t *input, int32_t *words, uint32_t step, acs_expand_function_t *expand_fours,
                       uint32_t pair_step)
{
    if (acs_fours(source)) {
        const acs_fours_t fours = {source->channels, pixels, acs_offset(zero_point), 4 * pair_step};
        expand_fours(input, words, &fours);
    } else {
        expand_halves(source, stretch, zero_point, pixels, input, words, step, pair_step);
    }
}

void acs_expand_row(const acs_source_t *source, const acs_stretch_t *stretch, int32_t zero_point, uint32_t pixels,
                    const int8_t *input, int32_t *words, uint32_t rows, uint32_t pair_step)
{
    acs_expand_function_t *const expand_fours =
        rows == ACS_WINDOW_ROWS(1) ? acs_expand_fours_4 : acs_expand_fours_5;
    expand_row(source, stretch, zero_point, pixels, input, words, rows, expand_fours, pair_step);
}

void acs_expand_line(const acs_source_t *source, const acs_stretch_t *stretch, int32_t zero_point, uint32_t pixels,
                     const int8_t *input, int32_t *words, uint32_t pair_step)
{
    expand_row(source, stretch, zero_point, pixels, input, words, 1, acs_expand_fours_1, pair_step);
}

void acs_expand_pixel(const acs_source_t *source, const acs_stretch_t *stretch, int32_t zero_point,
                      const int8_t *input, int32_t *words, uint32_t pair_step)
{
    const int8_t *const end = input + source->channels;
    if (acs_fours(source)) {
        const int32_t offset = acs_offset(zero_point);
        for (; input < end; input += 4, words += 2 * pair_step) {
            const int32_t four = acs_load_four(input);
            words[0] = acs_even_bytes(offset, four);
            words[pair_step] = acs_odd_bytes(offset, four);
        }
        return;
    }
    for (uint32_t half = stretch->half; input < end; half++) {
        int16_t *const halves = (int16_t *)(words + half / 2 * pair_step);
        halves[half % 2] = (int16_t)(*input++ - zero_point);
    }
}

/* The pixel at a walk, which moves on. */
static inline const int8_t *walk_on(acs_walk_t *walk)
{
    const int8_t *const pixel = walk->pixel;
    walk->pixel += walk->step;
    if (--walk->left == 0) {
        walk->left = walk->width;
        walk->pixel += walk->to_next_row;
    }
    return pixel;
}

void acs_expand_tiles(const acs_source_t *source, const acs_stretch_t *stretch, int32_t zero_point, uint32_t pixels,
                      acs_walk_t walk, int32_t *words, uint32_t tile_words)
{
    const uint32_t channels = source->channels;
    const int32_t offset = acs_offset(zero_point);
    words += stretch->pair * ACS_TILE_PIXELS;
    for (uint32_t p = 0; p < pixels; p += ACS_TILE_PIXELS, words += tile_words) {
        const int8_t *from = walk_on(&walk);
        const int8_t *other = walk_on(&walk);
        const int8_t *const end = from + channels;
        int32_t *to = words;
        for (; from < end; from += 4, other += 4, to += 2 * ACS_TILE_PIXELS) {
            const int32_t first = acs_load_four(from);
            const int32_t second = acs_load_four(other);
            to[0] = acs_even_bytes(offset, first);
            to[1] = acs_even_bytes(offset, second);
            to[2] = acs_odd_bytes(offset, first);
            to[3] = acs_odd_bytes(offset, second);
        }
    }
}
