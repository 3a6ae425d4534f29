/* SPDX-License-Identifier: Apache-2.0 */
/* acs_dsp_column.c: convolutions of any shape: what lies under the windows of a few tiles, side by side. */
#include "acs_dsp.h"
#include "acs_dsp_math.h"

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

/* Whether every output pixel reads just one input pixel, in fours. */
static bool is_single(const acs_job_t *job)
{
    const acs_conv_t *const layer = job->layer;
    return layer->kernel.height * layer->kernel.width == 1 && layer->padding.height + layer->padding.width == 0 &&
           (layer->output.height - 1u) * layer->stride.height < layer->input.height &&
           (layer->output.width - 1u) * layer->stride.width < layer->input.width && acs_fours(&job->source);
}

/* A walk over the first image from what lies under an output pixel on. */
static acs_walk_t walk_from(const acs_job_t *job, uint32_t pixel)
{
    const acs_conv_t *const layer = job->layer;
    const uint32_t row = pixel / layer->output.width;
    const uint32_t column = pixel % layer->output.width;
    const uint32_t step = layer->stride.width * job->source.channels;
    const uint32_t row_bytes = (uint32_t)layer->stride.height * layer->input.width * job->source.channels;
    return (acs_walk_t){
        .pixel = job->source.images + row * row_bytes + column * step,
        .step = step,
        .to_next_row = (int32_t)row_bytes - (int32_t)(layer->output.width * step),
        .width = layer->output.width,
        .left = layer->output.width - column,
    };
}

/* `pixels` output pixels from the first one on. */
static void expand_pixels(const acs_job_t *job, const columns_t *columns, uint32_t first, uint32_t pixels)
{
    if (!is_single(job) || pixels % ACS_TILE_PIXELS != 0) {
        for (uint32_t p = 0; p < pixels; p++) {
            expand_pixel(job, columns, first + p,
                         columns->words + p / ACS_TILE_PIXELS * columns->tile_words + p % ACS_TILE_PIXELS);
        }
        return;
    }
    const uint32_t image_bytes = acs_image_bytes(job->layer->input, job->source.channels);
    const uint16_t count = acs_list_count(job->source.active, job->source.groups);
    const acs_walk_t walk = walk_from(job, first);
    acs_stretch_t stretch = {0, 0, 0};
    for (uint16_t i = 0; i < count; i++) {
        stretch = acs_next_stretch(&job->source, i, &stretch);
        acs_walk_t of_group = walk;
        of_group.pixel += stretch.group * image_bytes;
        acs_expand_tiles(&job->source, &stretch, job->layer->input_zero_point, pixels, of_group, columns->words,
                         columns->tile_words);
    }
}

/* A quad of a single pixel, as of a fully connected layer: a tile would compute a second one in vain. */
static inline void single(const acs_tile_t *tile, bool wide)
{
    const uint32_t tap_words = wide ? ACS_QUAD : ACS_QUAD / 2;
    const int32_t *word = tile->words;
    int32_t sums[ACS_QUAD];
    memcpy(sums, tile->finish, sizeof sums);
    for (const acs_run_t *run = tile->runs; run < tile->end; run++) {
        const int32_t *const end = tile->weights + run->end / 4;
        for (const int32_t *w = tile->weights + run->begin / 4; w < end; w += tap_words, word += ACS_TILE_PIXELS) {
            if (wide) {
                acs_add_tap_wide(w, *word, sums);
            } else {
                acs_add_tap_paired(w, *word, sums);
            }
        }
    }
    acs_write_quad(sums, tile->finish + ACS_QUAD, wide, tile->output);
}

static void single_paired(const acs_tile_t *tile)
{
    single(tile, false);
}

static void single_wide(const acs_tile_t *tile)
{
    single(tile, true);
}

/* What computes the tiles of so many output pixels, or NULL. */
static acs_tile_function_t *function_for(const acs_conv_t *layer, uint32_t pixels)
{
    const bool wide = layer->form == ACS_WIDE;
    if (pixels == 1) {
        return wide ? ACS_IF(ACS_USES_SINGLE_WIDE, single_wide) : ACS_IF(ACS_USES_SINGLE_PAIRED, single_paired);
    }
    return wide ? ACS_IF(ACS_USES_COLUMN_WIDE, acs_tile_column_wide)
                : ACS_IF(ACS_USES_COLUMN_PAIRED, acs_tile_column_paired);
}

