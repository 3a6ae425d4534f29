/* SPDX-License-Identifier: Apache-2.0 */
/* acs_cmsis_conv.c: convolutions over active groups, one CMSIS-NN call each. */
#include "acs_cmsis.h"

#include <string.h>

/* CMSIS-NN's 1x1 version sees padding at the top and left only. Where there is more at the bottom or
 * right it is told of a dilation, which means nothing to a single tap: then it takes the general one. */
static acs_pair_t dilation_of(const acs_conv_t *layer)
{
    const bool single_tap = layer->kernel.height == 1 && layer->kernel.width == 1;
    if (single_tap && ((layer->output.height - 1) * layer->stride.height >= layer->input.height ||
                       (layer->output.width - 1) * layer->stride.width >= layer->input.width)) {
        return (acs_pair_t){2, 2};
    }
    return layer->dilation;
}

bool acs_cmsis_convolve(const acs_conv_t *layer, uint32_t input_channels, const acs_filters_t *filters,
                     const int8_t *input, int8_t *output, acs_scratch_t scratch)
{
    const cmsis_nn_conv_params params = {
        .input_offset = -layer->input_zero_point,
        .output_offset = layer->output_zero_point,
        .stride = acs_tile(layer->stride),
        .padding = acs_tile(layer->padding),
        .dilation = acs_tile(dilation_of(layer)),
        .activation = {.min = layer->low, .max = layer->high},
    };
    /* CMSIS-NN only reads them, but its struct is not const. */
    const cmsis_nn_per_channel_quant_params quant = {
        .multiplier = (int32_t *)(uintptr_t)filters->multiplier,
        .shift = (int32_t *)(uintptr_t)filters->shift,
    };
    const cmsis_nn_dims input_dims = acs_dims(layer->input, input_channels);
    const cmsis_nn_dims output_dims = acs_dims(layer->output, filters->count);
    const cmsis_nn_dims filter_dims = {.n = (int32_t)filters->count,
                                       .h = layer->kernel.height,
                                       .w = layer->kernel.width,
                                       .c = (int32_t)input_channels};
    const cmsis_nn_dims bias_dims = {.n = 1, .h = 1, .w = 1, .c = (int32_t)filters->count};
    const cmsis_nn_context context = acs_context(scratch);

    if (arm_convolve_wrapper_s8_get_buffer_size(&params, &input_dims, &filter_dims, &output_dims) >
        context.size) {
        return false;
    }
    return arm_convolve_wrapper_s8(&context, &params, &quant, &input_dims, input, &filter_dims,
                                   filters->weights, &bias_dims, filters->bias, &output_dims,
                                   output) == ARM_CMSIS_NN_SUCCESS;
}

/* The layer without the rows of the input that lie above or below all windows. */
bool acs_cmsis_convolve_rows(const acs_conv_t *layer, uint32_t input_channels, const acs_filters_t *filters,
                          uint32_t row, uint32_t rows, const int8_t *input, int8_t *output,
                          acs_scratch_t scratch)
{
    const uint32_t first = row * layer->stride.height;
    const uint32_t above = layer->padding.height;
    const uint32_t beyond = first > above ? first - above : 0u;
    const uint32_t skipped = beyond < layer->input.height ? beyond : layer->input.height;
    acs_conv_t band = *layer;
    band.padding.height = (uint16_t)(first > above ? 0u : above - first);
    /* Not a row too much: for a single tap CMSIS-NN goes by the input's rows, not by the output's. */
    const uint32_t windows = (rows - 1) * layer->stride.height + 1 +
                             (layer->kernel.height - 1u) * layer->dilation.height - band.padding.height;
    const uint32_t left = layer->input.height - skipped;
    band.input.height = (uint16_t)(windows < left ? windows : left);
    band.output.height = (uint16_t)rows;
    return acs_cmsis_convolve(&band, input_channels, filters,
                              input + skipped * layer->input.width * input_channels, output, scratch);
}

/* The sum of a convolution and what lies in the output, band after band. */
static bool convolve_residual(const acs_conv_t *layer, uint32_t input_channels, const acs_filters_t *filters,
                              const int8_t *input, int8_t *output, acs_scratch_t scratch)
{
    const acs_residual_t *residual = layer->residual;
    const uint32_t row_bytes = layer->output.width * filters->count;
    const acs_scratch_t rest = acs_behind(scratch, acs_align(residual->rows * row_bytes));
    if (rest.data == NULL || !acs_cmsis_has_rows(layer)) {
        return false;
    }
    uint32_t rows;
    for (uint32_t row = 0; row < layer->output.height; row += rows, output += rows * row_bytes) {
        rows = layer->output.height - row < residual->rows ? layer->output.height - row : residual->rows;
        if (!acs_cmsis_convolve_rows(layer, input_channels, filters, row, rows, input, scratch.data, rest)) {
            return false;
        }
        acs_add_residual_s8(residual, rows * row_bytes, scratch.data, output);
    }
    return true;
}

