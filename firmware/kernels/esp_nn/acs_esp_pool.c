/* SPDX-License-Identifier: Apache-2.0 */
/* acs_esp_pool.c: pooling over active groups. */
#include "acs_esp.h"

bool acs_max_pool_s8(const acs_pool_t *layer, const acs_list_t *active, const int8_t *input,
                     int8_t *output, acs_scratch_t scratch)
{
    (void)scratch;
    const uint32_t each = layer->input.channels / layer->groups;
    const uint16_t count = acs_list_count(active, layer->groups);
    for (uint16_t i = 0; i < count; i++) {
        const uint32_t g = acs_list_at(active, layer->groups, i);
        esp_nn_max_pool_s8_ansi(input + g * acs_image_bytes(layer->input, each), layer->input.width,
                                layer->input.height, output + g * acs_image_bytes(layer->output, each),
                                layer->output.width, layer->output.height, layer->stride.width,
                                layer->stride.height, layer->kernel.width, layer->kernel.height,
                                layer->padding.width, layer->padding.height, INT8_MIN, INT8_MAX,
                                (uint16_t)each);
    }
    return true;
}

/* ESP-NN divides for every value; the runtime does not. */
bool acs_avg_pool_s8(const acs_pool_t *layer, const acs_list_t *active, const int8_t *input,
                     int8_t *output, acs_scratch_t scratch)
{
    (void)scratch;
    return acs_average_s8(layer, active, input, output);
}
