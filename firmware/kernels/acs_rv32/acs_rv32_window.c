/* SPDX-License-Identifier: Apache-2.0 */
/* acs_rv32_window.c: 3x3 convolutions over a rolling window of expanded rows. */
#include "acs_rv32.h"

#include <string.h>

#define KERNEL 3u

bool acs_is_window(const acs_conv_t *layer)
{
    return layer->kernel.height == KERNEL && layer->kernel.width == KERNEL && layer->dilation.height == 1 &&
           layer->dilation.width == 1 && layer->stride.height == layer->stride.width &&
           layer->stride.width <= 2 && layer->output.width >= ACS_RV32_PIXELS;
}

/* Runs, an empty window, and a band for so many pixels where there is a residual. false: the scratch is too small. */
static bool begin(const acs_job_t *job, uint32_t channel_bytes, acs_scratch_t *scratch, uint32_t pixels,
                  acs_strip_t *strip, acs_rv32_window_t *window)
{
    const acs_conv_t *const layer = job->layer;
    const uint16_t count = acs_list_count(job->source.active, job->source.groups);
    acs_run_t *const runs = acs_take_words(scratch, (count > 0 ? count : 1u) * (uint32_t)sizeof *runs);
    if (runs == NULL) {
        return false;
    }
    strip->tile.runs = strip->runs = runs;
    strip->tile.end = strip->end = runs + acs_rv32_find_runs(&job->source, channel_bytes, runs);
    window->channels = acs_rv32_channels(&job->source);
    window->slots = ACS_RV32_SLOTS;
    window->source = job->source;
    window->taken = job->source.channels;
    window->input = layer->input;
    window->padding = layer->padding;
    window->zero_point = layer->input_zero_point;
    const uint32_t bytes = acs_rv32_window_bytes(window);
    window->numbers = acs_take_words(scratch, bytes);
    if (window->numbers == NULL) {
        return false;
    }
    memset(window->numbers, 0, bytes);
    if (layer->residual != NULL) {
        strip->band = acs_take_words(scratch, acs_band_bytes(layer, pixels));
    }
    return layer->residual == NULL || strip->band != NULL;
}

/* Rows of windows: the tiles of each, and one that ends with the last pixel where it is left over. */
static void compute_rows(const acs_tile_t *rows, acs_rv32_tile_function_t *function, uint32_t stride)
{
    acs_rv32_tile_t tile = acs_rv32_tile(rows);
    const int16_t *numbers = tile.numbers;
    const uint32_t behind = rows->row_pixels - ACS_RV32_PIXELS; /* the last tile's first pixel */
    for (uint32_t r = 0; r < rows->rows; r++, numbers++) {
        int8_t *const output = tile.output;
        tile.numbers = numbers;
        tile.tiles = rows->row_pixels / ACS_RV32_PIXELS;
        function(&tile);
        if (rows->row_pixels % ACS_RV32_PIXELS != 0) {
            tile.numbers = numbers + behind * stride * ACS_RV32_SLOTS;
            tile.tiles = 1;
            tile.output = output + behind * tile.output_step;
            function(&tile);
        }
        tile.output = output + rows->row_pixels * tile.output_step;
    }
}

static void compute_rows_1(const acs_tile_t *tile)
{
    compute_rows(tile, acs_rv32_window_1, 1);
}

static void compute_rows_2(const acs_tile_t *tile)
{
    compute_rows(tile, acs_rv32_window_2, 2);
}

bool acs_conv_window(const acs_job_t *job)
{
    const acs_conv_t *const layer = job->layer;
    const uint32_t stride = layer->stride.width;
    const uint32_t width = layer->output.width;
    const uint32_t served = stride == 1 ? ACS_RV32_SLOTS - KERNEL + 1 : 1u; /* output rows */
    acs_scratch_t scratch = job->scratch;
    acs_rv32_window_t window = {.columns = (width - 1) * stride + KERNEL};
    acs_strip_t strip = {.function = stride == 1 ? compute_rows_1 : compute_rows_2, .rows = 1};
    if (!begin(job, ACS_QUAD * KERNEL * KERNEL, &scratch, served * width, &strip, &window)) {
        return false;
    }
    if (!acs_writes_in_place(layer)) {
        strip.row = acs_take_words(&scratch, ACS_QUAD * served * width);
        if (strip.row == NULL) {
            return false;
        }
    }
    strip.tile.words = (const void *)window.numbers;
    strip.tile.pair_step = (uint32_t)sizeof *window.numbers * acs_rv32_channel_step(&window);
    strip.tile.row_pixels = width;
    for (uint32_t y = 0; y < layer->output.height; y += served) {
        const uint32_t left = layer->output.height - y;
        strip.tile.rows = left < served ? left : served;
        strip.pixel = y * width;
        strip.pixels = strip.outputs = strip.tile.rows * width;
        acs_rv32_move_to(&window, y * stride, y > 0 ? KERNEL - stride : 0u, strip.tile.rows + KERNEL - 1);
        acs_compute_quads(job, &strip);
    }
    return true;
}

static void compute_winograd(const acs_tile_t *row)
{
    const acs_rv32_tile_t tile = acs_rv32_tile(row);
    acs_rv32_winograd_quad(&tile);
}

bool acs_conv_winograd(const acs_job_t *job)
{
    const acs_conv_t *const layer = job->layer;
    const uint32_t width = layer->output.width;
    const uint32_t tiles = width / 2;
    const uint32_t fours = (tiles + ACS_RV32_PIXELS - 1) / ACS_RV32_PIXELS;
    const uint32_t channel_numbers = ACS_WINOGRAD_POINTS * ACS_RV32_PIXELS;
    acs_scratch_t scratch = job->scratch;
    acs_rv32_window_t window = {.columns = 2 * ACS_RV32_PIXELS * fours + 2};
    acs_strip_t strip = {.function = compute_winograd, .rows = 1, .pixels = 2 * width, .outputs = 2 * width};
    if (!begin(job, 2 * ACS_QUAD, &scratch, 2 * width, &strip, &window)) {
        return false;
    }
    strip.tile.sums = acs_take_words(&scratch, 4 * ACS_RV32_WINOGRAD_SUMS);
    int16_t *const transformed = acs_take_words(&scratch, 2 * fours * window.channels * channel_numbers);
    if (strip.tile.sums == NULL || transformed == NULL) {
        return false;
    }
    strip.tile.words = (const void *)transformed;
    strip.tile.tiles = tiles;
    strip.tile.pair_step = 2 * window.channels * channel_numbers;
    strip.tile.point_bytes = 2 * ACS_QUAD * job->source.groups * job->source.channels;
    strip.tile.row_step = width * acs_output_step(layer);
    for (uint32_t y = 0; y < layer->output.height; y += 2) {
        acs_rv32_move_to(&window, y, y > 0 ? KERNEL - 1 : 0u, ACS_RV32_SLOTS);
        for (uint32_t c = 0; c < window.channels; c++) {
            acs_rv32_winograd_input(window.numbers + c * acs_rv32_channel_step(&window),
                                    transformed + c * channel_numbers, fours, strip.tile.pair_step);
        }
        strip.pixel = y * width;
        acs_compute_quads(job, &strip);
    }
    return true;
}
