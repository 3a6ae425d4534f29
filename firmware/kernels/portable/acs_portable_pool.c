/* SPDX-License-Identifier: Apache-2.0 */
/* acs_portable_pool.c: pooling over active groups. */
#include "acs_portable.h"

/* Values of one channel in a window. */
typedef struct {
    const int8_t *first;
    uint32_t rows, columns;
    uint32_t row_step, step;
} taps_t;

static int8_t maximum(const taps_t *taps)
{
    int8_t most = INT8_MIN;
    for (uint32_t row = 0; row < taps->rows; row++) {
        const int8_t *x = taps->first + row * taps->row_step;
        for (uint32_t column = 0; column < taps->columns; column++, x += taps->step) {
            most = *x > most ? *x : most;
        }
    }
    return most;
}

/* false if a window lies in the padding altogether, of which there is no maximum. */
static bool pool_group(const acs_pool_t *layer, uint32_t each, const int8_t *image,
                       int8_t *output)
{
    const uint32_t row_bytes = layer->input.width * each;
    for (uint32_t y = 0; y < layer->output.height; y++) {
        const acs_span_t rows = acs_span(y, layer->stride.height, layer->padding.height, layer->kernel.height, 1,
                                         layer->input.height);
        for (uint32_t x = 0; x < layer->output.width; x++) {
            const acs_span_t columns = acs_span(x, layer->stride.width, layer->padding.width,
                                                layer->kernel.width, 1, layer->input.width);
            if (rows.count == 0 || columns.count == 0) {
                return false;
            }
            taps_t taps = {image + rows.at * row_bytes + columns.at * each, rows.count, columns.count,
                           row_bytes, each};
            for (uint32_t c = 0; c < each; c++, taps.first++) {
                *output++ = maximum(&taps);
            }
        }
    }
    return true;
}

static bool pool_groups(const acs_pool_t *layer, const acs_list_t *active,
                        const int8_t *input, int8_t *output)
{
    const uint32_t each = layer->input.channels / layer->groups;
    const uint16_t count = acs_list_count(active, layer->groups);
    for (uint16_t i = 0; i < count; i++) {
        const uint32_t g = acs_list_at(active, layer->groups, i);
        if (!pool_group(layer, each, input + g * acs_image_bytes(layer->input, each),
                        output + g * acs_image_bytes(layer->output, each))) {
            return false;
        }
    }
    return true;
}

bool acs_max_pool_s8(const acs_pool_t *layer, const acs_list_t *active, const int8_t *input,
                     int8_t *output, acs_scratch_t scratch)
{
    (void)scratch;
    return pool_groups(layer, active, input, output);
}

bool acs_avg_pool_s8(const acs_pool_t *layer, const acs_list_t *active, const int8_t *input,
                     int8_t *output, acs_scratch_t scratch)
{
    (void)scratch;
    return acs_average_s8(layer, active, input, output);
}
