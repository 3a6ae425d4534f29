/* SPDX-License-Identifier: Apache-2.0 */
/*
 * acs_rv32_depthwise.c: 3x3 and 5x5 depthwise convolutions, some channels at a time, over a window of their rows;
 * and 1x1 ones, which is what a batch normalisation becomes, channel by channel where they lie.
 */
#include "acs_rv32.h"

#include <string.h>

/* Channels that go over the image together. */
#define TOGETHER 4u
#define MOST_TAPS 25u
/* A bias that leaves room for every sum of 25 products, four times. */
#define MOST_BIAS (1 << 28)

/* Constants of the channels that go together. */
typedef struct {
    int32_t finish[TOGETHER][4];
    int8_t weights[TOGETHER][MOST_TAPS];
} constants_t;

static bool takes(const acs_depthwise_t *layer)
{
    return acs_depthwise_is_square(layer) && layer->output.width >= ACS_RV32_PIXELS &&
           acs_depthwise_is_short(layer, MOST_BIAS);
}

static bool scales(const acs_depthwise_t *layer)
{
    return layer->kernel.height * layer->kernel.width == 1 && layer->stride.height * layer->stride.width == 1 &&
           layer->padding.height + layer->padding.width == 0 && layer->output.height == layer->input.height &&
           layer->output.width == layer->input.width && acs_depthwise_is_short(layer, MOST_BIAS);
}

static int32_t rounding_of(const acs_depthwise_t *layer, int32_t right)
{
    return 1 + (1 << right) + layer->output_zero_point * (2 << right);
}

/* Every channel of group g by itself: four times (value - zero point) * weight + bias. */
static void scale_group(const acs_depthwise_t *layer, uint32_t g, const int8_t *input, int8_t *output)
{
    const uint32_t each = layer->input.channels / layer->groups;
    const uint32_t bytes = acs_image_bytes(layer->input, each);
    for (uint32_t c = 0; c < each; c++) {
        const uint32_t channel = g * each + c;
        const int32_t weight = layer->weights[channel];
        const int32_t start = 4 * (layer->bias[channel] - layer->input_zero_point * weight);
        const int32_t multiplier = layer->multiplier[channel];
        const int32_t right = -layer->shift[channel];
        const int32_t rounding = rounding_of(layer, right);
        for (uint32_t i = c; i < bytes; i += each) {
            output[i] = (int8_t)acs_rv32_finish(start + 4 * weight * input[i], multiplier, rounding, right + 1);
        }
    }
}

/* The constants of channels from the first-th one of group g on. */
static void prepare(const acs_depthwise_t *layer, uint32_t g, uint32_t first, uint32_t channels,
                    constants_t *constants)
{
    const uint32_t each = layer->input.channels / layer->groups;
    const uint32_t taps = (uint32_t)layer->kernel.height * layer->kernel.width;
    const int8_t *const weights = layer->weights + g * taps * each + first;
    for (uint32_t i = 0; i < channels; i++) {
        const uint32_t c = g * each + first + i;
        const int32_t right = -layer->shift[c];
        constants->finish[i][0] = layer->bias[c];
        constants->finish[i][1] = layer->multiplier[c];
        constants->finish[i][2] = rounding_of(layer, right);
        constants->finish[i][3] = right + 1;
        for (uint32_t tap = 0; tap < taps; tap++) {
            constants->weights[i][tap] = weights[tap * each + i];
        }
    }
}

/* An output row of one channel: its tiles, and one that ends with the last pixel where it is left over. */
static void compute_row(const acs_depthwise_t *layer, acs_rv32_depth_t row, uint32_t slots)
{
    static acs_rv32_depth_function_t *const functions[2][2] = {
        {acs_rv32_depthwise_3_1, acs_rv32_depthwise_3_2},
        {acs_rv32_depthwise_5_1, acs_rv32_depthwise_5_2},
    };
    const uint32_t stride = layer->stride.width;
    acs_rv32_depth_function_t *const function = functions[layer->kernel.width == 5][stride - 1];
    const uint32_t width = layer->output.width;
    const uint32_t behind = width - ACS_RV32_PIXELS;
    row.tiles = width / ACS_RV32_PIXELS;
    function(&row);
    if (width % ACS_RV32_PIXELS != 0) {
        row.tiles = 1;
        row.numbers += behind * stride * slots;
        row.output += behind * row.output_step;
        function(&row);
    }
}

