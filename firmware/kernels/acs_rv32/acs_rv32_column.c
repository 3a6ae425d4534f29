/* SPDX-License-Identifier: Apache-2.0 */
/* acs_rv32_column.c: convolutions of any shape: what lies under the windows of a few tiles, side by side. */
#include "acs_rv32.h"

#include <string.h>

/* Numbers of a tile: [active channel][tap][pixel]; of a single pixel: [active channel][tap]. */
typedef struct {
    int16_t *numbers;
    uint32_t taps, channels;
    uint32_t pixels; /* of a tile */
    uint32_t tile_numbers;
} columns_t;

/* The numbers under one tap of a window, for every active channel. at: the first channel's. */
static void expand_tap(const acs_job_t *job, const columns_t *columns, int32_t y, int32_t x, int16_t *at)
{
    const acs_conv_t *const layer = job->layer;
    const uint32_t channels = job->source.channels;
    const uint32_t channel_step = columns->taps * columns->pixels;
    if (y < 0 || x < 0 || y >= layer->input.height || x >= layer->input.width) {
        for (uint32_t c = 0; c < columns->channels; c++) {
            at[c * channel_step] = 0;
        }
        return;
    }
    const int8_t *const pixel = job->source.images + ((uint32_t)y * layer->input.width + (uint32_t)x) * channels;
    const uint32_t image_bytes = acs_image_bytes(layer->input, channels);
    const uint16_t count = acs_list_count(job->source.active, job->source.groups);
    for (uint16_t i = 0; i < count; i++, at += channels * channel_step) {
        const uint32_t group = acs_list_at(job->source.active, job->source.groups, i);
        acs_rv32_expand(channels, layer->input_zero_point, 1, pixel + group * image_bytes, channels, at, 0,
                        channel_step);
    }
}

/* All taps of an output pixel. */
static void expand_pixel(const acs_job_t *job, const columns_t *columns, uint32_t pixel, int16_t *at)
{
    const acs_conv_t *const layer = job->layer;
    const uint32_t row = pixel / layer->output.width;
    const uint32_t column = pixel % layer->output.width;
    const int32_t top = (int32_t)(row * layer->stride.height) - layer->padding.height;
    const int32_t left = (int32_t)(column * layer->stride.width) - layer->padding.width;
    for (int32_t y = 0; y < layer->kernel.height; y++) {
        for (int32_t x = 0; x < layer->kernel.width; x++, at += columns->pixels) {
            expand_tap(job, columns, top + y * layer->dilation.height, left + x * layer->dilation.width, at);
        }
    }
}

/* Whether an output pixel reads just the input pixel of the same index. */
static bool is_flat(const acs_conv_t *layer)
{
    return layer->kernel.height * layer->kernel.width == 1 && layer->stride.height * layer->stride.width == 1 &&
           layer->padding.height + layer->padding.width == 0 && layer->output.height <= layer->input.height &&
           layer->output.width == layer->input.width;
}

/* `pixels` output pixels from the first one on. */
static void expand_pixels(const acs_job_t *job, const columns_t *columns, uint32_t first, uint32_t pixels)
{
    const uint32_t each = columns->pixels;
    if (!is_flat(job->layer) || pixels % each != 0) {
        for (uint32_t p = 0; p < pixels; p++) {
            expand_pixel(job, columns, first + p, columns->numbers + p / each * columns->tile_numbers + p % each);
        }
        return;
    }
    const uint32_t channels = job->source.channels;
    const uint32_t image_bytes = acs_image_bytes(job->layer->input, channels);
    const uint16_t count = acs_list_count(job->source.active, job->source.groups);
    for (uint16_t i = 0; i < count; i++) {
        const uint32_t group = acs_list_at(job->source.active, job->source.groups, i);
        const int8_t *input = job->source.images + group * image_bytes + first * channels;
        int16_t *to = columns->numbers + i * channels * each;
        for (uint32_t p = 0; p < pixels; p += each, input += each * channels, to += columns->tile_numbers) {
            acs_rv32_expand(channels, job->layer->input_zero_point, each, input, channels, to, 1, each);
        }
    }
}

static void compute_column(const acs_tile_t *row)
{
    const acs_rv32_tile_t tile = acs_rv32_tile(row);
    acs_rv32_column(&tile);
}

static void compute_line(const acs_tile_t *row)
{
    const acs_rv32_tile_t tile = acs_rv32_tile(row);
    acs_rv32_line(&tile);
}

bool acs_conv_column(const acs_job_t *job)
{
    const acs_conv_t *const layer = job->layer;
    const uint32_t pixels = (uint32_t)layer->output.height * layer->output.width;
    const uint16_t count = acs_list_count(job->source.active, job->source.groups);
    /* Scratch: the runs, for each tile a row of output where a quad is not written in place, what
     * is added to a residual, and its numbers: as many tiles as fit. */
    acs_run_t *const runs = job->scratch.data;
    const uint32_t run_bytes = (count > 0 ? count : 1u) * (uint32_t)sizeof *runs;
    if (job->scratch.bytes < run_bytes) {
        return false;
    }
    columns_t columns = {
        .taps = (uint32_t)layer->kernel.height * layer->kernel.width,
        .channels = acs_rv32_channels(&job->source),
        .pixels = pixels == 1 ? 1u : ACS_RV32_PIXELS,
    };
    const uint32_t found = acs_rv32_find_runs(&job->source, ACS_QUAD * columns.taps, runs);
    columns.tile_numbers = columns.channels * columns.taps * columns.pixels;
    const bool in_place = acs_writes_in_place(layer) && (pixels == 1 || pixels >= ACS_RV32_PIXELS);
    const uint32_t row_bytes = in_place ? 0u : ACS_QUAD * columns.pixels;
    const uint32_t band_bytes = acs_band_bytes(layer, columns.pixels);
    const uint32_t tile_bytes = (uint32_t)sizeof *columns.numbers * columns.tile_numbers + row_bytes + band_bytes;
    const uint32_t room = (job->scratch.bytes - run_bytes) / tile_bytes;
    const uint32_t all = (pixels + columns.pixels - 1) / columns.pixels;
    const uint32_t tiles = room < all ? room : all;
    if (tiles == 0) {
        return false;
    }
    int8_t *const row = (int8_t *)(runs + run_bytes / sizeof *runs);
    int8_t *const band = row + tiles * row_bytes;
    columns.numbers = (int16_t *)(void *)(band + tiles * band_bytes);
    if (count == 0 || pixels < columns.pixels) { /* else all of it is written */
        memset(columns.numbers, 0, sizeof *columns.numbers * tiles * columns.tile_numbers);
    }

    acs_strip_t strip = {
        .function = pixels == 1 ? compute_line : compute_column,
        .tile = {.words = (const void *)columns.numbers, .runs = runs, .end = runs + found},
        .rows = 1,
        .row = in_place ? NULL : row,
        .band = layer->residual == NULL ? NULL : band,
        .runs = runs,
        .end = runs + found,
    };
    for (uint32_t done = 0; done < pixels;) {
        uint32_t now = tiles * columns.pixels < pixels - done ? tiles * columns.pixels : pixels - done;
        if (now >= columns.pixels) {
            now -= now % columns.pixels;
        } else if (done > 0 && strip.band == NULL) { /* pixels before them come again: tiles are full */
            done -= columns.pixels - now;
            now = columns.pixels;
        }
        expand_pixels(job, &columns, done, now);
        strip.tile.tiles = (now + columns.pixels - 1) / columns.pixels;
        strip.pixel = done;
        strip.pixels = strip.outputs = now;
        acs_compute_quads(job, &strip);
        done += now;
    }
    return true;
}
