/* SPDX-License-Identifier: Apache-2.0 */
/* acs_rv32_source.c: which channels are active, and their numbers. */
#include "acs_rv32.h"

/* Channels that are expanded together. */
#define TOGETHER 4u

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

void acs_rv32_expand(uint32_t channels, int32_t zero_point, uint32_t pixels, const int8_t *input, int16_t *numbers,
                     uint32_t pixel_step, uint32_t channel_step)
{
    uint32_t c = 0;
    for (; c + TOGETHER <= channels; c += TOGETHER, numbers += TOGETHER * channel_step) {
        const int8_t *from = input + c;
        int16_t *a = numbers;
        int16_t *b = a + channel_step;
        int16_t *second = b + channel_step;
        int16_t *third = second + channel_step;
        for (uint32_t p = pixels; p > 0; p--) {
            *a = (int16_t)(from[0] - zero_point);
            *b = (int16_t)(from[1] - zero_point);
            *second = (int16_t)(from[2] - zero_point);
            *third = (int16_t)(from[3] - zero_point);
            from += channels;
            a += pixel_step;
            b += pixel_step;
            second += pixel_step;
            third += pixel_step;
        }
    }
    for (; c < channels; c++, numbers += channel_step) {
        const int8_t *from = input + c;
        int16_t *to = numbers;
        for (uint32_t p = pixels; p > 0; p--, from += channels, to += pixel_step) {
            *to = (int16_t)(*from - zero_point);
        }
    }
}