/* Tiles from which on a quad's weights are quicker copied than read in flash every time. */
#define MANY_TILES 4u

/* Scratch: the runs; then a row of output for each tile where a quad is not written in place, what is added to a
 * residual, and as many tiles as fit; the weights of a quad, if they are to be copied. Returns the tiles, 0: too
 * little. */
static uint32_t take_tiles(const acs_job_t *job, acs_strip_t *strip, columns_t *columns, acs_run_t *whole)
{
    const acs_conv_t *const layer = job->layer;
    const uint32_t pixels = (uint32_t)layer->output.height * layer->output.width;
    const uint16_t count = acs_list_count(job->source.active, job->source.groups);
    const uint32_t pair_bytes = 4 * acs_pair_words(layer);
    acs_scratch_t scratch = job->scratch;
    acs_run_t *const runs = acs_take_words(&scratch, (count > 0 ? count : 1u) * (uint32_t)sizeof *runs);
    if (runs == NULL) {
        return 0;
    }
    strip->runs = runs;
    strip->end = runs + acs_find_runs(&job->source, pair_bytes, runs, &columns->pairs);
    columns->tile_words = columns->pairs * columns->taps * ACS_TILE_PIXELS;
    const bool in_place = acs_writes_in_place(layer);
    const uint32_t row_bytes = in_place ? 0u : ACS_QUAD * ACS_TILE_PIXELS;
    const uint32_t tile_bytes = 4 * columns->tile_words + row_bytes + acs_band_bytes(layer, ACS_TILE_PIXELS);
    const uint32_t all = (pixels + 1) / ACS_TILE_PIXELS;
    const uint32_t copied = columns->pairs * pair_bytes;
    strip->point_bytes = pair_bytes * acs_pairs(&job->source);
    strip->tile.point_bytes = copied;
    uint32_t room = scratch.bytes / tile_bytes;
    strip->tile.runs = strip->runs;
    strip->tile.end = strip->end;
    if (all >= MANY_TILES && scratch.bytes >= copied + MANY_TILES * tile_bytes) {
        room = (scratch.bytes - copied) / tile_bytes;
        *whole = (acs_run_t){0, copied};
        strip->tile.runs = whole;
        strip->tile.end = whole + 1;
        strip->weights = acs_take_words(&scratch, copied);
    }
    const uint32_t tiles = room < all ? room : all;
    strip->row = in_place ? NULL : acs_take_words(&scratch, tiles * row_bytes);
    const uint32_t band_bytes = tiles * acs_band_bytes(layer, ACS_TILE_PIXELS);
    strip->band = band_bytes == 0 ? NULL : acs_take_words(&scratch, band_bytes);
    columns->words = acs_take_words(&scratch, 4 * tiles * columns->tile_words);
    return tiles;
}

bool acs_conv_column(const acs_job_t *job)
{
    const acs_conv_t *const layer = job->layer;
    const uint32_t pixels = (uint32_t)layer->output.height * layer->output.width;
    columns_t columns = {.taps = (uint32_t)layer->kernel.height * layer->kernel.width};
    acs_run_t whole;
    acs_strip_t strip = {.function = function_for(layer, pixels), .rows = 1, .points = 1};
    const uint32_t tiles = take_tiles(job, &strip, &columns, &whole);
    if (tiles == 0 || strip.function == NULL) {
        return false;
    }
    memset(columns.words, 0, 4 * tiles * columns.tile_words);
    strip.tile.words = columns.words;
    for (uint32_t done = 0; done < pixels;) {
        uint32_t now = tiles * ACS_TILE_PIXELS < pixels - done ? tiles * ACS_TILE_PIXELS : pixels - done;
        if (now % ACS_TILE_PIXELS != 0 && now > 1) {
            now--;
        } else if (now == 1 && done > 0 && strip.band == NULL) { /* the pixel before it comes again: tiles are full */
            done--;
            now++;
        }
        expand_pixels(job, &columns, done, now);
        strip.tile.tiles = (now + 1) / ACS_TILE_PIXELS;
        strip.pixel = done;
        strip.pixels = strip.outputs = now;
        acs_compute_quads(job, &strip);
        done += now;
    }
    return true;
}
