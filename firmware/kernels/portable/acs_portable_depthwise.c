/* SPDX-License-Identifier: Apache-2.0 */
/* acs_portable_depthwise.c: depthwise convolutions over active groups. */
#include "acs_portable.h"

/* The sum of one channel over the window; steps: from one value to the next, in a row and between rows. */
static int32_t sum_taps(const acs_span_t *rows, const acs_span_t *columns, const int8_t *input,
                        uint32_t input_step, uint32_t input_row_step, const int8_t *weights,
                        uint32_t weight_step, uint32_t weight_row_step, int32_t zero_point)
{
    int32_t sum = 0;
    for (uint32_t row = 0; row < rows->count; row++, input += input_row_step, weights += weight_row_step) {
        const int8_t *x = input;
        const int8_t *w = weights;
        for (uint32_t column = 0; column < columns->count; column++, x += input_step, w += weight_step) {
            sum += (*x - zero_point) * *w;
        }
    }
    return sum;
}

/* One pixel of group g. */
static void convolve_pixel(const acs_depthwise_t *layer, uint32_t g, const acs_span_t *rows,
                           const acs_span_t *columns, const int8_t *image, int8_t *output)
{
    const uint32_t each = layer->input.channels / layer->groups;
    const uint32_t row_bytes = layer->input.width * each;
    const uint32_t kernel_row = layer->kernel.width * each;
    const int8_t *input = image + rows->at * row_bytes + columns->at * each;
    const int8_t *weights = layer->weights + g * layer->kernel.height * kernel_row +
                            rows->tap * kernel_row + columns->tap * each;
    for (uint32_t c = g * each; c < (g + 1) * each; c++, input++, weights++) {
        const int32_t sum = sum_taps(rows, columns, input, layer->dilation.width * each,
                                     layer->dilation.height * row_bytes, weights, each, kernel_row,
                                     layer->input_zero_point);
        const acs_scale_t scale = {layer->multiplier[c], layer->shift[c]};
        *output++ = acs_requantize(layer->bias[c] + sum, scale, layer->output_zero_point, layer->low,
                                   layer->high);
    }
}

bool acs_portable_depthwise(const acs_depthwise_t *layer, const acs_list_t *active, const int8_t *input,
                            int8_t *output)
{
    const uint32_t each = layer->input.channels / layer->groups;
    const uint16_t count = acs_list_count(active, layer->groups);
    if (acs_scale_groups_s8(layer, active, input, output)) {
        return true;
    }
    for (uint16_t i = 0; i < count; i++) {
        const uint32_t g = acs_list_at(active, layer->groups, i);
        const int8_t *const image = input + g * acs_image_bytes(layer->input, each);
        int8_t *pixel = output + g * acs_image_bytes(layer->output, each);
        for (uint32_t y = 0; y < layer->output.height; y++) {
            const acs_span_t rows = acs_span(y, layer->stride.height, layer->padding.height,
                                             layer->kernel.height, layer->dilation.height, layer->input.height);
            for (uint32_t x = 0; x < layer->output.width; x++, pixel += each) {
                const acs_span_t columns = acs_span(x, layer->stride.width, layer->padding.width,
                                                    layer->kernel.width, layer->dilation.width, layer->input.width);
                convolve_pixel(layer, g, &rows, &columns, image, pixel);
            }
        }
    }
    return true;
}
