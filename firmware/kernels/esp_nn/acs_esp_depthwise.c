/* SPDX-License-Identifier: Apache-2.0 */
/* acs_esp_depthwise.c: depthwise convolutions over active groups, one ESP-NN call each. */
#include "acs_esp.h"

bool acs_depthwise_s8(const acs_depthwise_t *layer, const acs_list_t *active, const int8_t *input,
                      int8_t *output, acs_scratch_t scratch)
{
    (void)scratch;
    if (acs_scale_groups_s8(layer, active, input, output)) {
        return true;
    }
    if (!acs_esp_is_exact(layer->dilation, layer->shift, layer->input.channels)) {
        return acs_portable_depthwise(layer, active, input, output);
    }
    const dw_conv_params_t params = {
        .in_offset = -layer->input_zero_point,
        .out_offset = layer->output_zero_point,
        .ch_mult = 1,
        .stride = acs_esp_pair(layer->stride),
        .padding = acs_esp_pair(layer->padding),
        .dilation = acs_esp_pair(layer->dilation),
        .activation = {.min = layer->low, .max = layer->high},
    };
    const uint32_t each = layer->input.channels / layer->groups;
    const data_dims_t input_dims = acs_esp_dims(layer->input, each);
    const data_dims_t output_dims = acs_esp_dims(layer->output, each);
    const data_dims_t filter_dims = {
        .width = layer->kernel.width, .height = layer->kernel.height, .channels = (int32_t)each, .extra = 1};
    const uint32_t weight_bytes = (uint32_t)layer->kernel.height * layer->kernel.width * each;
    const uint16_t count = acs_list_count(active, layer->groups);

    for (uint16_t i = 0; i < count; i++) {
        const uint32_t g = acs_list_at(active, layer->groups, i);
        const quant_data_t scales = acs_esp_scales(layer->multiplier, layer->shift, g * each);
        esp_nn_depthwise_conv_s8_ansi(&input_dims, input + g * acs_image_bytes(layer->input, each), &filter_dims,
                                      layer->weights + g * weight_bytes, layer->bias + g * each, &output_dims,
                                      output + g * acs_image_bytes(layer->output, each), &params, &scales);
    }
    return true;
}
