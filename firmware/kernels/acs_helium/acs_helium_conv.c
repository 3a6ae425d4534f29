/* SPDX-License-Identifier: Apache-2.0 */
/* acs_helium_conv.c: convolutions, source by source: what the tiles read is laid out, then they are computed. */
#include "acs_helium.h"

#include <string.h>

/*
 * What some output groups read, and those groups: of the list those from the from-th up to the upto-th. The
 * source is the active ones of `groups` images that lie one behind the other.
 */
typedef struct {
    const acs_conv_t *layer;
    const int8_t *images;
    const acs_list_t *active; /* or NULL */
    uint16_t groups;
    uint16_t channels; /* of one image */
    const acs_list_t *outputs;
    uint16_t from, upto;
    int8_t *output; /* the whole tensor */
    acs_scratch_t scratch;
} job_t;

/* How the source is laid out for the tiles. */
typedef struct {
    acs_helium_function_t *function;
    const acs_conv_t *layer;
    uint32_t window_rows;
    uint32_t pitch;        /* bytes from a column to the next: of the channels of a block */
    uint32_t blocks;       /* active or not */
    uint32_t block_bytes;  /* weights of a pair */
    uint32_t count;        /* active blocks, at least one */
    uint32_t pixel_step;   /* bytes from a pixel's window to the next one's */
    uint32_t block_step;   /* bytes from a block to the next, in the laid-out rows */
    uint32_t row_bytes;    /* of all active blocks */
    const int32_t *starts; /* [pairs][2] */
    uint32_t *offsets;     /* [count] weights of the active blocks, from a pair's on */
    const int8_t **table;  /* [count + 1] */
    int8_t *rows;          /* [window_rows][row_bytes] */
} layout_t;

static uint32_t group_channels(const acs_conv_t *layer)
{
    return (uint32_t)layer->output.channels / layer->output_groups;
}

static uint32_t group_pairs(const acs_conv_t *layer)
{
    return (group_channels(layer) + 1) / ACS_HELIUM_PAIR;
}

/* Scratch, one piece after the other; NULL: it is too small. */
static void *take(acs_scratch_t *scratch, uint32_t bytes)
{
    const uint32_t whole = (bytes + 7u) & ~7u;
    void *const piece = scratch->data;
    if (scratch->bytes < whole) {
        return NULL;
    }
    scratch->data = (int8_t *)piece + whole;
    scratch->bytes -= whole;
    return piece;
}

/* Finds the blocks with an active channel; the first one if there is none. */
static void find_blocks(const job_t *job, layout_t *layout)
{
    const uint16_t active = acs_list_count(job->active, job->groups);
    layout->count = 0;
    uint32_t next = 0; /* behind the last one that is found */
    for (uint16_t i = 0; i < active; i++) {
        const uint32_t channel = (uint32_t)acs_list_at(job->active, job->groups, i) * job->channels;
        const uint32_t end = (channel + job->channels - 1) / ACS_HELIUM_VECTOR;
        uint32_t block = channel / ACS_HELIUM_VECTOR;
        for (block = block < next ? next : block; block <= end; block++) {
            layout->offsets[layout->count++] = block * layout->block_bytes;
        }
        next = end + 1;
    }
    if (layout->count == 0) {
        layout->offsets[layout->count++] = 0;
    }
}

/* The sums to start from, if they depend on what is active: with what the zero points of these blocks contribute. */
static void add_zero_points(const job_t *job, const layout_t *layout, int32_t *starts)
{
    const uint32_t sums = job->layer->output_groups * group_pairs(job->layer) * ACS_HELIUM_PAIR;
    const int32_t *const contributions = job->layer->finish + 3 * sums;
    memcpy(starts, job->layer->finish, sums * sizeof *starts);
    for (uint32_t i = 0; i < layout->count; i++) {
        const int32_t *const from = contributions + layout->offsets[i] / layout->block_bytes * sums;
        for (uint32_t s = 0; s < sums; s++) {
            starts[s] = (int32_t)((uint32_t)starts[s] + (uint32_t)from[s]);
        }
    }
}

