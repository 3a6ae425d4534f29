/* SPDX-License-Identifier: Apache-2.0 */
/* acs_esp_conv.c: convolutions over active groups, one ESP-NN call each. */
#include "acs_esp.h"

bool acs_conv_s8(const acs_conv_t *layer, const acs_list_t *active, const int8_t *input, int8_t *output,
                 acs_scratch_t scratch)
{
    if (layer->residual != NULL ||
        !acs_esp_is_exact(layer->dilation, layer->shift, layer->output.channels)) {
        return acs_portable_conv(layer, active, input, output, scratch);
    }
    const conv_params_t params = {
        .in_offset = -layer->input_zero_point,
        .out_offset = layer->output_zero_point,
        .stride = acs_esp_pair(layer->stride),
        .padding = acs_esp_pair(layer->padding),
        .dilation = acs_esp_pair(layer->dilation),
        .activation = {.min = layer->low, .max = layer->high},
    };
    const uint32_t in_each = layer->input.channels / layer->input_groups;
    const uint32_t out_each = layer->output.channels / layer->output_groups;
    const uint32_t in_bytes = acs_image_bytes(layer->input, in_each);
    const uint32_t out_bytes = acs_image_bytes(layer->output, out_each);
    const uint32_t weight_bytes = (uint32_t)layer->kernel.height * layer->kernel.width * in_each * out_each;
    const data_dims_t input_dims = acs_esp_dims(layer->input, in_each);
    const data_dims_t output_dims = acs_esp_dims(layer->output, out_each);
    const data_dims_t filter_dims = {.width = layer->kernel.width,
                                     .height = layer->kernel.height,
                                     .channels = (int32_t)in_each,
                                     .extra = (int32_t)out_each};
    const uint16_t count = acs_list_count(active, layer->output_groups);

    for (uint16_t i = 0; i < count; i++) {
        const uint32_t j = acs_list_at(active, layer->output_groups, i);
        const uint32_t source = j * layer->input_groups / layer->output_groups;
        const quant_data_t scales = acs_esp_scales(layer->multiplier, layer->shift, j * out_each);
        esp_nn_conv_s8_ansi(&input_dims, input + source * in_bytes, &filter_dims, layer->weights + j * weight_bytes,
                            layer->bias + j * out_each, &output_dims, output + j * out_bytes, &params, &scales);
    }
    return true;
}

bool acs_conv_join_s8(const acs_conv_t *layer, const acs_list_t *active, const acs_list_t *outputs,
                      const int8_t *input, int8_t *output, acs_scratch_t scratch)
{
    return acs_pack_and_conv_s8(layer, active, outputs, input, output, scratch);
}
