/* SPDX-License-Identifier: Apache-2.0 */
/* acs_portable_conv.c: convolutions over active groups, pixel by pixel, several filters at a time. */
#include "acs_portable.h"

/* What an output group reads: the active ones of `groups` images that lie one behind the other. */
typedef struct {
    const int8_t *images;
    const acs_list_t *active; /* or NULL */
    uint16_t groups;
    uint32_t channels; /* of one image */
} source_t;

/*
 * The bytes under the window of one output pixel, the same in every image of the source: rows of runs of
 * neighbours. Where the taps of a row touch in the image and in the filter, the row is a single run.
 */
typedef struct {
    uint32_t rows, runs, bytes;                    /* bytes: of a run */
    uint32_t input, input_row_step, input_step;    /* offset in an image, distance of rows, of runs */
    uint32_t weight, weight_row_step, weight_step; /* the same in a filter */
} window_t;

/* Filters that share one walk over the window. */
#define FILTERS 4u

static window_t window_of(const acs_conv_t *layer, const source_t *source, acs_span_t rows,
                          acs_span_t columns)
{
    const uint32_t channels = source->channels;
    const uint32_t depth = source->groups * channels;
    const uint32_t width = layer->input.width;
    const bool touching = layer->dilation.width == 1 && source->groups == 1;
    return (window_t){
        .rows = rows.count,
        .runs = touching ? 1 : columns.count,
        .bytes = touching ? columns.count * channels : channels,
        .input = (rows.at * width + columns.at) * channels,
        .input_row_step = layer->dilation.height * width * channels,
        .input_step = layer->dilation.width * channels,
        .weight = (rows.tap * layer->kernel.width + columns.tap) * depth,
        .weight_row_step = layer->kernel.width * depth,
        .weight_step = depth,
    };
}

/* Adds what one image contributes to `filters` filters, a constant where this is inlined. */
static inline void add_image(const window_t *window, const int8_t *image, int32_t zero_point,
                             const int8_t *filter, uint32_t filter_bytes, uint32_t filters, int32_t *sums)
{
    for (uint32_t row = 0; row < window->rows; row++) {
        for (uint32_t run = 0; run < window->runs; run++) {
            const int8_t *x =
                image + window->input + row * window->input_row_step + run * window->input_step;
            const int8_t *const end = x + window->bytes;
            const int8_t *w =
                filter + window->weight + row * window->weight_row_step + run * window->weight_step;
            for (; x < end; x++, w++) {
                const int32_t value = *x - zero_point;
                for (uint32_t f = 0; f < filters; f++) {
                    sums[f] += value * w[f * filter_bytes];
                }
            }
        }
    }
}

/* Adds what every active image contributes. */
static inline void add_images(const window_t *window, const source_t *source, uint32_t image_bytes,
                              int32_t zero_point, const int8_t *filter, uint32_t filter_bytes,
                              uint32_t filters, int32_t *sums)
{
    const uint16_t count = acs_list_count(source->active, source->groups);
    for (uint16_t i = 0; i < count; i++) {
        const uint32_t g = acs_list_at(source->active, source->groups, i);
        add_image(window, source->images + g * image_bytes, zero_point, filter + g * source->channels,
                  filter_bytes, filters, sums);
    }
}

static int8_t finish(const acs_conv_t *layer, uint32_t channel, int32_t sum)
{
    const acs_scale_t scale = {layer->multiplier[channel], layer->shift[channel]};
    return acs_requantize(layer->bias[channel] + sum, scale, layer->output_zero_point, layer->low,
                          layer->high);
}