/* Takes from the scratch what all layouts need. */
static bool begin(const job_t *job, layout_t *layout, acs_scratch_t *scratch)
{
    const acs_conv_t *const layer = job->layer;
    layout->layer = layer;
    layout->starts = layer->finish;
    layout->offsets = take(scratch, layout->blocks * (uint32_t)sizeof *layout->offsets);
    layout->table = take(scratch, (layout->blocks + 1) * (uint32_t)sizeof *layout->table);
    if (layout->offsets == NULL || layout->table == NULL) {
        return false;
    }
    find_blocks(job, layout);
    if (job->groups > 1) {
        const uint32_t pairs = layer->output_groups * group_pairs(layer);
        int32_t *const starts = take(scratch, pairs * ACS_HELIUM_PAIR * (uint32_t)sizeof *starts);
        if (starts == NULL) {
            return false;
        }
        add_zero_points(job, layout, starts);
        layout->starts = starts;
    }
    return true;
}

/* Memory for the rows, all of it zero point. */
static bool begin_rows(const job_t *job, layout_t *layout, acs_scratch_t *scratch)
{
    layout->rows = take(scratch, layout->window_rows * layout->row_bytes);
    if (layout->rows == NULL) {
        return false;
    }
    memset(layout->rows, job->layer->input_zero_point, layout->window_rows * layout->row_bytes);
    return true;
}

static void copy_channels(uint32_t pixels, uint32_t channels, const int8_t *from, uint32_t from_step, int8_t *to,
                          uint32_t to_step)
{
    if (channels == from_step && channels == to_step) {
        memcpy(to, from, pixels * channels);
    } else if (channels == ACS_HELIUM_VECTOR) {
        acs_helium_copy(pixels, from, from_step, to, to_step);
    } else {
        acs_copy_channels_s8(pixels, channels, from, from_step, to, to_step);
    }
}

/*
 * Lays out pixels of the source's active groups, block by block.
 *
 * first: of the pixels in an image; stride: from one to the next
 * to: of the first pixel in the first active block; step: bytes from one to the next
 */
static void lay_out(const job_t *job, const layout_t *layout, uint32_t first, uint32_t stride, uint32_t pixels,
                    int8_t *to, uint32_t step)
{
    const acs_shape_t shape = job->layer->input;
    const uint32_t image_bytes = (uint32_t)shape.height * shape.width * job->channels;
    const uint16_t active = acs_list_count(job->active, job->groups);
    uint32_t last = UINT32_MAX; /* block */
    for (uint16_t i = 0; i < active; i++) {
        const uint32_t group = acs_list_at(job->active, job->groups, i);
        const int8_t *from = job->images + group * image_bytes + first * job->channels;
        uint32_t channel = group * job->channels;
        for (const uint32_t end = channel + job->channels; channel < end;) {
            const uint32_t block = channel / ACS_HELIUM_VECTOR;
            const uint32_t lane = channel % ACS_HELIUM_VECTOR;
            const uint32_t room = ACS_HELIUM_VECTOR - lane;
            const uint32_t count = end - channel < room ? end - channel : room;
            if (block != last) {
                to += last == UINT32_MAX ? 0u : layout->block_step;
                last = block;
            }
            copy_channels(pixels, count, from, stride * job->channels, to + lane, step);
            channel += count;
            from += count;
        }
    }
}

/* Pairs of one output group that follow each other, over neighbouring pixels. tiles: all but the pairs' fields. */
static void compute_pairs(const layout_t *layout, acs_helium_t *tiles, uint32_t pair, uint32_t pairs, uint32_t pixels,
                          int8_t *output)
{
    const uint32_t step = group_channels(layout->layer);
    const int32_t *const how = layout->layer->finish;
    const uint32_t all = layout->layer->output_groups * group_pairs(layout->layer);
    tiles->pairs = pairs;
    tiles->weights = (const int8_t *)layout->layer->words + pair * tiles->pair_bytes;
    tiles->starts = layout->starts + pair * ACS_HELIUM_PAIR;
    tiles->finish = how + (all + 2 * pair) * ACS_HELIUM_PAIR;
    tiles->output = output;
    tiles->span = pixels / ACS_HELIUM_PIXELS * tiles->output_step;
    acs_helium_t last = *tiles; /* tile, if pixels are left: it ends with the last pixel */
    for (uint32_t i = 0; i < layout->count; i++) {
        layout->table[i] = tiles->weights + layout->offsets[i];
    }
    layout->function(tiles);
    if (pixels % ACS_HELIUM_PIXELS != 0) {
        for (uint32_t r = 0; r < layout->window_rows; r++) {
            last.rows[r] += (pixels - ACS_HELIUM_PIXELS) * layout->pixel_step;
        }
        last.output += (pixels - ACS_HELIUM_PIXELS) * step;
        last.span = last.output_step;
        for (uint32_t i = 0; i < layout->count; i++) {
            layout->table[i] = tiles->weights + layout->offsets[i];
        }
        layout->function(&last);
    }
}

