/* SPDX-License-Identifier: Apache-2.0 */
/* acs_helium_conv.c: convolutions, source by source: what the tiles read is laid out, then they are computed. */
#include "acs_helium.h"

#include <string.h>

#define KINDS 9u /* of 3x3 functions */

/* What some output groups read, and those groups: of the list those from the from-th up to the upto-th. */
typedef struct {
    const acs_conv_t *layer;
    acs_helium_source_t source;
    const acs_list_t *outputs;
    uint16_t from, upto;
    int8_t *output; /* the whole tensor */
    acs_scratch_t scratch;
} job_t;

/* How a job is done. */
typedef struct {
    acs_helium_function_t *function;
    acs_helium_t tiles;  /* what is the same of all output groups and rows */
    acs_helium_units_t units;
    bool streams;        /* weights of several blocks: through tiles.blocks */
    uint32_t rows;       /* of a window */
    uint32_t pitch;      /* of a 3x3: bytes from a column to the next */
    uint32_t pixel_step; /* bytes from a pixel's window to the next one's */
    uint32_t block_step; /* bytes from a block to the next */
    uint32_t row_bytes;  /* of what is laid out */
    int8_t *laid_out;    /* [rows][row_bytes] */
    const int32_t *starts, *finish; /* of the layer's first pair */
    int8_t *band;        /* a row of output that is to be added, or NULL */
} way_t;

static uint32_t group_channels(const acs_conv_t *layer)
{
    return (uint32_t)layer->output.channels / layer->output_groups;
}

static uint32_t group_pairs(const acs_conv_t *layer)
{
    return (group_channels(layer) + 1) / ACS_HELIUM_PAIR;
}

/* Of a row of an output group. */
static uint32_t output_row_bytes(const acs_conv_t *layer)
{
    return layer->output.width * group_channels(layer);
}

/*
 * The active units, the tables for their weights and the sums to start from. vectors: of a window's row in a block.
 * false: the scratch is too small.
 */
static bool begin(job_t *job, way_t *way, uint32_t vectors)
{
    const acs_conv_t *const layer = job->layer;
    const acs_helium_source_t *const source = &job->source;
    const uint32_t channels = (uint32_t)source->groups * source->channels;
    const uint32_t blocks = (channels + ACS_HELIUM_VECTOR - 1) / ACS_HELIUM_VECTOR;
    const uint32_t unit = source->groups > 1 ? acs_helium_unit(source->channels) : ACS_HELIUM_VECTOR;
    const uint32_t sums = layer->output_groups * group_pairs(layer) * ACS_HELIUM_PAIR;
    const uint32_t words = acs_helium_table_words(unit);
    way->units.channels = unit;
    way->units.bytes = way->rows * vectors * ACS_HELIUM_PAIR * unit;
    way->units.offsets = acs_take(&job->scratch, blocks * ACS_HELIUM_VECTOR / unit * (uint32_t)sizeof(uint32_t));
    const int8_t **const table = acs_take(&job->scratch, (blocks * words + 1) * (uint32_t)sizeof *table);
    if (way->units.offsets == NULL || table == NULL) {
        return false;
    }
    acs_helium_find_units(source, &way->units);
    way->starts = layer->finish;
    way->finish = layer->finish + sums;
    if (source->groups > 1) {
        int32_t *const starts = acs_take(&job->scratch, sums * (uint32_t)sizeof *starts);
        if (starts == NULL) {
            return false;
        }
        acs_helium_start(layer, &way->units, sums, starts);
        way->starts = starts;
    }
    if (layer->residual != NULL) {
        way->band = acs_take(&job->scratch, output_row_bytes(layer));
        if (way->band == NULL) {
            return false;
        }
    }
    const uint32_t count = way->units.count * unit / ACS_HELIUM_VECTOR;
    memset(table, 0, (count * words + 1) * sizeof *table);
    way->tiles.blocks = table;
    way->tiles.count = count;
    way->tiles.pair_bytes = (channels + unit - 1) / unit * way->units.bytes;
    way->tiles.zero_point = layer->output_zero_point;
    way->tiles.output_step = ACS_HELIUM_PIXELS * group_channels(layer);
    for (uint32_t i = 0; i < ACS_HELIUM_PIXELS * ACS_HELIUM_PAIR; i++) {
        way->tiles.places[i] = (uint16_t)(i / ACS_HELIUM_PAIR * group_channels(layer) + i % ACS_HELIUM_PAIR);
    }
    return true;
}

