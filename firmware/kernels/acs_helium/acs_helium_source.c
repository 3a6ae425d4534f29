/* SPDX-License-Identifier: Apache-2.0 */
/* acs_helium_source.c: which channels are read, and how they are laid out. */
#include "acs_helium.h"

#include <string.h>

uint32_t acs_helium_unit(uint32_t channels)
{
    return channels % 16 == 0 ? 16u : (channels % 8 == 0 ? 8u : 4u);
}

void acs_helium_find_units(const acs_helium_source_t *source, acs_helium_units_t *units)
{
    const uint16_t active = acs_list_count(source->active, source->groups);
    uint32_t next = 0; /* behind the last one that is found */
    units->count = 0;
    for (uint16_t i = 0; i < active; i++) {
        const uint32_t channel = (uint32_t)acs_list_at(source->active, source->groups, i) * source->channels;
        const uint32_t end = (channel + source->channels - 1) / units->channels;
        uint32_t unit = channel / units->channels;
        for (unit = unit < next ? next : unit; unit <= end; unit++) {
            units->offsets[units->count++] = unit * units->bytes;
        }
        next = end + 1;
    }
    /* Where all inputs are the zero point, any weights do: what they add is taken away as well. */
    while (units->count == 0 || units->count * units->channels % ACS_HELIUM_VECTOR != 0) {
        units->offsets[units->count++] = 0;
    }
}

void acs_helium_start(const acs_conv_t *layer, const acs_helium_units_t *units, uint32_t sums, int32_t *starts)
{
    const int32_t *const contributions = layer->finish + 3 * sums;
    memcpy(starts, layer->finish, sums * sizeof *starts);
    for (uint32_t i = 0; i < units->count; i++) {
        const int32_t *const from = contributions + units->offsets[i] / units->bytes * sums;
        for (uint32_t s = 0; s < sums; s++) {
            starts[s] = (int32_t)((uint32_t)starts[s] + (uint32_t)from[s]);
        }
    }
}

static inline void copy(uint32_t pixels, uint32_t channels, const int8_t *from, uint32_t from_step, int8_t *to,
                        uint32_t to_step)
{
    if (channels == from_step && channels == to_step) {
        acs_helium_copy(pixels * channels, from, to);
    } else {
        acs_helium_copy_channels(pixels, channels, from, from_step, to, to_step);
    }
}

void acs_helium_lay_out(const acs_helium_source_t *source, uint32_t unit, acs_shape_t shape, uint32_t first,
                        uint32_t stride, uint32_t pixels, int8_t *to, uint32_t step, uint32_t block_step)
{
    const uint32_t from_step = stride * source->channels;
    const int8_t *const images = source->images + first * source->channels;
    if (source->groups == 1 && source->channels <= ACS_HELIUM_VECTOR) {
        copy(pixels, source->channels, images, from_step, to, step);
        return;
    }
    const uint32_t image_bytes = (uint32_t)shape.height * shape.width * source->channels;
    const uint16_t active = acs_list_count(source->active, source->groups);
    uint32_t last = 0;  /* unit */
    uint32_t place = 0; /* of that unit, in channels */
    for (uint16_t i = 0; i < active; i++) {
        const uint32_t group = acs_list_at(source->active, source->groups, i);
        const int8_t *from = images + group * image_bytes;
        uint32_t channel = group * source->channels;
        if (i == 0) {
            last = channel / unit;
        } else if (channel / unit != last) {
            last = channel / unit;
            place += unit;
        }
        for (const uint32_t end = channel + source->channels; channel < end;) {
            const uint32_t at = place + channel % unit;
            const uint32_t room = ACS_HELIUM_VECTOR - at % ACS_HELIUM_VECTOR;
            const uint32_t count = end - channel < room ? end - channel : room;
            copy(pixels, count, from, from_step, to + at / ACS_HELIUM_VECTOR * block_step + at % ACS_HELIUM_VECTOR,
                 step);
            from += count;
            channel += count;
            /* On to the unit of the next channel, or of the last one. */
            const uint32_t now = (channel < end ? channel : end - 1) / unit;
            place += (now - last) * unit;
            last = now;
        }
    }
}