/* One pixel of an output group: the channels from `channel` up to `end`. */
static void convolve_pixel(const acs_conv_t *layer, const source_t *source, const window_t *window,
                           uint32_t channel, uint32_t end, int8_t *output)
{
    const uint32_t filter_bytes =
        (uint32_t)layer->kernel.height * layer->kernel.width * source->groups * source->channels;
    const uint32_t image_bytes = acs_image_bytes(layer->input, source->channels);
    const int8_t *filter = layer->weights + channel * filter_bytes;
    for (; channel + FILTERS <= end; channel += FILTERS, filter += FILTERS * filter_bytes) {
        int32_t sums[FILTERS] = {0};
        add_images(window, source, image_bytes, layer->input_zero_point, filter, filter_bytes, FILTERS, sums);
        for (uint32_t f = 0; f < FILTERS; f++) {
            *output++ = finish(layer, channel + f, sums[f]);
        }
    }
    for (; channel < end; channel++, filter += filter_bytes) {
        int32_t sum = 0;
        add_images(window, source, image_bytes, layer->input_zero_point, filter, filter_bytes, 1, &sum);
        *output++ = finish(layer, channel, sum);
    }
}

/* Output group j. With a residual a row is computed into the scratch, and added. */
static bool convolve_group(const acs_conv_t *layer, const source_t *source, uint32_t j, int8_t *output,
                           acs_scratch_t scratch)
{
    const uint32_t each = layer->output.channels / layer->output_groups;
    const uint32_t row_bytes = layer->output.width * each;
    if (layer->residual != NULL && scratch.bytes < row_bytes) {
        return false;
    }
    output += j * acs_output_bytes(layer);
    for (uint32_t y = 0; y < layer->output.height; y++) {
        const acs_span_t rows = acs_span(y, layer->stride.height, layer->padding.height, layer->kernel.height,
                                         layer->dilation.height, layer->input.height);
        int8_t *pixel = layer->residual == NULL ? output : scratch.data;
        for (uint32_t x = 0; x < layer->output.width; x++, pixel += each) {
            const acs_span_t columns = acs_span(x, layer->stride.width, layer->padding.width,
                                                layer->kernel.width, layer->dilation.width, layer->input.width);
            const window_t window = window_of(layer, source, rows, columns);
            convolve_pixel(layer, source, &window, j * each, (j + 1) * each, pixel);
        }
        if (layer->residual != NULL) {
            acs_add_residual_s8(layer->residual, row_bytes, scratch.data, output);
        }
        output += row_bytes;
    }
    return true;
}

bool acs_portable_conv(const acs_conv_t *layer, const acs_list_t *active, const int8_t *input, int8_t *output,
                       acs_scratch_t scratch)
{
    const uint32_t channels = layer->input.channels / layer->input_groups;
    const uint32_t image_bytes = acs_image_bytes(layer->input, channels);
    const uint16_t count = acs_list_count(active, layer->output_groups);
    for (uint16_t i = 0; i < count; i++) {
        const uint32_t j = acs_list_at(active, layer->output_groups, i);
        const uint32_t feeding = j * layer->input_groups / layer->output_groups;
        const source_t source = {input + feeding * image_bytes, NULL, 1, channels};
        if (!convolve_group(layer, &source, j, output, scratch)) {
            return false;
        }
    }
    return true;
}

/* Reads the active groups where they are: the taps of the others are not visited. */
static bool join(const acs_conv_t *layer, const acs_list_t *active, const acs_list_t *outputs,
                 const int8_t *input, int8_t *output, acs_scratch_t scratch)
{
    const source_t source = {input, active, layer->input_groups, layer->input.channels / layer->input_groups};
    const uint16_t count = acs_list_count(outputs, layer->output_groups);
    for (uint16_t i = 0; i < count; i++) {
        if (!convolve_group(layer, &source, acs_list_at(outputs, layer->output_groups, i), output, scratch)) {
            return false;
        }
    }
    return true;
}

bool acs_portable_conv_join(const acs_conv_t *layer, const acs_list_t *active, const acs_list_t *outputs,
                            const int8_t *input, int8_t *output, acs_scratch_t scratch)
{
    if (layer->before != NULL || layer->pack_limit > 0) {
        return acs_pack_and_conv_s8(layer, active, outputs, input, output, scratch);
    }
    acs_conv_t complete = *layer;
    if (!acs_complete_bias(&complete, active, &scratch)) {
        return false;
    }
    return join(&complete, active, outputs, input, output, scratch);
}