/* The steps are known: memory for the rows, all of it zero point. */
static bool begin_rows(job_t *job, way_t *way)
{
    way->tiles.tile_step = (int32_t)(ACS_HELIUM_PIXELS * way->pixel_step - way->tiles.count * way->block_step);
    way->laid_out = acs_take(&job->scratch, way->rows * way->row_bytes);
    if (way->laid_out == NULL) {
        return false;
    }
    memset(way->laid_out, job->layer->input_zero_point, way->rows * way->row_bytes);
    return true;
}

/* Calls the function, for the tiles' pairs. */
static void call(const way_t *way, const acs_helium_t *tiles)
{
    if (way->streams) {
        const uint32_t unit = way->units.channels;
        const uint32_t words = unit == 8 ? 2u : 1u;
        for (uint32_t i = 0; i < way->units.count; i++) {
            tiles->blocks[i * words] = tiles->weights + way->units.offsets[i];
        }
    }
    way->function(tiles);
}

/* Pairs that follow each other, over neighbouring pixels. channel, pair: the first ones. */
static void compute_pairs(const job_t *job, way_t *way, uint32_t channel, uint32_t pair, uint32_t pairs,
                          uint32_t pixels, int8_t *output)
{
    acs_helium_t *const tiles = &way->tiles;
    tiles->pairs = pairs;
    tiles->weights = (const int8_t *)job->layer->words + pair * tiles->pair_bytes;
    tiles->starts = way->starts + pair * ACS_HELIUM_PAIR;
    tiles->finish = way->finish + 2 * pair * ACS_HELIUM_PAIR;
    tiles->output = output + channel;
    tiles->span = pixels / ACS_HELIUM_PIXELS * tiles->output_step;
    call(way, tiles);
    if (pixels % ACS_HELIUM_PIXELS != 0) { /* a tile that ends with the last pixel */
        const uint32_t first = pixels - ACS_HELIUM_PIXELS;
        acs_helium_t last = *tiles;
        for (uint32_t r = 0; r < way->rows; r++) {
            last.rows[r] += first * way->pixel_step;
        }
        last.output += first * group_channels(job->layer);
        last.span = last.output_step;
        call(way, &last);
    }
}

/* All active output groups over neighbouring pixels, whose windows are in tiles.rows. to: of all groups. */
static void compute(const job_t *job, way_t *way, uint32_t pixel, uint32_t pixels, int8_t *to)
{
    const acs_conv_t *const layer = job->layer;
    const uint32_t channels = group_channels(layer);
    const uint32_t each = group_pairs(layer);
    const uint32_t image = (uint32_t)layer->output.height * layer->output.width;
    for (uint32_t i = job->from; i < job->upto; i++) {
        const uint32_t group = acs_list_at(job->outputs, layer->output_groups, (uint16_t)i);
        int8_t *const output = to + (group * image + pixel) * channels;
        compute_pairs(job, way, 0, group * each, channels / ACS_HELIUM_PAIR, pixels, output);
        if (channels % ACS_HELIUM_PAIR != 0) {
            compute_pairs(job, way, channels - ACS_HELIUM_PAIR, (group + 1) * each - 1, 1, pixels, output);
        }
    }
}

/* Whether a clamp is left, that is narrower than int8. */
static bool is_clamped(const acs_conv_t *layer)
{
    return layer->low > INT8_MIN || layer->high < INT8_MAX;
}

/* Output row y, whose windows are in tiles.rows; with a residual it is added to what lies in the output. */
static void compute_row(const job_t *job, way_t *way, uint32_t y)
{
    const acs_conv_t *const layer = job->layer;
    const uint32_t bytes = output_row_bytes(layer);
    if (layer->residual == NULL) {
        compute(job, way, y * layer->output.width, layer->output.width, job->output);
        return;
    }
    compute(job, way, 0, layer->output.width, way->band);
    if (is_clamped(layer)) {
        acs_clamp_s8(bytes, (int8_t)layer->low, (int8_t)layer->high, way->band, way->band);
    }
    acs_add_residual_s8(layer->residual, bytes, way->band, job->output + y * bytes);
}

