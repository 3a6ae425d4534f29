/* SPDX-License-Identifier: Apache-2.0 */
/* acs_rv32_window.c: 3x3 convolutions over a rolling window of expanded rows. */
#include "acs_rv32.h"

#include <string.h>

#define KERNEL 3u

/* The window in memory: [active channel][column][ACS_WINDOW_ROWS], columns with the padding around the image. */
typedef struct {
    int16_t *numbers;
    uint32_t columns; /* that windows reach */
    uint32_t channels;
    uint32_t channel_step; /* numbers */
} rows_t;

bool acs_is_window(const acs_conv_t *layer)
{
    return layer->kernel.height == KERNEL && layer->kernel.width == KERNEL && layer->dilation.height == 1 &&
           layer->dilation.width == 1 && layer->stride.height == layer->stride.width &&
           layer->stride.width <= 2 && layer->output.width >= ACS_RV32_PIXELS;
}

/* Numbers of image row `at` (below 0 and from the height on: padding) into row `slot` of the window. */
static void expand_row(const acs_job_t *job, const rows_t *rows, int32_t at, uint32_t slot)
{
    const acs_conv_t *const layer = job->layer;
    const uint32_t channels = job->source.channels;
    if (at < 0 || at >= layer->input.height) {
        for (uint32_t i = 0; i < rows->channels * rows->columns; i++) {
            rows->numbers[i * ACS_WINDOW_ROWS + slot] = 0;
        }
        return;
    }
    const uint32_t left = layer->padding.width;
    const uint32_t reached = rows->columns - left;
    const uint32_t pixels = reached < layer->input.width ? reached : layer->input.width;
    const uint32_t image_bytes = acs_image_bytes(layer->input, channels);
    const int8_t *const row = job->source.images + (uint32_t)at * layer->input.width * channels;
    const uint16_t count = acs_list_count(job->source.active, job->source.groups);
    int16_t *to = rows->numbers + left * ACS_WINDOW_ROWS + slot;
    for (uint16_t i = 0; i < count; i++, to += channels * rows->channel_step) {
        const uint32_t group = acs_list_at(job->source.active, job->source.groups, i);
        acs_rv32_expand(channels, layer->input_zero_point, pixels, row + group * image_bytes, to, ACS_WINDOW_ROWS,
                        rows->channel_step);
    }
}

/* Stride 1 keeps the lower two rows, stride 2 the third one. */
static void roll(const rows_t *rows, uint32_t stride)
{
    int16_t *row = rows->numbers;
    int16_t *const end = row + rows->channels * rows->channel_step;
    if (stride == 1) {
        for (; row < end; row += ACS_WINDOW_ROWS) {
            memcpy(__builtin_assume_aligned(row, 4), __builtin_assume_aligned(row + 2, 4), 2 * sizeof *row);
        }
    } else {
        for (; row < end; row += ACS_WINDOW_ROWS) {
            row[0] = row[2];
        }
    }
}

/* Moves the window down to output row y: image rows that it has not yet are expanded. */
static void move_to(const acs_job_t *job, const rows_t *rows, uint32_t y, uint32_t height)
{
    const uint32_t stride = job->layer->stride.height;
    const int32_t top = (int32_t)(y * stride) - job->layer->padding.height;
    uint32_t slot = 0;
    if (y > 0) {
        roll(rows, stride);
        slot = KERNEL - stride;
    }
    for (; slot < height; slot++) {
        expand_row(job, rows, top + (int32_t)slot, slot);
    }
}

/* Scratch, one piece after the other. */
static void *take(acs_scratch_t *scratch, uint32_t bytes)
{
    void *const piece = scratch->data;
    if (scratch->bytes < bytes) {
        return NULL;
    }
    scratch->data = (int8_t *)piece + bytes;
    scratch->bytes -= bytes;
    return piece;
}

/* Runs and an empty window. false: the scratch is too small. */
static bool begin(const acs_job_t *job, uint32_t channel_bytes, acs_scratch_t *scratch, acs_tile_t *tile,
                  rows_t *rows)
{
    const uint16_t count = acs_list_count(job->source.active, job->source.groups);
    acs_run_t *const runs = take(scratch, (count > 0 ? count : 1u) * (uint32_t)sizeof *runs);
    if (runs == NULL) {
        return false;
    }
    tile->runs = runs;
    tile->end = runs + acs_rv32_find_runs(&job->source, channel_bytes, runs);
    rows->channels = acs_rv32_channels(&job->source);
    rows->channel_step = rows->columns * ACS_WINDOW_ROWS;
    const uint32_t bytes = (uint32_t)sizeof *rows->numbers * rows->channels * rows->channel_step;
    rows->numbers = take(scratch, bytes);
    if (rows->numbers == NULL) {
        return false;
    }
    memset(rows->numbers, 0, bytes);
    return true;
}

