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

/* One image of input_channels to one image of output_channels; first: first output channel. */
static bool convolve(const acs_conv_t *layer, uint32_t input_channels, const int8_t *weights,
                     uint32_t first, uint32_t output_channels, const int8_t *input, int8_t *output,
                     acs_scratch_t scratch)
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
        .multiplier = (int32_t *)(uintptr_t)(layer->multiplier + first),
        .shift = (int32_t *)(uintptr_t)(layer->shift + first),
    };
    const cmsis_nn_dims input_dims = acs_dims(layer->input, input_channels);
    const cmsis_nn_dims output_dims = acs_dims(layer->output, output_channels);
    const cmsis_nn_dims filter_dims = {.n = (int32_t)output_channels,
                                       .h = layer->kernel.height,
                                       .w = layer->kernel.width,
                                       .c = (int32_t)input_channels};
    const cmsis_nn_dims bias_dims = {.n = 1, .h = 1, .w = 1, .c = (int32_t)output_channels};
    const cmsis_nn_context context = acs_context(scratch);

    if (arm_convolve_wrapper_s8_get_buffer_size(&params, &input_dims, &filter_dims, &output_dims) >
        context.size) {
        return false;
    }
    return arm_convolve_wrapper_s8(&context, &params, &quant, &input_dims, input, &filter_dims, weights,
                                   &bias_dims, layer->bias + first, &output_dims,
                                   output) == ARM_CMSIS_NN_SUCCESS;
}

/* acs_conv_s8 with the input's channels and the weights given: those of the layer, or packed ones. */
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
        if (!convolve(layer, in_each, weights + j * weight_bytes, j * out_each, out_each,
                      input + source * in_bytes, output + j * out_bytes, scratch)) {
            return false;
        }
    }
    return true;
}

bool acs_conv_s8(const acs_conv_t *layer, const acs_list_t *active, const int8_t *input, int8_t *output,
                 acs_scratch_t scratch)
{
    return convolve_groups(layer, active, layer->input.channels, layer->input_groups, layer->weights,
                           input, output, scratch);
}

/* With no active input every pixel is the requantised bias. */
static void fill_with_bias(const acs_conv_t *layer, const acs_list_t *outputs, int8_t *output)
{
    const uint32_t each = layer->output.channels / layer->output_groups;
    const uint32_t bytes = acs_image_bytes(layer->output, each);
    const uint16_t count = acs_list_count(outputs, layer->output_groups);
    for (uint16_t i = 0; i < count; i++) {
        const uint32_t j = acs_list_at(outputs, layer->output_groups, i);
        int8_t *image = output + j * bytes;
        for (uint32_t c = 0; c < each; c++) {
            const uint32_t channel = j * each + c;
            const acs_scale_t scale = {layer->multiplier[channel], layer->shift[channel]};
            int32_t value = acs_rescale(layer->bias[channel], scale) + layer->output_zero_point;
            value = value < layer->low ? layer->low : value;
            image[c] = (int8_t)(value > layer->high ? layer->high : value);
        }
        for (uint32_t at = each; at < bytes; at += each) {
            acs_copy_s8(image + at, image, each);
        }
    }
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

bool acs_conv_join_s8(const acs_conv_t *layer, const acs_list_t *active, const acs_list_t *outputs,
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
        fill_with_bias(layer, outputs, output);
        return true;
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