/* Image row `at` (padding, if there is none) into a row of the ring. */
static void move_in(const job_t *job, const way_t *way, int32_t at, int8_t *row)
{
    const acs_conv_t *const layer = job->layer;
    if (at < 0 || at >= layer->input.height) {
        memset(row, layer->input_zero_point, way->row_bytes);
        return;
    }
    const uint32_t left = layer->padding.width;
    const uint32_t reached = (layer->output.width - 1u) * layer->stride.width + ACS_HELIUM_ROWS - left;
    acs_helium_lay_out(&job->source, way->units.channels, layer->input, (uint32_t)at * layer->input.width, 1,
                       reached < layer->input.width ? reached : layer->input.width, row + left * way->pitch,
                       way->pitch, way->block_step);
}

/* Bytes from a column to the next, for as many input channels. */
static uint32_t pitch_of(uint32_t channels)
{
    return channels <= 4 ? channels : (channels <= 8 ? 8u : ACS_HELIUM_VECTOR);
}

static acs_helium_function_t *function_of(const acs_conv_t *layer, const way_t *way)
{
    static acs_helium_function_t *const functions[][KINDS] = {
        {acs_helium_1_1, acs_helium_2_1, acs_helium_3_1, acs_helium_4_1, acs_helium_8_1, acs_helium_16_1,
         acs_helium_blocks_16_1, acs_helium_blocks_8_1, acs_helium_blocks_4_1},
        {acs_helium_1_2, acs_helium_2_2, acs_helium_3_2, acs_helium_4_2, acs_helium_8_2, acs_helium_16_2,
         acs_helium_blocks_16_2, acs_helium_blocks_8_2, acs_helium_blocks_4_2},
    };
    const uint32_t unit = way->units.channels;
    uint32_t kind = way->pitch <= 4 ? way->pitch - 1 : (way->pitch == 8 ? 4u : 5u);
    if (way->streams) {
        kind = unit == 16 ? 6u : (unit == 8 ? 7u : 8u);
    }
    return functions[layer->stride.width - 1][kind];
}

static bool convolve_3x3(job_t *job)
{
    const acs_conv_t *const layer = job->layer;
    const uint32_t stride = layer->stride.width;
    const uint32_t channels = (uint32_t)job->source.groups * job->source.channels;
    const uint32_t pitch = job->source.groups > 1 ? ACS_HELIUM_VECTOR : pitch_of(channels);
    const uint32_t vectors = pitch <= 4 ? 1u : (pitch == 8 ? 2u : 3u);
    way_t way = {.rows = ACS_HELIUM_ROWS, .pitch = pitch, .pixel_step = stride * pitch};
    if (!begin(job, &way, vectors)) {
        return false;
    }
    way.streams = job->source.groups > 1 || channels > ACS_HELIUM_VECTOR;
    way.function = function_of(layer, &way);
    /* As far as the last window's vectors reach. */
    way.block_step = ((layer->output.width - 1u) * way.pixel_step + vectors * ACS_HELIUM_VECTOR + 7u) & ~7u;
    way.tiles.step = way.block_step;
    way.row_bytes = way.tiles.count * way.block_step;
    if (!begin_rows(job, &way)) {
        return false;
    }
    int8_t *ring[ACS_HELIUM_ROWS]; /* the window's rows, the top one first */
    for (uint32_t r = 0; r < ACS_HELIUM_ROWS; r++) {
        ring[r] = way.laid_out + r * way.row_bytes;
    }
    int32_t next = -(int32_t)layer->padding.height; /* image row */
    uint32_t kept = 0;                              /* rows that are in the window already */
    for (uint32_t y = 0; y < layer->output.height; y++) {
        for (uint32_t r = kept; r < ACS_HELIUM_ROWS; r++) {
            move_in(job, &way, next++, ring[r]);
        }
        for (uint32_t r = 0; r < ACS_HELIUM_ROWS; r++) {
            way.tiles.rows[r] = ring[r];
        }
        compute_row(job, &way, y);
        kept = ACS_HELIUM_ROWS - stride;
        for (uint32_t s = 0; s < stride; s++) {
            int8_t *const top = ring[0];
            ring[0] = ring[1];
            ring[1] = ring[2];
            ring[2] = top;
        }
    }
    return true;
}