/* The channels of a window over the whole image. output: of the first pixel. */
static void compute_channels(const acs_depthwise_t *layer, const acs_rv32_window_t *window,
                             const constants_t *constants, int8_t *output)
{
    const uint32_t size = layer->kernel.height;
    const uint32_t stride = layer->stride.height;
    const uint32_t each = window->source.channels;
    const uint32_t served = window->slots / 2 / stride; /* output rows */
    for (uint32_t y = 0; y < layer->output.height; y += served) {
        const uint32_t left = layer->output.height - y;
        const uint32_t rows = left < served ? left : served;
        acs_rv32_move_to(window, y * stride, y > 0 ? size - stride : 0u, (rows - 1) * stride + size);
        for (uint32_t i = 0; i < rows * window->channels; i++) {
            const uint32_t r = i / window->channels;
            const uint32_t c = i % window->channels;
            const acs_rv32_depth_t row = {
                .numbers = window->numbers + c * acs_rv32_channel_step(window) + r * stride,
                .weights = constants->weights[c],
                .finish = constants->finish[c],
                .output = output + (y + r) * layer->output.width * each + c,
                .output_step = each,
            };
            compute_row(layer, row, window->slots);
        }
    }
}

static void clamp_group(const acs_depthwise_t *layer, uint32_t bytes, int8_t *group)
{
    if (layer->low > INT8_MIN || layer->high < INT8_MAX) {
        acs_clamp_s8(bytes, (int8_t)layer->low, (int8_t)layer->high, group, group);
    }
}

/* Group g with a window. */
static void convolve_group(const acs_depthwise_t *layer, uint32_t g, acs_rv32_window_t window, const int8_t *input,
                           int8_t *output)
{
    const uint32_t each = layer->input.channels / layer->groups;
    constants_t constants;
    for (uint32_t first = 0; first < each; first += TOGETHER) {
        window.channels = each - first < TOGETHER ? each - first : TOGETHER;
        window.taken = window.channels;
        window.source = (acs_source_t){input + first, NULL, 1, each};
        prepare(layer, g, first, window.channels, &constants);
        compute_channels(layer, &window, &constants, output + first);
    }
}

bool acs_depthwise_s8(const acs_depthwise_t *layer, const acs_list_t *active, const int8_t *input, int8_t *output,
                      acs_scratch_t scratch)
{
    const bool scaled = scales(layer);
    if (!scaled && !takes(layer)) {
        return acs_portable_depthwise(layer, active, input, output);
    }
    const uint32_t each = layer->input.channels / layer->groups;
    const acs_rv32_window_t window = {
        .numbers = scratch.data,
        .channels = scaled ? 0u : (each < TOGETHER ? each : TOGETHER),
        .columns = (layer->output.width - 1u) * layer->stride.width + layer->kernel.width,
        .slots = layer->kernel.height == 3 ? 4u : 8u,
        .input = layer->input,
        .padding = layer->padding,
        .zero_point = layer->input_zero_point,
    };
    if (scratch.bytes < acs_rv32_window_bytes(&window)) {
        return false;
    }
    if (!scaled) {
        memset(window.numbers, 0, acs_rv32_window_bytes(&window)); /* the padding stays so */
    }
    const uint32_t in_bytes = acs_image_bytes(layer->input, each);
    const uint32_t out_bytes = acs_image_bytes(layer->output, each);
    const uint16_t count = acs_list_count(active, layer->groups);
    for (uint16_t i = 0; i < count; i++) {
        const uint32_t g = acs_list_at(active, layer->groups, i);
        int8_t *const to = output + g * out_bytes;
        if (scaled) {
            scale_group(layer, g, input + g * in_bytes, to);
        } else {
            convolve_group(layer, g, window, input + g * in_bytes, to);
        }
        clamp_group(layer, out_bytes, to);
    }
    return true;
}
