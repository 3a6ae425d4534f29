/* SPDX-License-Identifier: Apache-2.0 */
/* acs_dsp_window.c: 3x3 convolutions over a rolling window of expanded rows. */
#include "acs_dsp.h"

#include "acs_portable.h"

#define KERNEL 3u

/* The window in memory: [active pair][column][height], columns with the padding around the image. */
typedef struct {
    int32_t *words;
    uint32_t height;    /* ACS_WINDOW_ROWS(stride) */
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

/* Row `slot` of the window becomes padding. */
static void clear_row(const rows_t *rows, uint32_t slot)
{
    int32_t *word = rows->words + slot;
    for (const int32_t *const end = word + rows->pairs * rows->pair_step; word < end; word += rows->height) {
        *word = 0;
    }
}

/* Words of the image's rows from `at` on into the rows of the window from `slot` up to `end`. */
static void expand_rows(const acs_job_t *job, const rows_t *rows, uint32_t at, uint32_t slot, uint32_t end)
{
    const acs_conv_t *const layer = job->layer;
    const uint32_t channels = job->source.channels;
    const uint32_t left = layer->padding.width;
    const uint32_t reached = rows->columns - left;
    const uint32_t pixels = reached < layer->input.width ? reached : layer->input.width;
    const uint32_t image_bytes = acs_image_bytes(layer->input, channels);
    const uint32_t row_bytes = layer->input.width * channels;
    const uint16_t count = acs_list_count(job->source.active, job->source.groups);
    acs_stretch_t stretch = {0, 0, 0};
    for (uint16_t i = 0; i < count; i++) {
        stretch = acs_next_stretch(&job->source, i, &stretch);
        const int8_t *row = job->source.images + stretch.group * image_bytes + at * row_bytes;
        int32_t *const words = rows->words + stretch.pair * rows->pair_step + left * rows->height;
        for (uint32_t s = slot; s < end; s++, row += row_bytes) {
            acs_expand_row(&job->source, &stretch, layer->input_zero_point, pixels, row, words + s, rows->height,
                           rows->pair_step);
        }
    }
}

/* The rows that two windows share move to the top: two of stride 1, one of stride 2. */
static void roll(const rows_t *rows, uint32_t stride)
{
    int32_t *row = rows->words;
    if (stride == 1) {
        acs_roll(row, rows->pairs * rows->columns);
        return;
    }
    for (const int32_t *const end = row + rows->pairs * rows->pair_step; row < end; row += ACS_WINDOW_ROWS(2)) {
        row[0] = row[4];
    }
}

/* Moves the window down to output row y, for so many rows of output: image rows that it has not yet are expanded. The
 * window of y = 0 is empty: the padding above the image is there. */
static void move_to(const acs_job_t *job, const rows_t *rows, uint32_t y, uint32_t served)
{
    const acs_conv_t *const layer = job->layer;
    const uint32_t stride = layer->stride.height;
    const uint32_t height = (served - 1) * stride + KERNEL;
    const int32_t top = (int32_t)(y * stride) - layer->padding.height; /* image row in slot 0 */
    const int32_t below = layer->input.height - top;                   /* slot of the first row below the image */
    uint32_t slot = 0;
    if (y > 0) {
        roll(rows, stride);
        slot = rows->height - ACS_SERVED_ROWS * stride;
    }
    for (; slot < height && top + (int32_t)slot < 0; slot++) {
        if (y > 0) {
            clear_row(rows, slot);
        }
    }
    const uint32_t end = below < (int32_t)height ? (below > (int32_t)slot ? (uint32_t)below : slot) : height;
    if (slot < end) {
        expand_rows(job, rows, (uint32_t)(top + (int32_t)slot), slot, end);
    }
    for (slot = end; slot < height; slot++) {
        clear_row(rows, slot);
    }
}

/* What a strip needs from the scratch: runs, an empty window. pair_bytes: weights of a pair, of one point.
 * false: the scratch is too small. */
static bool begin(const acs_job_t *job, uint32_t pair_bytes, acs_scratch_t *scratch, acs_strip_t *strip, rows_t *rows)
{
    const uint16_t count = acs_list_count(job->source.active, job->source.groups);
    acs_run_t *const runs = acs_take_words(scratch, (count > 0 ? count : 1u) * (uint32_t)sizeof *runs);
    if (runs == NULL) {
        return false;
    }
    strip->runs = runs;
    strip->end = runs + acs_find_runs(&job->source, pair_bytes, runs, &rows->pairs);
    rows->pair_step = rows->columns * rows->height;
    const uint32_t words = rows->pairs * rows->pair_step;
    rows->words = acs_take_words(scratch, (uint32_t)sizeof *rows->words * words);
    if (rows->words == NULL) {
        return false;
    }
    acs_clear_words(rows->words, words);
    return true;
}

/* Room for what is added to a residual. false: the scratch is too small. */
static bool take_band(const acs_conv_t *layer, uint32_t rows, acs_scratch_t *scratch, acs_strip_t *strip)
{
    const uint32_t bytes = acs_band_bytes(layer, rows * layer->output.width);
    if (bytes > 0) {
        strip->band = acs_take_words(scratch, bytes);
    }
    return bytes == 0 || strip->band != NULL;
}

/* What computes the tiles of a layer, or NULL. */
static acs_tile_function_t *function_for(const acs_conv_t *layer)
{
    const bool wide = layer->form == ACS_WIDE;
    if (layer->stride.width == 1) {
        return wide ? ACS_IF(ACS_USES_WINDOW_1_WIDE, acs_tile_window_1_wide)
                    : ACS_IF(ACS_USES_WINDOW_1_PAIRED, acs_tile_window_1_paired);
    }
    return wide ? ACS_IF(ACS_USES_WINDOW_2_WIDE, acs_tile_window_2_wide)
                : ACS_IF(ACS_USES_WINDOW_2_PAIRED, acs_tile_window_2_paired);
}

bool acs_conv_window(const acs_job_t *job)
{
    const acs_conv_t *const layer = job->layer;
    const uint32_t stride = layer->stride.width;
    const uint32_t width = layer->output.width;
    const uint32_t pair_bytes = 4 * acs_pair_words(layer);
    acs_scratch_t scratch = job->scratch;
    rows_t rows = {.height = ACS_WINDOW_ROWS(stride), .columns = (width - 1) * stride + KERNEL};
    acs_strip_t strip = {
        .function = function_for(layer),
        .odd = width % ACS_TILE_PIXELS ? (width - ACS_TILE_PIXELS) * stride * ACS_WINDOW_ROWS(stride) : 0u,
        .row_words = stride,
        .points = 1,
        .point_bytes = pair_bytes * acs_pairs(&job->source),
    };
    if (strip.function == NULL || !begin(job, pair_bytes, &scratch, &strip, &rows) ||
        !take_band(layer, ACS_SERVED_ROWS, &scratch, &strip)) {
        return false;
    }
    strip.tile.point_bytes = rows.pairs * pair_bytes;
    strip.weights = acs_take_words(&scratch, strip.tile.point_bytes);
    if (strip.weights == NULL) {
        return false;
    }
    if (!acs_writes_in_place(layer)) {
        strip.row = acs_take_words(&scratch, ACS_QUAD * width);
        if (strip.row == NULL) {
            return false;
        }
    }
    strip.tile.words = rows.words;
    strip.tile.tiles = width / ACS_TILE_PIXELS;
    strip.tile.pair_step = 4 * rows.pair_step;
    const bool together = strip.odd == 0 && strip.row == NULL; /* rows whose outputs follow each other */
    for (uint32_t y = 0; y < layer->output.height; y += ACS_SERVED_ROWS) {
        const uint32_t left = layer->output.height - y;
        const uint32_t served = left < ACS_SERVED_ROWS ? left : ACS_SERVED_ROWS;
        strip.tile.rows = together ? served : 1u;
        strip.rows = together ? 1u : served;
        strip.pixel = y * width;
        strip.pixels = strip.tile.rows * width;
        strip.outputs = served * width;
        move_to(job, &rows, y, served);
        acs_compute_quads(job, &strip);
    }
    return true;
}

/* Two tiles by two from which on a quad's weights are quicker copied than read in flash every time. */
#define MANY_TWOS 3u

/* What Winograd's way needs besides runs and window. */
typedef struct {
    int32_t *transformed; /* [strip][two tiles][active pair][16 points][2 tiles] */
    uint32_t twos;        /* of a strip, which is two rows of output */
    uint32_t words;       /* of a strip */
    uint32_t strips;      /* that are computed with the same copy of a quad's weights */
} strips_t;

/* Takes as many strips as there is room for, with a quad's weights where they are copied: where that pays, and where
 * pairs in the middle are closed. false: there is no room for one. */
static bool take_strips(const acs_job_t *job, acs_scratch_t *scratch, strips_t *strips, acs_strip_t *strip)
{
    const acs_conv_t *const layer = job->layer;
    const bool in_one_run = strip->runs->begin == 0 && strip->end == strip->runs + 1;
    const uint32_t copy_bytes = ACS_WINOGRAD_POINTS * strip->tile.point_bytes;
    strip->tile.sums = acs_take_words(scratch, 4 * ACS_WINOGRAD_SUMS);
    for (uint32_t n = layer->output.height / 2; strip->tile.sums != NULL && n > 0; n--) {
        const bool copying = n * strips->twos >= MANY_TWOS || !in_one_run;
        const uint32_t band_bytes = acs_band_bytes(layer, n * strip->pixels);
        const uint32_t transformed_bytes = 4 * n * strips->words;
        if (scratch->bytes >= transformed_bytes + band_bytes + (copying ? copy_bytes : 0u)) {
            strips->strips = n;
            strips->transformed = acs_take_words(scratch, transformed_bytes);
            strip->band = band_bytes > 0 ? acs_take_words(scratch, band_bytes) : NULL;
            strip->weights = copying ? acs_take_words(scratch, copy_bytes) : NULL;
            strip->tile.point_bytes = copying ? strip->tile.point_bytes : strip->point_bytes;
            return true;
        }
    }
    return false;
}

bool acs_conv_winograd(const acs_job_t *job)
{
    const acs_conv_t *const layer = job->layer;
    const uint32_t width = layer->output.width;
    const uint32_t pair_words = ACS_WINOGRAD_POINTS * ACS_TILE_PIXELS;
    const uint32_t pair_bytes = 4 * ACS_QUAD;
    acs_scratch_t scratch = job->scratch;
    strips_t strips = {.twos = (width / 2 + 1) / 2};
    rows_t rows = {.height = ACS_WINDOW_ROWS(1), .columns = 4 * strips.twos + 2};
    acs_strip_t strip = {
        .function = acs_winograd_quad,
        .pixels = 2 * width,
        .points = ACS_WINOGRAD_POINTS,
        .point_bytes = pair_bytes * acs_pairs(&job->source),
    };
    if (!begin(job, pair_bytes, &scratch, &strip, &rows)) {
        return false;
    }
    strips.words = strips.twos * rows.pairs * pair_words;
    strip.row_words = strips.words;
    strip.tile.point_bytes = pair_bytes * rows.pairs;
    if (!take_strips(job, &scratch, &strips, &strip)) {
        return false;
    }
    strip.tile.words = strips.transformed;
    strip.tile.tiles = width / 2;
    strip.tile.pair_step = 4 * rows.pairs * pair_words;
    strip.tile.row_step = width * acs_output_step(layer);
    for (uint32_t y = 0; y < layer->output.height; y += 2 * strip.rows) {
        const uint32_t left = (layer->output.height - y) / 2;
        strip.rows = left < strips.strips ? left : strips.strips;
        for (uint32_t s = 0; s < strip.rows; s++) {
            int32_t *to = strips.transformed + s * strips.words;
            move_to(job, &rows, y + 2 * s, ACS_SERVED_ROWS);
            for (uint32_t pair = 0; pair < rows.pairs; pair++, to += pair_words) {
                acs_winograd_input(rows.words + pair * rows.pair_step, to, strips.twos, strip.tile.pair_step);
            }
        }
        strip.pixel = y * width;
        strip.outputs = strip.rows * strip.pixels;
        acs_compute_quads(job, &strip);
    }
    return true;
}