/* Rows of windows: the tiles of each, and one that ends with the last pixel where it is left over. */
static void compute_rows(const acs_tile_t *tile, acs_tile_function_t *function, uint32_t stride)
{
    acs_tile_t row = *tile;
    const uint32_t tiles = tile->row_pixels / ACS_RV32_PIXELS;
    const uint32_t behind = tile->row_pixels - ACS_RV32_PIXELS; /* the last tile's first pixel */
    for (uint32_t r = 0; r < tile->rows; r++) {
        int8_t *const output = row.output;
        row.offset = r * (uint32_t)sizeof(int16_t);
        row.tiles = tiles;
        function(&row);
        if (tile->row_pixels % ACS_RV32_PIXELS != 0) {
            row.offset += behind * stride * ACS_WINDOW_ROWS * (uint32_t)sizeof(int16_t);
            row.tiles = 1;
            row.output = output + behind * tile->output_step;
            function(&row);
        }
        row.output = output + tile->row_pixels * tile->output_step;
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
    const uint32_t served = stride == 1 ? ACS_WINDOW_ROWS - KERNEL + 1 : 1u; /* output rows */
    acs_scratch_t scratch = job->scratch;
    rows_t rows = {.columns = (width - 1) * stride + KERNEL};
    acs_strip_t strip = {.function = stride == 1 ? compute_rows_1 : compute_rows_2, .rows = 1};
    if (!begin(job, ACS_QUAD * KERNEL * KERNEL, &scratch, &strip.tile, &rows)) {
        return false;
    }
    if (!acs_writes_in_place(layer)) {
        strip.row = take(&scratch, ACS_QUAD * served * width);
        if (strip.row == NULL) {
            return false;
        }
    }
    strip.tile.words = (const void *)rows.numbers;
    strip.tile.pair_step = (uint32_t)sizeof *rows.numbers * rows.channel_step;
    strip.tile.row_pixels = width;
    for (uint32_t y = 0; y < layer->output.height; y += served) {
        const uint32_t left = layer->output.height - y;
        strip.tile.rows = left < served ? left : served;
        strip.pixel = y * width;
        strip.pixels = strip.tile.rows * width;
        move_to(job, &rows, y, strip.tile.rows + KERNEL - 1);
        acs_compute_quads(job, &strip);
    }
    return true;
}

bool acs_conv_winograd(const acs_job_t *job)
{
    const acs_conv_t *const layer = job->layer;
    const uint32_t width = layer->output.width;
    const uint32_t tiles = width / 2;
    const uint32_t fours = (tiles + ACS_RV32_PIXELS - 1) / ACS_RV32_PIXELS;
    const uint32_t channel_numbers = ACS_WINOGRAD_POINTS * ACS_RV32_PIXELS;
    acs_scratch_t scratch = job->scratch;
    rows_t rows = {.columns = 2 * ACS_RV32_PIXELS * fours + 2};
    acs_strip_t strip = {.function = acs_rv32_winograd_quad, .rows = 1, .pixels = width};
    if (!begin(job, 2 * ACS_QUAD, &scratch, &strip.tile, &rows)) {
        return false;
    }
    strip.tile.sums = take(&scratch, 4 * ACS_RV32_WINOGRAD_SUMS);
    int16_t *const transformed = take(&scratch, 2 * fours * rows.channels * channel_numbers);
    if (strip.tile.sums == NULL || transformed == NULL) {
        return false;
    }
    strip.tile.words = (const void *)transformed;
    strip.tile.tiles = tiles;
    strip.tile.pair_step = 2 * rows.channels * channel_numbers;
    strip.tile.point_bytes = 2 * ACS_QUAD * job->source.groups * job->source.channels;
    strip.tile.row_step = width * acs_output_step(layer);
    for (uint32_t y = 0; y < layer->output.height; y += 2) {
        move_to(job, &rows, y, ACS_WINDOW_ROWS);
        for (uint32_t c = 0; c < rows.channels; c++) {
            acs_rv32_winograd_input(rows.numbers + c * rows.channel_step, transformed + c * channel_numbers, fours,
                                    strip.tile.pair_step);
        }
        strip.pixel = y * width;
        acs_compute_quads(job, &strip);
    }
    return true;
}
