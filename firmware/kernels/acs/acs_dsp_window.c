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

bool acs_conv_window(const acs_job_t *job)
{
    static acs_tile_function_t *const functions[2][2] = {
        {acs_tile_window_1_paired, acs_tile_window_1_wide},
        {acs_tile_window_2_paired, acs_tile_window_2_wide},
    };
    const acs_conv_t *const layer = job->layer;
    const uint32_t stride = layer->stride.width;
    const uint32_t width = layer->output.width;
    const uint16_t count = acs_list_count(job->source.active, job->source.groups);
    /* Scratch: the runs, a row of output where a quad is not written in place, the window. */
    acs_run_t *const runs = job->scratch.data;
    const uint32_t run_bytes = (count > 0 ? count : 1u) * (uint32_t)sizeof *runs;
    const bool in_place = acs_writes_in_place(layer);
    const uint32_t row_bytes = in_place ? 0u : ACS_QUAD * width;
    if (job->scratch.bytes < run_bytes) {
        return false;
    }
    rows_t rows;
    const uint32_t found = acs_find_runs(&job->source, 4 * acs_pair_words(layer), runs, &rows.pairs);
    rows.columns = (width - 1) * stride + KERNEL;
    rows.pair_step = rows.columns * ACS_WINDOW_ROWS;
    const uint32_t window_bytes = 4 * rows.pairs * rows.pair_step;
    if (job->scratch.bytes < run_bytes + row_bytes + window_bytes) {
        return false;
    }
    int8_t *const row = (int8_t *)(runs + run_bytes / sizeof *runs);
    rows.words = (int32_t *)(void *)(row + row_bytes);
    memset(rows.words, 0, window_bytes);

    acs_strip_t strip = {
        .function = functions[stride - 1][layer->form == ACS_WIDE],
        .tile = {.words = rows.words,
                 .runs = runs,
                 .end = runs + found,
                 .tiles = width / ACS_TILE_PIXELS,
                 .pair_step = 4 * rows.pair_step},
        .odd = width % ACS_TILE_PIXELS ? (width - ACS_TILE_PIXELS) * stride * ACS_WINDOW_ROWS : 0u,
        .pixels = width,
        .row = in_place ? NULL : row,
    };
    /* Output rows that one window serves, image rows that it is tall, and those that it keeps when it moves. */
    const uint32_t served = stride == 1 ? 2u : 1u;
    const uint32_t kept = KERNEL - stride;
    uint32_t have = 0;
    int32_t next = -(int32_t)layer->padding.height;
    for (uint32_t y = 0; y < layer->output.height; y += served) {
        const uint32_t left = layer->output.height - y;
        strip.rows = left < served ? left : served;
        strip.pixel = y * width;
        if (have > 0) {
            roll(&rows, stride);
            have = kept;
        }
        for (; have < strip.rows + KERNEL - 1; have++, next++) {
            expand_row(job, &rows, next, have);
        }
        acs_compute_quads(job, &strip);
    }
    return true;
}
