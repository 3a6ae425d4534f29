/* SPDX-License-Identifier: Apache-2.0 */
/* acs_layout.c: bytes move: from group-major to NHWC and back, side by side, into a larger image. */
#include "acs_layers.h"

#include <string.h>

/* memcpy of a constant size becomes plain loads and stores; a call for 8 bytes would cost more. */
void acs_copy_s8(int8_t *to, const int8_t *from, uint32_t count)
{
    for (; count >= 16; count -= 16, to += 16, from += 16) {
        memcpy(to, from, 16);
    }
    for (; count >= 4; count -= 4, to += 4, from += 4) {
        memcpy(to, from, 4);
    }
    for (; count > 0; count--) {
        *to++ = *from++;
    }
}

/* As below; channels: a constant where this is inlined. */
static inline void copy_few(uint32_t pixels, uint32_t channels, const int8_t *from, uint32_t from_stride, int8_t *to,
                            uint32_t to_stride)
{
    for (; pixels >= 4; pixels -= 4) {
        for (uint32_t p = 0; p < 4; p++, from += from_stride, to += to_stride) {
            memcpy(to, from, channels);
        }
    }
    for (; pixels > 0; pixels--, from += from_stride, to += to_stride) {
        memcpy(to, from, channels);
    }
}

void acs_copy_channels_s8(uint32_t pixels, uint32_t channels, const int8_t *from, uint32_t from_stride,
                          int8_t *to, uint32_t to_stride)
{
    switch (channels) { /* a call for so few bytes would cost several times as much */
    case 1:
        copy_few(pixels, 1, from, from_stride, to, to_stride);
        return;
    case 2:
        copy_few(pixels, 2, from, from_stride, to, to_stride);
        return;
    case 4:
        copy_few(pixels, 4, from, from_stride, to, to_stride);
        return;
    default:
        break;
    }
    for (uint32_t p = 0; p < pixels; p++, from += from_stride, to += to_stride) {
        acs_copy_s8(to, from, channels);
    }
}

void acs_ungroup_s8(acs_shape_t shape, uint16_t groups, const acs_list_t *active, int8_t zero_point,
                    const int8_t *input, int8_t *output)
{
    const uint32_t pixels = (uint32_t)shape.height * shape.width;
    const uint32_t each = shape.channels / groups;
    const uint16_t count = acs_list_count(active, groups);
    if (count < groups) {
        memset(output, zero_point, pixels * shape.channels);
    }
    for (uint16_t i = 0; i < count; i++) {
        const uint16_t g = acs_list_at(active, groups, i);
        acs_copy_channels_s8(pixels, each, input + g * pixels * each, each, output + g * each,
                             shape.channels);
    }
}

void acs_group_s8(acs_shape_t shape, uint16_t groups, const acs_list_t *active, const int8_t *input,
                  int8_t *output)
{
    const uint32_t pixels = (uint32_t)shape.height * shape.width;
    const uint32_t each = shape.channels / groups;
    const uint16_t count = acs_list_count(active, groups);
    for (uint16_t i = 0; i < count; i++) {
        const uint16_t g = acs_list_at(active, groups, i);
        acs_copy_channels_s8(pixels, each, input + g * each, shape.channels, output + g * pixels * each,
                             each);
    }
}

void acs_concat_s8(acs_shape_t shape, uint16_t count, const acs_part_t *parts, int8_t *output)
{
    const uint32_t pixels = (uint32_t)shape.height * shape.width;
    for (uint16_t i = 0; i < count; output += parts[i].channels, i++) {
        if (parts[i].data != output) {
            acs_copy_channels_s8(pixels, parts[i].channels, parts[i].data, parts[i].channels, output,
                                 shape.channels);
        }
    }
}

void acs_join_s8(acs_shape_t shape, uint16_t groups, const acs_list_t *active, const acs_part_t *parts,
                 int8_t *output)
{
    const uint32_t each = shape.channels / groups;
    const uint32_t bytes = acs_image_bytes(shape, each);
    const uint16_t count = acs_list_count(active, groups);
    uint32_t first = 0; /* the first group of the part */
    for (uint16_t i = 0; i < count; i++) {
        const uint32_t g = acs_list_at(active, groups, i);
        while ((g - first) * each >= parts->channels) {
            first += parts->channels / each;
            parts++;
        }
        const int8_t *from = parts->data + (g - first) * bytes;
        if (from != output + g * bytes) {
            memcpy(output + g * bytes, from, bytes);
        }
    }
}

void acs_pad_s8(acs_shape_t input_shape, acs_shape_t output_shape, acs_pair_t corner, int8_t zero_point,
                const int8_t *input, int8_t *output)
{
    const uint32_t row = (uint32_t)input_shape.width * input_shape.channels;
    const uint32_t stride = (uint32_t)output_shape.width * output_shape.channels;
    memset(output, zero_point, output_shape.height * stride);
    output += corner.height * stride + (uint32_t)corner.width * output_shape.channels;
    for (uint32_t y = 0; y < input_shape.height; y++, input += row, output += stride) {
        memcpy(output, input, row);
    }
}

void acs_shuffle_s8(acs_shape_t shape, const uint16_t *order, const int8_t *input, int8_t *output)
{
    const uint32_t pixels = (uint32_t)shape.height * shape.width;
    for (uint32_t p = 0; p < pixels; p++, input += shape.channels) {
        for (uint16_t c = 0; c < shape.channels; c++) {
            *output++ = input[order[c]];
        }
    }
}