/* Output groups one by one, with the input's channels and the weights given: those of the layer, or packed
 * ones. */
static bool convolve_groups(const acs_conv_t *layer, const acs_list_t *active, uint32_t input_channels,
                            uint16_t input_groups, const int8_t *weights, const int8_t *input,
                            int8_t *output, acs_scratch_t scratch)
{
    const uint32_t in_each = input_channels / input_groups;
    const uint32_t out_each = layer->output.channels / layer->output_groups;
    const uint32_t in_bytes = acs_image_bytes(layer->input, in_each);
    const uint32_t out_bytes = acs_image_bytes(layer->output, out_each);
    const uint32_t weight_bytes = (uint32_t)layer->kernel.height * layer->kernel.width * in_each * out_each;
    const uint16_t count = acs_list_count(active, layer->output_groups);

    for (uint16_t i = 0; i < count; i++) {
        const uint32_t j = acs_list_at(active, layer->output_groups, i);
        const uint32_t source = j * input_groups / layer->output_groups;
        const acs_filters_t filters =
            acs_filters_of(layer, weights + j * weight_bytes, j * out_each, out_each);
        if (!(layer->residual == NULL ? acs_cmsis_convolve : convolve_residual)(
                layer, in_each, &filters, input + source * in_bytes, output + j * out_bytes, scratch)) {
            return false;
        }
    }
    return true;
}

bool acs_cmsis_conv(const acs_conv_t *layer, const acs_list_t *active, const int8_t *input, int8_t *output,
                    acs_scratch_t scratch)
{
    if (layer->input_groups == 1 && layer->output_groups > 1 && acs_cmsis_has_rows(layer)) {
        return acs_cmsis_convolve_together(layer, active, input, output, scratch);
    }
    return convolve_groups(layer, active, layer->input.channels, layer->input_groups, layer->weights,
                           input, output, scratch);
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

/* The weights of the active input groups, side by side. */
static void pack_weights(const acs_conv_t *layer, const acs_list_t *active, int8_t *packed)
{
    const uint32_t each = layer->input.channels / layer->input_groups;
    const uint32_t rows =
        (uint32_t)layer->output.channels * layer->kernel.height * layer->kernel.width;
    const uint16_t count = acs_list_count(active, layer->input_groups);
    for (uint16_t i = 0; i < count; i++) {
        const int8_t *from = layer->weights + acs_list_at(active, layer->input_groups, i) * each;
        int8_t *to = packed + i * each;
        for (uint32_t row = 0; row < rows; row++) {
            acs_copy_s8(to, from, each);
            from += layer->input.channels;
            to += count * each;
        }
    }
}

bool acs_cmsis_conv_join(const acs_conv_t *layer, const acs_list_t *active, const acs_list_t *outputs,
                         const int8_t *input, int8_t *output, acs_scratch_t scratch)
{
    const uint16_t groups = layer->input_groups;
    const uint16_t count = acs_list_count(active, groups);
    const bool packing = count <= layer->pack_limit && count < groups;
    const uint32_t each = layer->input.channels / groups;
    const uint32_t channels = each * (packing ? count : groups);
    const uint32_t rows =
        (uint32_t)layer->output.channels * layer->kernel.height * layer->kernel.width;
    /* Scratch: the image as NHWC, the packed weights, then what CMSIS-NN needs, each word-aligned. */
    const uint32_t image_bytes = (acs_image_bytes(layer->input, channels) + 3u) & ~3u;
    const uint32_t weight_bytes = packing ? (rows * channels + 3u) & ~3u : 0u;
    if (count == 0) {
        return fill_with_bias(layer, outputs, output, scratch);
    }
    if (scratch.bytes < image_bytes + weight_bytes) {
        return false;
    }
    int8_t *const image = scratch.data;
    int8_t *const packed = image + image_bytes;
    const acs_scratch_t rest = {packed + weight_bytes, scratch.bytes - image_bytes - weight_bytes};

    if (packing) {
        acs_pack_s8(layer->input, groups, active, input, image);
        pack_weights(layer, active, packed);
    } else {
        acs_ungroup_s8(layer->input, groups, active, (int8_t)layer->input_zero_point, input, image);
    }
    return convolve_groups(layer, outputs, channels, 1, packing ? packed : layer->weights, image, output,
                           rest);
}
