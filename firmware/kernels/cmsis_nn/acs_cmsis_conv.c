/* SPDX-License-Identifier: Apache-2.0 */
/* acs_cmsis_conv.c: convolutions over active groups, one CMSIS-NN call each. */
#include "acs_cmsis.h"

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

bool acs_conv_s8(const acs_conv_t *layer, const acs_list_t *active, const int8_t *input, int8_t *output,
                 acs_scratch_t scratch)
{
    const uint32_t in_each = layer->input.channels / layer->input_groups;
    const uint32_t out_each = layer->output.channels / layer->output_groups;
    const uint32_t in_bytes = acs_image_bytes(layer->input, in_each);
    const uint32_t out_bytes = acs_image_bytes(layer->output, out_each);
    const uint32_t weight_bytes = (uint32_t)layer->kernel.height * layer->kernel.width * in_each * out_each;
    const uint16_t count = acs_list_count(active, layer->output_groups);

    for (uint16_t i = 0; i < count; i++) {
        const uint32_t j = acs_list_at(active, layer->output_groups, i);
        const uint32_t source = j * layer->input_groups / layer->output_groups;
        if (!convolve(layer, in_each, layer->weights + j * weight_bytes, j * out_each, out_each,
                      input + source * in_bytes, output + j * out_bytes, scratch)) {
            return false;
        }
    }
    return true;
}

bool acs_conv_join_s8(const acs_conv_t *layer, const acs_list_t *active, const acs_list_t *outputs,
                      const int8_t *input, int8_t *output, acs_scratch_t scratch)
{
    return acs_pack_and_conv_s8(layer, active, outputs, input, output, scratch);
}
