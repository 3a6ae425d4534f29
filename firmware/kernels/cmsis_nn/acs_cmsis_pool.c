/* SPDX-License-Identifier: Apache-2.0 */
/* acs_cmsis_pool.c: pooling over active groups. */
#include "acs_cmsis.h"

typedef arm_cmsis_nn_status (*pool_t)(const cmsis_nn_context *, const cmsis_nn_pool_params *,
                                      const cmsis_nn_dims *, const int8_t *, const cmsis_nn_dims *,
                                      const cmsis_nn_dims *, int8_t *);

static bool pool_groups(pool_t pool, const acs_pool_t *layer, const acs_list_t *active,
                        const int8_t *input, int8_t *output, acs_scratch_t scratch)
{
    const cmsis_nn_pool_params params = {
        .stride = acs_tile(layer->stride),
        .padding = acs_tile(layer->padding),
        .activation = {.min = INT8_MIN, .max = INT8_MAX},
    };
    const uint32_t each = layer->input.channels / layer->groups;
    const cmsis_nn_dims input_dims = acs_dims(layer->input, each);
    const cmsis_nn_dims output_dims = acs_dims(layer->output, each);
    const cmsis_nn_dims filter_dims = {
        .n = 1, .h = layer->kernel.height, .w = layer->kernel.width, .c = 1};
    const cmsis_nn_context context = acs_context(scratch);
    const uint16_t count = acs_list_count(active, layer->groups);

    for (uint16_t i = 0; i < count; i++) {
        const uint32_t g = acs_list_at(active, layer->groups, i);
        if (pool(&context, &params, &input_dims, input + g * acs_image_bytes(layer->input, each),
                 &filter_dims, &output_dims, output + g * acs_image_bytes(layer->output, each)) !=
            ARM_CMSIS_NN_SUCCESS) {
            return false;
        }
    }
    return true;
}

bool acs_max_pool_s8(const acs_pool_t *layer, const acs_list_t *active, const int8_t *input,
                     int8_t *output, acs_scratch_t scratch)
{
    return pool_groups(arm_max_pool_s8, layer, active, input, output, scratch);
}

/* CMSIS-NN's own is quick with Helium only. */
bool acs_avg_pool_s8(const acs_pool_t *layer, const acs_list_t *active, const int8_t *input,
                     int8_t *output, acs_scratch_t scratch)
{
#if defined(ARM_MATH_MVEI)
    const int32_t needed = arm_avgpool_s8_get_buffer_size(layer->output.width,
                                                          layer->input.channels / layer->groups);
    if (needed > (int32_t)scratch.bytes) {
        return false;
    }
    return pool_groups(arm_avgpool_s8, layer, active, input, output, scratch);
#else
    (void)scratch;
    return acs_average_s8(layer, active, input, output);
#endif
}
