/* SPDX-License-Identifier: Apache-2.0 */
/* acs_join.c: convolutions of which only some input groups are active: bias, image and weights of those. */
#include "acs_layers.h"

#include <string.h>

/* Adds what group g adds to every sum: the constants that it holds, each times its weights. */
static void add_products(const acs_conv_t *layer, uint32_t g, int32_t *bias)
{
    const uint32_t each = layer->input.channels / layer->input_groups;
    const uint32_t taps = (uint32_t)layer->kernel.height * layer->kernel.width;
    const int8_t *const closed = layer->closed + g * each;
    const int8_t *weights = layer->weights + g * each;
    for (uint32_t o = 0; o < layer->output.channels; o++) {
        int32_t sum = 0;
        for (uint32_t tap = 0; tap < taps; tap++, weights += layer->input.channels) {
            for (uint32_t c = 0; c < each; c++) {
                sum += (closed[c] - layer->input_zero_point) * weights[c];
            }
        }
        bias[o] += sum;
    }
}

static void add_sums(const acs_conv_t *layer, uint32_t g, int32_t *bias)
{
    const int32_t *sums = layer->closed_sums + g * layer->output.channels;
    for (uint32_t o = 0; o < layer->output.channels; o++) {
        bias[o] += sums[o];
    }
}

/* The layer's own bias, and what the input groups add that are not active. */
static void complete_bias(const acs_conv_t *layer, const acs_list_t *active, int32_t *bias)
{
    const uint16_t count = acs_list_count(active, layer->input_groups);
    memcpy(bias, layer->bias, layer->output.channels * sizeof *bias);
    uint16_t i = 0;
    for (uint16_t g = 0; g < layer->input_groups; g++) {
        if (i < count && acs_list_at(active, layer->input_groups, i) == g) {
            i++;
        } else if (layer->closed_sums != NULL) {
            add_sums(layer, g, bias);
        } else {
            add_products(layer, g, bias);
        }
    }
}

/* The value of a channel to which no input contributes. */
static int8_t bias_value(const acs_conv_t *layer, uint32_t channel)
{
    const acs_scale_t scale = {layer->multiplier[channel], layer->shift[channel]};
    int32_t value = acs_rescale(layer->bias[channel], scale) + layer->output_zero_point;
    value = value < layer->low ? layer->low : value;
    return (int8_t)(value > layer->high ? layer->high : value);
}

/* With no active input every pixel is the requantised bias, or has it added. */
static bool fill_with_bias(const acs_conv_t *layer, const acs_list_t *outputs, int8_t *output,
                           acs_scratch_t scratch)
{
    const uint32_t each = layer->output.channels / layer->output_groups;
    const uint32_t bytes = acs_image_bytes(layer->output, each);
    const uint16_t count = acs_list_count(outputs, layer->output_groups);
    const bool adds = layer->residual != NULL;
    const uint32_t filled = adds ? layer->output.width * each : bytes;
    if (adds && scratch.bytes < filled) {
        return false;
    }
    for (uint16_t i = 0; i < count; i++) {
        const uint32_t j = acs_list_at(outputs, layer->output_groups, i);
        int8_t *const pixels = adds ? scratch.data : output + j * bytes;
        for (uint32_t c = 0; c < each; c++) {
            pixels[c] = bias_value(layer, j * each + c);
        }
        for (uint32_t at = each; at < filled; at += each) {
            acs_copy_s8(pixels + at, pixels, each);
        }
        for (uint32_t at = 0; adds && at < bytes; at += filled) {
            acs_add_residual_s8(layer->residual, filled, pixels, output + at);
        }
    }
    return true;
}

/* The weights of the active input groups side by side, for the output groups that are computed. */
static void pack_weights(const acs_conv_t *layer, const acs_list_t *active, const acs_list_t *outputs,
                         int8_t *packed)
{
    const uint16_t count = acs_list_count(active, layer->input_groups);
    const uint32_t each = layer->input.channels / layer->input_groups;
    const uint32_t rows = (uint32_t)layer->output.channels / layer->output_groups * layer->kernel.height *
                          layer->kernel.width;
    const uint32_t channels = layer->input.channels;
    const uint16_t output_count = acs_list_count(outputs, layer->output_groups);
    for (uint16_t i = 0; i < output_count; i++) {
        const uint32_t first = acs_list_at(outputs, layer->output_groups, i) * rows;
        for (uint16_t k = 0; k < count; k++) {
            const uint32_t g = acs_list_at(active, layer->input_groups, k);
            acs_copy_channels_s8(rows, each, layer->weights + first * channels + g * each, channels,
                                 packed + (first * count + k) * each, count * each);
        }
    }
}

/* Rows `first` to `first + rows` of the input as NHWC, behind the layer before if there is one: its active groups side
 * by side, or all in their places. */