/* All active output groups over neighbouring pixels. rows: of the first one's window. */
static void compute(const job_t *job, const layout_t *layout, const int8_t *const rows[ACS_HELIUM_ROWS],
                    uint32_t pixel, uint32_t pixels)
{
    const acs_conv_t *const layer = job->layer;
    const uint32_t channels = group_channels(layer);
    const uint32_t each = group_pairs(layer);
    const uint32_t image = (uint32_t)layer->output.height * layer->output.width;
    acs_helium_t tiles = {
        .rows = {rows[0], rows[1], rows[2]},
        .blocks = layout->table,
        .count = layout->count,
        .step = layout->window_rows == 1 ? layout->pixel_step : layout->block_step,
        .tile_step = (int32_t)(ACS_HELIUM_PIXELS * layout->pixel_step - layout->count * layout->block_step),
        .pair_bytes = layout->blocks * layout->block_bytes,
        .zero_point = layer->output_zero_point,
        .output_step = ACS_HELIUM_PIXELS * channels,
    };
    for (uint32_t i = 0; i < ACS_HELIUM_PIXELS * ACS_HELIUM_PAIR; i++) {
        tiles.places[i] = (uint16_t)(i / ACS_HELIUM_PAIR * channels + i % ACS_HELIUM_PAIR);
    }
    layout->table[layout->count] = NULL;
    for (uint32_t i = job->from; i < job->upto; i++) {
        const uint32_t group = acs_list_at(job->outputs, layer->output_groups, (uint16_t)i);
        int8_t *const output = job->output + (group * image + pixel) * channels;
        compute_pairs(layout, &tiles, group * each, channels / ACS_HELIUM_PAIR, pixels, output);
        if (channels % ACS_HELIUM_PAIR != 0) {
            compute_pairs(layout, &tiles, (group + 1) * each - 1, 1, pixels, output + channels - ACS_HELIUM_PAIR);
        }
    }
}

/* 3x3: image row `at` (padding, if there is none) into a row of the ring. */
static void move_in(const job_t *job, const layout_t *layout, int32_t at, int8_t *row)
{
    const acs_conv_t *const layer = job->layer;
    if (at < 0 || at >= layer->input.height) {
        memset(row, layer->input_zero_point, layout->row_bytes);
        return;
    }
    const uint32_t left = layer->padding.width;
    const uint32_t reached = (layer->output.width - 1u) * layer->stride.width + ACS_HELIUM_ROWS - left;
    lay_out(job, layout, (uint32_t)at * layer->input.width, 1,
            reached < layer->input.width ? reached : layer->input.width, row + left * layout->pitch, layout->pitch);
}

static bool convolve_3x3(const job_t *job)
{
    static acs_helium_function_t *const functions[2][7] = {
        {acs_helium_1_1, acs_helium_2_1, acs_helium_3_1, acs_helium_4_1, acs_helium_8_1, acs_helium_16_1,
         acs_helium_blocks_1},
        {acs_helium_1_2, acs_helium_2_2, acs_helium_3_2, acs_helium_4_2, acs_helium_8_2, acs_helium_16_2,
         acs_helium_blocks_2},
    };
    const acs_conv_t *const layer = job->layer;
    const uint32_t stride = layer->stride.width;
    const uint32_t width = layer->output.width;
    const uint32_t channels = (uint32_t)job->groups * job->channels;
    const uint32_t pitch = channels <= 4 ? channels : (channels <= 8 ? 8u : 16u);
    const uint32_t vectors = pitch <= 4 ? 1u : (pitch == 8 ? 2u : 3u);
    acs_scratch_t scratch = job->scratch;
    layout_t layout = {
        .window_rows = ACS_HELIUM_ROWS,
        .pitch = pitch,
        .blocks = (channels + ACS_HELIUM_VECTOR - 1) / ACS_HELIUM_VECTOR,
        .block_bytes = ACS_HELIUM_ROWS * vectors * ACS_HELIUM_PAIR * ACS_HELIUM_VECTOR,
        .pixel_step = stride * pitch,
        /* As far as the last window's vectors reach. */
        .block_step = ((width - 1) * stride * pitch + vectors * ACS_HELIUM_VECTOR + 7u) & ~7u,
    };
    if (!begin(job, &layout, &scratch)) {
        return false;
    }
    const uint32_t kind = layout.blocks > 1 ? 6u : (pitch <= 4 ? pitch - 1 : (pitch == 8 ? 4u : 5u));
    layout.function = functions[stride - 1][kind];
    layout.row_bytes = layout.count * layout.block_step;
    if (!begin_rows(job, &layout, &scratch)) {
        return false;
    }
    uint32_t next = 0; /* window row; row w is in the ring's row w % 3 */
    for (uint32_t y = 0; y < layer->output.height; y++) {
        const int8_t *rows[ACS_HELIUM_ROWS];
        for (uint32_t r = 0; r < ACS_HELIUM_ROWS; r++) {
            const uint32_t w = y * stride + r;
            int8_t *const row = layout.rows + w % ACS_HELIUM_ROWS * layout.row_bytes;
            if (w >= next) {
                move_in(job, &layout, (int32_t)w - layer->padding.height, row);
                next = w + 1;
            }
            rows[r] = row;
        }
        compute(job, &layout, rows, y * width, width);
    }
    return true;
}

