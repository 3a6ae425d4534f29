/* SPDX-License-Identifier: Apache-2.0 */
/*
 * acs_cmsis_together.c: several active groups of a convolution in one walk over its input.
 *
 * CMSIS-NN spreads every window out (im2col) before it multiplies, and would do so again for each group. So
 * the filters of as many active groups as there is room for are taken together, gathered unless they are
 * neighbours, and every few rows of what comes out are dealt out to the groups' images.
 */
#include "acs_cmsis.h"

#include <string.h>

/* Some active groups, from the i-th on, whose filters are used together. */
typedef struct {
    const acs_list_t *active;
    uint16_t i, count;
} chunk_t;

static uint32_t group_at(const acs_conv_t *layer, const chunk_t *chunk, uint32_t i)
{
    return acs_list_at(chunk->active, layer->output_groups, (uint16_t)(chunk->i + i));
}

/* Bytes of scratch for the filters of a chunk: none where they are neighbours in the layer. */
static uint32_t gathered_bytes(const acs_conv_t *layer, const chunk_t *chunk)
{
    if (group_at(layer, chunk, chunk->count - 1u) - group_at(layer, chunk, 0) == chunk->count - 1u) {
        return 0;
    }
    const uint32_t channels = chunk->count * (layer->output.channels / layer->output_groups);
    const uint32_t filter_bytes =
        (uint32_t)layer->kernel.height * layer->kernel.width * layer->input.channels;
    return acs_align(channels * filter_bytes) + 3u * channels * (uint32_t)sizeof(int32_t);
}

static acs_filters_t gather(const acs_conv_t *layer, const chunk_t *chunk, int8_t *weights)
{
    const uint32_t each = layer->output.channels / layer->output_groups;
    const uint32_t channels = chunk->count * each;
    const uint32_t bytes = each * layer->kernel.height * layer->kernel.width * layer->input.channels;
    int32_t *const bias = (int32_t *)(void *)(weights + acs_align(chunk->count * bytes));
    int32_t *const multiplier = bias + channels;
    int32_t *const shift = multiplier + channels;
    for (uint32_t i = 0; i < chunk->count; i++) {
        const uint32_t j = group_at(layer, chunk, i);
        acs_copy_s8(weights + i * bytes, layer->weights + j * bytes, bytes);
        memcpy(bias + i * each, layer->bias + j * each, each * sizeof *bias);
        memcpy(multiplier + i * each, layer->multiplier + j * each, each * sizeof *multiplier);
        memcpy(shift + i * each, layer->shift + j * each, each * sizeof *shift);
    }
    return (acs_filters_t){channels, weights, bias, multiplier, shift};
}

/* Bytes that CMSIS-NN needs for a call, whatever the number of filters; its wrapper never needs more. */
static uint32_t column_bytes(const acs_conv_t *layer)
{
    const cmsis_nn_dims input = acs_dims(layer->input, layer->input.channels);
    const cmsis_nn_dims filter = {.n = 1, .h = layer->kernel.height, .w = layer->kernel.width, .c = input.c};
    return acs_align((uint32_t)arm_convolve_s8_get_buffer_size(&input, &filter));
}

/* Copies a band of an image of the chunk's channels to its groups, from an output row on. */
static void scatter(const acs_conv_t *layer, const chunk_t *chunk, uint32_t row, uint32_t rows,
                    const int8_t *band, int8_t *output)
{
    const uint32_t each = layer->output.channels / layer->output_groups;
    const uint32_t bytes = acs_output_bytes(layer);
    output += row * layer->output.width * each;
    for (uint32_t i = 0; i < chunk->count; i++) {
        acs_copy_channels_s8(rows * layer->output.width, each, band + i * each, chunk->count * each,
                             output + group_at(layer, chunk, i) * bytes, each);
    }
}

/* The groups of a chunk in one walk over the input. */
static bool convolve_chunk(const acs_conv_t *layer, const chunk_t *chunk, uint32_t gathered,
                           const int8_t *input, int8_t *output, acs_scratch_t scratch)
{
    const uint32_t each = layer->output.channels / layer->output_groups;
    const uint32_t first = group_at(layer, chunk, 0);
    const uint32_t bytes = each * layer->kernel.height * layer->kernel.width * layer->input.channels;
    const acs_filters_t filters = gathered > 0
                                  ? gather(layer, chunk, scratch.data)
                                  : acs_filters_of(layer, layer->weights + first * bytes, first * each,
                                               chunk->count * each);
    const acs_scratch_t rest = acs_behind(scratch, gathered);
    const uint32_t row_bytes = layer->output.width * filters.count;
    uint32_t rows = ((rest.bytes - column_bytes(layer)) & ~3u) / row_bytes;
    /* CMSIS-NN takes pixels by pairs, and is slow with one that is left. */
    rows = rows > 1 && layer->output.width % 2 != 0 ? rows & ~1u : rows;
    rows = rows < layer->output.height ? rows : layer->output.height;
    const acs_scratch_t columns = acs_behind(rest, acs_align(rows * row_bytes));
    for (uint32_t row = 0; row < layer->output.height; row += rows) {
        rows = rows < layer->output.height - row ? rows : layer->output.height - row;
        if (!acs_cmsis_convolve_rows(layer, layer->input.channels, &filters, row, rows, input, rest.data,
                                     columns)) {
            return false;
        }
        scatter(layer, chunk, row, rows, rest.data, output);
    }
    return true;
}

/* The only group of a chunk, straight to its place. */
static bool convolve_single(const acs_conv_t *layer, const chunk_t *chunk, const int8_t *input,
                            int8_t *output, acs_scratch_t scratch)
{
    const uint32_t each = layer->output.channels / layer->output_groups;
    const uint32_t j = group_at(layer, chunk, 0);
    const uint32_t bytes = each * layer->kernel.height * layer->kernel.width * layer->input.channels;
    const acs_filters_t filters = acs_filters_of(layer, layer->weights + j * bytes, j * each, each);
    return acs_cmsis_convolve(layer, layer->input.channels, &filters, input,
                              output + j * acs_output_bytes(layer), scratch);
}

bool acs_cmsis_convolve_together(const acs_conv_t *layer, const acs_list_t *active, const int8_t *input,
                                 int8_t *output, acs_scratch_t scratch)
{
    const uint16_t count = acs_list_count(active, layer->output_groups);
    const uint32_t row_bytes = layer->output.width * (layer->output.channels / layer->output_groups);
    const uint32_t columns = column_bytes(layer);
    chunk_t chunk = {active, 0, 0};
    for (; chunk.i < count; chunk.i = (uint16_t)(chunk.i + chunk.count)) {
        uint32_t gathered = 0;
        for (chunk.count = (uint16_t)(count - chunk.i); chunk.count > 1; chunk.count--) {
            gathered = gathered_bytes(layer, &chunk);
            if (gathered + acs_align(chunk.count * row_bytes) + columns <= scratch.bytes) {
                break;
            }
        }
        if (!(chunk.count > 1 ? convolve_chunk(layer, &chunk, gathered, input, output, scratch)
                              : convolve_single(layer, &chunk, input, output, scratch))) {
            return false;
        }
    }
    return true;
}