static bool convolve_1x1(job_t *job)
{
    const acs_conv_t *const layer = job->layer;
    const acs_helium_source_t *const source = &job->source;
    const bool in_place = source->groups == 1 && source->channels % ACS_HELIUM_VECTOR == 0;
    const bool flat = in_place && layer->stride.height == 1 && layer->stride.width == 1 &&
                      layer->output.width == layer->input.width && layer->residual == NULL;
    way_t way = {.rows = 1, .streams = true, .block_step = ACS_HELIUM_VECTOR};
    if (!begin(job, &way, 1)) {
        return false;
    }
    const uint32_t unit = way.units.channels;
    way.function = unit == 16 ? acs_helium_points_16 : (unit == 8 ? acs_helium_points_8 : acs_helium_points_4);
    way.pixel_step = in_place ? (uint32_t)layer->stride.width * source->channels : way.tiles.count * ACS_HELIUM_VECTOR;
    way.tiles.step = way.pixel_step;
    way.row_bytes = in_place ? 0 : layer->output.width * way.pixel_step;
    if (!begin_rows(job, &way)) {
        return false;
    }
    way.tiles.rows[0] = way.laid_out;
    if (flat) {
        way.tiles.rows[0] = source->images;
        compute(job, &way, 0, (uint32_t)layer->output.height * layer->output.width, job->output);
        return true;
    }
    for (uint32_t y = 0; y < layer->output.height; y++) {
        const uint32_t first = y * layer->stride.height * layer->input.width;
        if (in_place) {
            way.tiles.rows[0] = source->images + first * source->channels;
        } else {
            acs_helium_lay_out(source, unit, layer->input, first, layer->stride.width, layer->output.width,
                               way.laid_out, way.pixel_step, way.block_step);
        }
        compute_row(job, &way, y);
    }
    return true;
}

static bool convolve(const job_t *job)
{
    job_t own = *job; /* with its scratch */
    return job->layer->kernel.height == 1 ? convolve_1x1(&own) : convolve_3x3(&own);
}

/* What the tiles leave. */
static void clamp_outputs(const acs_conv_t *layer, const acs_list_t *active, int8_t *output)
{
    const uint32_t bytes = (uint32_t)layer->output.height * layer->output.width * group_channels(layer);
    const uint16_t count = acs_list_count(active, layer->output_groups);
    if (layer->residual != NULL || !is_clamped(layer)) {
        return;
    }
    for (uint16_t i = 0; i < count; i++) {
        int8_t *const group = output + acs_list_at(active, layer->output_groups, i) * bytes;
        acs_clamp_s8(bytes, (int8_t)layer->low, (int8_t)layer->high, group, group);
    }
}

bool acs_helium_conv(const acs_conv_t *layer, const acs_list_t *active, const int8_t *input, int8_t *output,
                     acs_scratch_t scratch)
{
    const uint32_t channels = layer->input.channels / layer->input_groups;
    const uint32_t image_bytes = (uint32_t)layer->input.height * layer->input.width * channels;
    const uint32_t each = layer->output_groups / layer->input_groups; /* output groups that read one image */
    const uint16_t count = acs_list_count(active, layer->output_groups);
    job_t job = {.layer = layer, .outputs = active, .output = output, .scratch = scratch};
    while (job.from < count) {
        const uint32_t image = acs_list_at(active, layer->output_groups, job.from) / each;
        job.upto = (uint16_t)(job.from + 1);
        while (job.upto < count && acs_list_at(active, layer->output_groups, job.upto) / each == image) {
            job.upto++;
        }
        job.source = (acs_helium_source_t){input + image * image_bytes, NULL, 1, (uint16_t)channels};
        if (!convolve(&job)) {
            return false;
        }
        job.from = job.upto;
    }
    clamp_outputs(layer, active, output);
    return true;
}

bool acs_helium_conv_join(const acs_conv_t *layer, const acs_list_t *active, const acs_list_t *outputs,
                          const int8_t *input, int8_t *output, acs_scratch_t scratch)
{
    const uint32_t channels = layer->input.channels / layer->input_groups;
    const job_t job = {
        .layer = layer,
        .source = {input, active, layer->input_groups, (uint16_t)channels},
        .outputs = outputs,
        .upto = acs_list_count(outputs, layer->output_groups),
        .output = output,
        .scratch = scratch,
    };
    if (job.upto > 0 && !convolve(&job)) {
        return false;
    }
    clamp_outputs(layer, outputs, output);
    return true;
}