static bool convolve_1x1(const job_t *job)
{
    const acs_conv_t *const layer = job->layer;
    const uint32_t channels = (uint32_t)job->groups * job->channels;
    const bool in_place = job->groups == 1 && channels % ACS_HELIUM_VECTOR == 0;
    const bool flat = in_place && layer->stride.height == 1 && layer->stride.width == 1 &&
                      layer->output.width == layer->input.width;
    acs_scratch_t scratch = job->scratch;
    layout_t layout = {
        .function = acs_helium_points,
        .window_rows = 1,
        .blocks = (channels + ACS_HELIUM_VECTOR - 1) / ACS_HELIUM_VECTOR,
        .block_bytes = ACS_HELIUM_PAIR * ACS_HELIUM_VECTOR,
        .block_step = ACS_HELIUM_VECTOR,
    };
    if (!begin(job, &layout, &scratch)) {
        return false;
    }
    layout.pixel_step = in_place ? layer->stride.width * channels : layout.count * ACS_HELIUM_VECTOR;
    layout.row_bytes = layer->output.width * layout.pixel_step;
    if (!in_place && !begin_rows(job, &layout, &scratch)) {
        return false;
    }
    const uint32_t pixels = flat ? (uint32_t)layer->output.height * layer->output.width : layer->output.width;
    for (uint32_t y = 0; y < (flat ? 1u : layer->output.height); y++) {
        const uint32_t first = y * layer->stride.height * layer->input.width;
        if (!in_place) {
            lay_out(job, &layout, first, layer->stride.width, pixels, layout.rows, layout.pixel_step);
        }
        const int8_t *const row = in_place ? job->images + first * channels : layout.rows;
        compute(job, &layout, (const int8_t *[]){row, NULL, NULL}, y * pixels, pixels);
    }
    return true;
}

static bool convolve(const job_t *job)
{
    return job->layer->kernel.height == 1 ? convolve_1x1(job) : convolve_3x3(job);
}

/* What the tiles leave: a clamp that is narrower than int8. */
static void clamp_outputs(const acs_conv_t *layer, const acs_list_t *active, int8_t *output)
{
    const uint32_t bytes = (uint32_t)layer->output.height * layer->output.width * group_channels(layer);
    const uint16_t count = acs_list_count(active, layer->output_groups);
    if (layer->low <= INT8_MIN && layer->high >= INT8_MAX) {
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
    if (layer->residual != NULL) {
        return false;
    }
    const uint32_t channels = layer->input.channels / layer->input_groups;
    const uint32_t image_bytes = (uint32_t)layer->input.height * layer->input.width * channels;
    const uint32_t each = layer->output_groups / layer->input_groups; /* output groups that read one image */
    const uint16_t count = acs_list_count(active, layer->output_groups);
    job_t job = {.layer = layer, .groups = 1, .channels = (uint16_t)channels, .outputs = active, .output = output,
                 .scratch = scratch};
    while (job.from < count) {
        const uint32_t image = acs_list_at(active, layer->output_groups, job.from) / each;
        job.upto = (uint16_t)(job.from + 1);
        while (job.upto < count && acs_list_at(active, layer->output_groups, job.upto) / each == image) {
            job.upto++;
        }
        job.images = input + image * image_bytes;
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
    if (layer->residual != NULL) {
        return false;
    }
    const job_t job = {
        .layer = layer,
        .images = input,
        .active = active,
        .groups = layer->input_groups,
        .channels = (uint16_t)(layer->input.channels / layer->input_groups),
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
