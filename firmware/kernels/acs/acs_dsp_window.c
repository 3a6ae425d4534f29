/* SPDX-License-Identifier: Apache-2.0 */
/* acs_dsp_window.c: 3x3 convolutions over a rolling window of expanded rows. */
#include "acs_dsp.h"

#include "acs_portable.h"

#include <string.h>

#define KERNEL 3u

/* The window in memory: [active pair][column][ACS_WINDOW_ROWS], columns with the padding around the image. */
typedef struct {
    int32_t *words;
    uint32_t columns;   /* that windows reach */
    uint32_t pair_step; /* words */
    uint32_t pairs;
} rows_t;

bool acs_is_window(const acs_conv_t *layer)
{
    return layer->kernel.height == KERNEL && layer->kernel.width == KERNEL && layer->dilation.height == 1 &&
           layer->dilation.width == 1 && layer->stride.height == layer->stride.width &&
           layer->stride.width <= 2 && layer->output.width >= ACS_TILE_PIXELS;
}

/* Words of image row `at` (below 0 and from the height on: padding) into row `slot` of the window. */
static void expand_row(const acs_job_t *job, const rows_t *rows, int32_t at, uint32_t slot)
{
    const acs_conv_t *const layer = job->layer;
    const uint32_t channels = job->source.channels;
    if (at < 0 || at >= layer->input.height) {
        for (uint32_t i = 0; i < rows->pairs * rows->columns; i++) {
            rows->words[i * ACS_WINDOW_ROWS + slot] = 0;
        }
        return;
    }
    const uint32_t left = layer->padding.width;
    const uint32_t reached = rows->columns - left;
    const uint32_t pixels = reached < layer->input.width ? reached : layer->input.width;
    const uint32_t image_bytes = acs_image_bytes(layer->input, channels);
    const uint32_t row_bytes = layer->input.width * channels;
    const uint16_t count = acs_list_count(job->source.active, job->source.groups);
    acs_stretch_t stretch = {0, 0, 0};
    for (uint16_t i = 0; i < count; i++) {
        stretch = acs_next_stretch(&job->source, i, &stretch);
        acs_expand_row(&job->source, &stretch, layer->input_zero_point, pixels,
                       job->source.images + stretch.group * image_bytes + (uint32_t)at * row_bytes,
                       rows->words + stretch.pair * rows->pair_step + left * ACS_WINDOW_ROWS + slot,
                       rows->pair_step);
    }
}

/* Stride 1 keeps the lower two rows, stride 2 the third one. */
static void roll(const rows_t *rows, uint32_t stride)
{
    int32_t *row = rows->words;
    int32_t *const end = row + rows->pairs * rows->pair_step;
    if (stride == 1) {
        for (; row + ACS_WINDOW_ROWS < end; row += 2 * ACS_WINDOW_ROWS) {
            memcpy(row, row + 2, 2 * sizeof *row);
            memcpy(row + ACS_WINDOW_ROWS, row + ACS_WINDOW_ROWS + 2, 2 * sizeof *row);
        }
        if (row < end) {
            memcpy(row, row + 2, 2 * sizeof *row);
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
static bool begin(const acs_job_t *job, uint32_t pair_bytes, acs_scratch_t *scratch, acs_tile_t *tile, rows_t *rows)
{
    const uint16_t count = acs_list_count(job->source.active, job->source.groups);
    acs_run_t *const runs = take(scratch, (count > 0 ? count : 1u) * (uint32_t)sizeof *runs);
    if (runs == NULL) {
        return false;
    }
    tile->runs = runs;
    tile->end = runs + acs_find_runs(&job->source, pair_bytes, runs, &rows->pairs);
    rows->pair_step = rows->columns * ACS_WINDOW_ROWS;
    const uint32_t bytes = (uint32_t)sizeof *rows->words * rows->pairs * rows->pair_step;
    rows->words = take(scratch, bytes);
    if (rows->words == NULL) {
        return false;
    }
    memset(rows->words, 0, bytes);
    return true;
}

bool acs_conv_window(const acs_job_t *job)
{
    static acs_tile_function_t *const functions[2][2] = {
        {acs_tile_window_1_paired, acs_tile_window_1_wide},
        {acs_tile_window_2_paired, acs_tile_window_2_wide},
    };
    const acs_conv_t *const layer = job->layer;
    const uint32_t stride = layer->stride.width;
    const uint32_t width = layer->output.width;
    acs_scratch_t scratch = job->scratch;
    rows_t rows = {.columns = (width - 1) * stride + KERNEL};
    acs_strip_t strip = {
        .function = functions[stride - 1][layer->form == ACS_WIDE],
        .odd = width % ACS_TILE_PIXELS ? (width - ACS_TILE_PIXELS) * stride * ACS_WINDOW_ROWS : 0u,
        .pixels = width,
    };
    if (!begin(job, 4 * acs_pair_words(layer), &scratch, &strip.tile, &rows)) {
        return false;
    }
    if (!acs_writes_in_place(layer)) {
        strip.row = take(&scratch, ACS_QUAD * width);
        if (strip.row == NULL) {
            return false;
        }
    }
    strip.tile.words = rows.words;
    strip.tile.tiles = width / ACS_TILE_PIXELS;
    strip.tile.pair_step = 4 * rows.pair_step;
    const uint32_t served = stride == 1 ? ACS_WINDOW_ROWS - KERNEL + 1 : 1u; /* output rows */
    for (uint32_t y = 0; y < layer->output.height; y += served) {
        const uint32_t left = layer->output.height - y;
        strip.rows = left < served ? left : served;
        strip.pixel = y * width;
        move_to(job, &rows, y, strip.rows + KERNEL - 1);
        acs_compute_quads(job, &strip);
    }
    return true;
}

bool acs_conv_winograd(const acs_job_t *job)
{
    const acs_conv_t *const layer = job->layer;
    const uint32_t width = layer->output.width;
    const uint32_t tiles = width / 2;
    const uint32_t twos = (tiles + 1) / 2;
    const uint32_t pair_words = ACS_WINOGRAD_POINTS * ACS_TILE_PIXELS;
    acs_scratch_t scratch = job->scratch;
    rows_t rows = {.columns = 4 * twos + 2};
    acs_strip_t strip = {.function = acs_winograd_quad, .rows = 1, .pixels = width};
    if (!begin(job, 4 * ACS_QUAD, &scratch, &strip.tile, &rows)) {
        return false;
    }
    strip.tile.sums = take(&scratch, 4 * ACS_WINOGRAD_SUMS);
    int32_t *const transformed = take(&scratch, 4 * twos * rows.pairs * pair_words);
    if (strip.tile.sums == NULL || transformed == NULL) {
        return false;
    }
    strip.tile.words = transformed;
    strip.tile.tiles = tiles;
    strip.tile.pair_step = 4 * rows.pairs * pair_words;
    strip.tile.point_bytes = 4 * ACS_QUAD * acs_pairs(&job->source);
    strip.tile.row_step = width * acs_output_step(layer);
    for (uint32_t y = 0; y < layer->output.height; y += 2) {
        move_to(job, &rows, y, ACS_WINDOW_ROWS);
        for (uint32_t pair = 0; pair < rows.pairs; pair++) {
            acs_winograd_input(rows.words + pair * rows.pair_step, transformed + pair * pair_words, twos,
                               strip.tile.pair_step);
        }
        strip.pixel = y * width;
        acs_compute_quads(job, &strip);
    }
    return true;
}