static void pack_rows(const acs_conv_t *layer, const acs_list_t *active, bool side_by_side, uint32_t first,
                      uint32_t rows, const int8_t *input, int8_t *image)
{
    const uint16_t groups = layer->input_groups;
    const uint16_t count = acs_list_count(active, groups);
    const uint32_t each = layer->input.channels / groups;
    const uint32_t pixels = rows * layer->input.width;
    const uint32_t width = each * (side_by_side ? count : groups);
    if (!side_by_side && count < groups) {
        memset(image, layer->input_zero_point, pixels * width);
    }
    for (uint16_t i = 0; i < count; i++) {
        const uint32_t g = acs_list_at(active, groups, i);
        const int8_t *const from = input + g * acs_image_bytes(layer->input, each) + first * layer->input.width * each;
        int8_t *const to = image + (side_by_side ? i : g) * each;
        if (layer->before == NULL) {
            acs_copy_channels_s8(pixels, each, from, each, to, width);
        } else {
            acs_depthwise_t scaling = *layer->before;
            scaling.output.height = (uint16_t)rows;
            acs_scale_s8(&scaling, g, from, each, to, width);
        }
    }
}

void *acs_take(acs_scratch_t *scratch, uint32_t bytes)
{
    const uint32_t aligned = (bytes + 7u) & ~7u;
    if (scratch->bytes < bytes) {
        return NULL;
    }
    void *const taken = scratch->data;
    scratch->data = (int8_t *)scratch->data + aligned;
    scratch->bytes -= aligned < scratch->bytes ? aligned : scratch->bytes;
    return taken;
}

bool acs_complete_bias(acs_conv_t *layer, const acs_list_t *active, acs_scratch_t *scratch)
{
    if (layer->closed == NULL && layer->closed_sums == NULL) {
        return true;
    }
    int32_t *const bias = acs_take(scratch, layer->output.channels * sizeof *bias);
    if (bias == NULL) {
        return false;
    }
    complete_bias(layer, active, bias);
    layer->bias = bias;
    return true;
}

static uint32_t rows_at_once(const acs_conv_t *layer)
{
    return layer->pack_rows > 0 ? layer->pack_rows : layer->output.height;
}

/* Rows of the input that so many rows of the output look at, less those that lie outside. */
static uint32_t rows_of_windows(const acs_conv_t *layer, uint32_t rows)
{
    const uint32_t reach = acs_reach(layer, rows);
    return reach < layer->input.height ? reach : layer->input.height;
}

/*
 * The convolution of what is packed, a band of rows after another. Rows that the next band reads as well are moved
 * to the front of the image.
 *
 * packed: the layer as it is once its input is packed
 */
static bool convolve_packed(const acs_conv_t *layer, const acs_conv_t *packed, const acs_list_t *active,
                           const acs_list_t *outputs, const int8_t *input, int8_t *output, int8_t *image,
                           acs_scratch_t scratch)
{
    const bool side_by_side = packed->input.channels < layer->input.channels;
    const uint32_t row_bytes = (uint32_t)packed->input.width * packed->input.channels;
    const uint32_t each = layer->output.channels / layer->output_groups;
    uint32_t rows = rows_at_once(layer);
    uint32_t from = 0, upto = 0; /* the input's rows that are packed */
    for (uint32_t row = 0; row < layer->output.height; row += rows) {
        acs_conv_t band = *packed;
        rows = rows < layer->output.height - row ? rows : layer->output.height - row;
        const uint32_t first = acs_cut_band(packed, row, rows, &band);
        const uint32_t kept = upto > first ? upto - first : 0u;
        if (kept > 0) {
            memmove(image, image + (first - from) * row_bytes, kept * row_bytes);
        }
        from = first;
        upto = first + band.input.height;
        pack_rows(layer, active, side_by_side, first + kept, band.input.height - kept, input,
                  image + kept * row_bytes);
        if (!acs_conv_s8(&band, outputs, image, output + row * layer->output.width * each, scratch)) {
            return false;
        }
    }
    return true;
}

bool acs_pack_and_conv_s8(const acs_conv_t *layer, const acs_list_t *active, const acs_list_t *outputs,
                          const int8_t *input, int8_t *output, acs_scratch_t scratch)
{
    const uint16_t groups = layer->input_groups;
    const uint16_t count = acs_list_count(active, groups);
    const bool packing = count <= layer->pack_limit && count < groups;
    acs_conv_t packed = *layer;

    if (acs_list_count(outputs, layer->output_groups) == 0) {
        return true;
    }
    if (!acs_complete_bias(&packed, active, &scratch)) {
        return false;
    }
    if (count == 0) {
        return fill_with_bias(&packed, outputs, output, scratch);
    }
    int8_t *image = NULL;
    if (groups > 1 || layer->before != NULL) {
        packed.input.channels = (uint16_t)(layer->input.channels / groups * (packing ? count : groups));
        packed.input_groups = 1;
        const uint32_t rows = rows_of_windows(layer, rows_at_once(layer));
        image = acs_take(&scratch, rows * layer->input.width * packed.input.channels);
        if (image == NULL) {
            return false;
        }
    }
    if (packing) {
        int8_t *const weights = acs_take(&scratch, (uint32_t)layer->output.channels * layer->kernel.height *
                                                   layer->kernel.width * packed.input.channels);
        if (weights == NULL) {
            return false;
        }
        pack_weights(layer, active, outputs, weights);
        packed.weights = weights;
    }
    return image == NULL ? acs_conv_s8(&packed, outputs, input, output, scratch)
                         : convolve_packed(layer, &packed, active, outputs, input, output, image, scratch);
}
