/* SPDX-License-Identifier: Apache-2.0 */
/* acs_cmsis_depthwise.c: depthwise convolutions over active groups. */
#include "acs_cmsis.h"

bool acs_depthwise_s8(const acs_depthwise_t *layer, const acs_list_t *active, const int8_t *input,
                      int8_t *output, acs_scratch_t scratch)
{
    const cmsis_nn_dw_conv_params params = {
        .input_offset = -layer->input_zero_point,
        .output_offset = layer->output_zero_point,
        .ch_mult = 1,
        .stride = acs_tile(layer->stride),
        .padding = acs_tile(layer->padding),
        .dilation = acs_tile(layer->dilation),
        .activation = {.min = layer->low, .max = layer->high},
    };
    const uint32_t each = layer->input.channels / layer->groups;
    const cmsis_nn_dims input_dims = acs_dims(layer->input, each);
    const cmsis_nn_dims output_dims = acs_dims(layer->output, each);
    const cmsis_nn_dims filter_dims = {
        .n = 1, .h = layer->kernel.height, .w = layer->kernel.width, .c = (int32_t)each};
    const cmsis_nn_dims bias_dims = {.n = 1, .h = 1, .w = 1, .c = (int32_t)each};
    const cmsis_nn_context context = acs_context(scratch);
    const uint32_t weight_bytes = (uint32_t)layer->kernel.height * layer->kernel.width * each;
    const uint16_t count = acs_list_count(active, layer->groups);

    if (acs_scale_groups_s8(layer, active, input, output)) {
        return true;
    }
    if (arm_depthwise_conv_wrapper_s8_get_buffer_size(&params, &input_dims, &filter_dims, &output_dims) >
        context.size) {
        return false;
    }
    for (uint16_t i = 0; i < count; i++) {
        const uint32_t g = acs_list_at(active, layer->groups, i);
        const cmsis_nn_per_channel_quant_params quant = {
            .multiplier = (int32_t *)(uintptr_t)(layer->multiplier + g * each),
            .shift = (int32_t *)(uintptr_t)(layer->shift + g * each),
        };
        if (arm_depthwise_conv_wrapper_s8(&context, &params, &quant, &input_dims,
                                          input + g * acs_image_bytes(layer->input, each), &filter_dims,
                                          layer->weights + g * weight_bytes, &bias_dims,
                                          layer->bias + g * each, &output_dims,
                                          output + g * acs_image_bytes(layer->output, each)) !=
            ARM_CMSIS_NN_SUCCESS) {
            return false;
        }
    }
    return true;
}
