/* SPDX-License-Identifier: Apache-2.0 */
/* acs_rv32_source.c: which channels are active, their numbers, and windows of these. */
#include "acs_rv32.h"

#include <string.h>

/* Channels that are expanded together. */
#define TOGETHER 4u

int32_t *acs_copy_runs(int32_t *to, const int32_t *from, const acs_run_t *runs, const acs_run_t *end)
{
    for (; runs < end; runs++) {
        const uint32_t bytes = runs->end - runs->begin;
        memcpy(to, from + runs->begin / 4, bytes);
        to += bytes / 4;
    }
    return to;
}

uint32_t acs_rv32_channels(const acs_source_t *source)
{
    const uint32_t count = acs_list_count(source->active, source->groups);
    if (count == 0) { /* Winograd's loop takes channels in fours */
        return source->channels % TOGETHER == 0 ? TOGETHER : 1u;
    }
    return count * source->channels;
}

uint32_t acs_rv32_find_runs(const acs_source_t *source, uint32_t channel_bytes, acs_run_t *runs)
{
    const uint16_t count = acs_list_count(source->active, source->groups);
    const uint32_t group_bytes = source->channels * channel_bytes;
    uint32_t found = 0;
    for (uint16_t i = 0; i < count; i++) {
        const uint32_t begin = acs_list_at(source->active, source->groups, i) * group_bytes;
        if (found > 0 && begin == runs[found - 1].end) {
            runs[found - 1].end += group_bytes;
        } else {
            runs[found++] = (acs_run_t){begin, begin + group_bytes};
        }
    }
    if (found == 0) {
        runs[found++] = (acs_run_t){0, acs_rv32_channels(source) * channel_bytes};
    }
    return found;
}

void acs_rv32_expand(uint32_t channels, int32_t zero_point, uint32_t pixels, const int8_t *input,
                     uint32_t input_step, int16_t *numbers, uint32_t pixel_step, uint32_t channel_step)
{
    uint32_t c = 0;
    for (; pixels == 1 && c < channels; c++, numbers += channel_step) {
        *numbers = (int16_t)(input[c] - zero_point);
    }
    for (; c + TOGETHER <= channels; c += TOGETHER, numbers += TOGETHER * channel_step) {
        const int8_t *from = input + c;
        int16_t *first = numbers;
        int16_t *second = first + channel_step;
        int16_t *third = second + channel_step;
        int16_t *fourth = third + channel_step;
        for (uint32_t p = pixels; p > 0; p--) {
            *first = (int16_t)(from[0] - zero_point);
            *second = (int16_t)(from[1] - zero_point);
            *third = (int16_t)(from[2] - zero_point);
            *fourth = (int16_t)(from[3] - zero_point);
            from += input_step;
            first += pixel_step;
            second += pixel_step;
            third += pixel_step;
            fourth += pixel_step;
        }
    }
    for (; c < channels; c++, numbers += channel_step) {
        const int8_t *from = input + c;
        int16_t *to = numbers;
        for (uint32_t p = pixels; p > 0; p--, from += input_step, to += pixel_step) {
            *to = (int16_t)(*from - zero_point);
        }
    }
}

/* Image row `at` (below 0 and from the height on: padding) into a slot. */
static void expand_row(const acs_rv32_window_t *window, int32_t at, uint32_t slot)
{
    const acs_source_t *const source = &window->source;
    const uint32_t step = acs_rv32_channel_step(window);
    if (at < 0 || at >= window->input.height) {
        for (uint32_t i = slot; i < window->channels * step; i += window->slots) {
            window->numbers[i] = 0;
        }
        return;
    }
    const uint32_t left = window->padding.width;
    const uint32_t width = window->input.width;
    const uint32_t pixels = window->columns - left < width ? window->columns - left : width;
    const uint32_t image_bytes = acs_image_bytes(window->input, source->channels);
    const int8_t *const row = source->images + (uint32_t)at * width * source->channels;
    const uint16_t count = acs_list_count(source->active, source->groups);
    int16_t *to = window->numbers + left * window->slots + slot;
    for (uint16_t i = 0; i < count; i++, to += window->taken * step) {
        const uint32_t group = acs_list_at(source->active, source->groups, i);
        acs_rv32_expand(window->taken, window->zero_point, pixels, row + group * image_bytes, source->channels, to,
                        window->slots, step);
    }
}

/* The lower half of every column becomes the upper one; slots is a constant where this is inlined. */
static inline void roll_columns(const acs_rv32_window_t *window, uint32_t slots)
{
    const size_t half_bytes = slots / 2 * sizeof *window->numbers;
    int16_t *column = window->numbers;
    int16_t *const end = column + window->channels * window->columns * slots;
    for (; column < end; column += slots) {
        memcpy(__builtin_assume_aligned(column, 4), __builtin_assume_aligned(column + slots / 2, 4), half_bytes);
    }
}

static void roll(const acs_rv32_window_t *window)
{
    if (window->slots == 4) {
        roll_columns(window, 4);
    } else {
        roll_columns(window, 8);
    }
}

void acs_rv32_move_to(const acs_rv32_window_t *window, uint32_t top, uint32_t kept, uint32_t needed)
{
    if (kept > 0) {
        roll(window);
    }
    for (uint32_t slot = kept; slot < needed; slot++) {
        expand_row(window, (int32_t)(top + slot) - window->padding.height, slot);
    }
}

/* acsgen gives plain constants to joins whose closed groups add something: none comes here. */
bool acs_complete_finish(acs_conv_t *layer, const acs_list_t *active, acs_scratch_t *scratch)
{
    (void)active;
    (void)scratch;
    return layer->closed == NULL && layer->closed_sums == NULL;
}
