/* SPDX-License-Identifier: Apache-2.0 */
/* acs_dsp_column.c: convolutions of any shape: what lies under the windows of a few tiles, side by side. */
#include "acs_dsp.h"

#include "acs_portable.h"

#include <string.h>

/* Words of a tile: [active pair][tap][pixel]. */
typedef struct {
    int32_t *words;
    uint32_t taps, pairs;
    uint32_t tile_words;
} columns_t;

/* The words under one tap of a window, for every active pair. at: the first pair's. */
static void expand_tap(const acs_job_t *job, const columns_t *columns, int32_t y, int32_t x, int32_t *at)
{
    const acs_conv_t *const layer = job->layer;
    const uint32_t channels = job->source.channels;
    const uint32_t pair_step = columns->taps * ACS_TILE_PIXELS;
    if (y < 0 || x < 0 || y >= layer->input.height || x >= layer->input.width) {
        for (uint32_t p = 0; p < columns->pairs; p++) {
            at[p * pair_step] = 0;
        }
        return;
    }
    const int8_t *const pixel = job->source.images + ((uint32_t)y * layer->input.width + (uint32_t)x) * channels;
    const uint32_t image_bytes = acs_image_bytes(layer->input, channels);
    const uint16_t count = acs_list_count(job->source.active, job->source.groups);
    acs_stretch_t stretch = {0, 0, 0};
    for (uint16_t i = 0; i < count; i++) {
        stretch = acs_next_stretch(&job->source, i, &stretch);
        acs_expand_pixel(&job->source, &stretch, layer->input_zero_point, pixel + stretch.group * image_bytes,
                         at + stretch.pair * pair_step, pair_step);
    }
}

/* All taps of an output pixel. */
static void expand_pixel(const acs_job_t *job, const columns_t *columns, uint32_t pixel, int32_t *at)
{
    const acs_conv_t *const layer = job->layer;
    const uint32_t row = pixel / layer->output.width;
    const uint32_t column = pixel % layer->output.width;
    const int32_t top = (int32_t)(row * layer->stride.height) - layer->padding.height;
    const int32_t left = (int32_t)(column * layer->stride.width) - layer->padding.width;
    for (int32_t y = 0; y < layer->kernel.height; y++) {
        for (int32_t x = 0; x < layer->kernel.width; x++, at += ACS_TILE_PIXELS) {
            expand_tap(job, columns, top + y * layer->dilation.height, left + x * layer->dilation.width, at);
        }
    }
}

/* Whether an output pixel reads just the input pixel of the same index, in fours. */
static bool is_flat(const acs_job_t *job)
{
    const acs_conv_t *const layer = job->layer;
    return layer->kernel.height * layer->kernel.width == 1 && layer->stride.height * layer->stride.width == 1 &&
           layer->padding.height + layer->padding.width == 0 && layer->output.height <= layer->input.height &&
           layer->output.width == layer->input.width && acs_fours(&job->source);
}

/* `pixels` output pixels from the first one on. */
static void expand_pixels(const acs_job_t *job, const columns_t *columns, uint32_t first, uint32_t pixels)
{
    if (!is_flat(job) || pixels % ACS_TILE_PIXELS != 0) {
        for (uint32_t p = 0; p < pixels; p++) {
            expand_pixel(job, columns, first + p,
                         columns->words + p / ACS_TILE_PIXELS * columns->tile_words + p % ACS_TILE_PIXELS);
        }
        return;
    }
    const uint32_t channels = job->source.channels;
    const uint32_t image_bytes = acs_image_bytes(job->layer->input, channels);
    const uint16_t count = acs_list_count(job->source.active, job->source.groups);
    acs_stretch_t stretch = {0, 0, 0};
    for (uint16_t i = 0; i < count; i++) {
        stretch = acs_next_stretch(&job->source, i, &stretch);
        acs_expand_tiles(&job->source, &stretch, job->layer->input_zero_point, pixels,
                         job->source.images + stretch.group * image_bytes + first * channels, columns->words,
                         columns->tile_words);
    }
}

bool acs_conv_column(const acs_job_t *job)
{
    const acs_conv_t *const layer = job->layer;
    const uint32_t pixels = (uint32_t)layer->output.height * layer->output.width;
    const uint16_t count = acs_list_count(job->source.active, job->source.groups);
    /* Scratch: the runs, a row of output where a quad is not written in place, as many tiles as fit. */
    acs_run_t *const runs = job->scratch.data;
    const uint32_t run_bytes = (count > 0 ? count : 1u) * (uint32_t)sizeof *runs;
    if (job->scratch.bytes < run_bytes) {
        return false;
    }
    columns_t columns = {.taps = (uint32_t)layer->kernel.height * layer->kernel.width};
    const uint32_t found = acs_find_runs(&job->source, 4 * acs_pair_words(layer), runs, &columns.pairs);
    columns.tile_words = columns.pairs * columns.taps * ACS_TILE_PIXELS;
    const bool in_place = acs_writes_in_place(layer) && pixels > 1;
    const uint32_t tile_bytes = 4 * columns.tile_words + (in_place ? 0u : ACS_QUAD * ACS_TILE_PIXELS);
    const uint32_t room = (job->scratch.bytes - run_bytes) / tile_bytes;
    const uint32_t all = (pixels + 1) / ACS_TILE_PIXELS;
    const uint32_t tiles = room < all ? room : all;
    if (tiles == 0) {
        return false;
    }
    int8_t *const row = (int8_t *)(runs + run_bytes / sizeof *runs);
    columns.words = (int32_t *)(void *)(row + (in_place ? 0u : tiles * ACS_QUAD * ACS_TILE_PIXELS));
    memset(columns.words, 0, 4 * tiles * columns.tile_words);

    acs_strip_t strip = {
        .function = layer->form == ACS_WIDE ? acs_tile_column_wide : acs_tile_column_paired,
        .tile = {.words = columns.words, .runs = runs, .end = runs + found},
        .rows = 1,
        .row = in_place ? NULL : row,
    };
    for (uint32_t done = 0; done < pixels;) {
        uint32_t now = tiles * ACS_TILE_PIXELS < pixels - done ? tiles * ACS_TILE_PIXELS : pixels - done;
        if (now % ACS_TILE_PIXELS != 0 && now > 1) {
            now--;
        } else if (now == 1 && done > 0) { /* the pixel before it comes again, so that no tile is half empty */
            done--;
            now++;
        }
        expand_pixels(job, &columns, done, now);
        strip.tile.tiles = (now + 1) / ACS_TILE_PIXELS;
        strip.pixel = done;
        strip.pixels = now;
        acs_compute_quads(job, &strip);
        done += now;
    }
    return true;
}
