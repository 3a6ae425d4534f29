/* SPDX-License-Identifier: Apache-2.0 */
/*
 * acs_dsp_depthwise.c: 3x3 and 5x5 depthwise convolutions, two channels by two pixels, over a ring of rows.
 *
 * The image's rows are expanded as for convolutions (acs_dsp.h): two channels to a word, [pair][row of the
 * ring][column]. Weights are brought into the same order when a group begins: they are few.
 */
#include "acs_dsp.h"
#include "acs_dsp_math.h"

#include "acs_portable.h"

#define MOST_ROWS 5u

/* Of one channel. */
typedef struct {
    int32_t bias, multiplier, rounding, shift;
} finish_t;

/* Scratch of a group. */
typedef struct {
    finish_t *finish;  /* [pair][2] */
    int32_t *weights;  /* [pair][tap] */
    int32_t *words;    /* [pair][row][column] */
    uint32_t columns, pairs, taps;
} group_t;

/* What the tiles of an output row have in common. */
typedef struct {
    const int32_t *rows[MOST_ROWS]; /* of the first pair, by kernel row */
    uint32_t first, end;            /* kernel rows that lie in the image */
    uint32_t pair_step;             /* words */
} ring_t;

/* A bias that leaves room for every sum of 25 products. */
#define MOST_BIAS (1 << 29)

static bool takes(const acs_depthwise_t *layer)
{
    return acs_depthwise_is_square(layer) && layer->output.width >= ACS_TILE_PIXELS &&
           acs_depthwise_is_short(layer, MOST_BIAS);
}

/* The channel that is the first or second one of a pair; false: there is none. */
static bool channel_of(const acs_source_t *source, uint32_t pair, uint32_t half, uint32_t *channel)
{
    *channel = acs_fours(source) ? pair / 2 * 4 + pair % 2 + 2 * half : 2 * pair + half;
    return *channel < source->channels;
}

static void prepare(const acs_depthwise_t *layer, const acs_source_t *source, uint32_t g, const group_t *group)
{
    const uint32_t each = source->channels;
    const int8_t *const weights = layer->weights + g * group->taps * each;
    for (uint32_t pair = 0; pair < group->pairs; pair++) {
        for (uint32_t half = 0; half < 2; half++) {
            int16_t *const to = (int16_t *)(group->weights + pair * group->taps) + half;
            uint32_t channel;
            const bool there = channel_of(source, pair, half, &channel);
            for (uint32_t tap = 0; tap < group->taps; tap++) {
                to[2 * tap] = there ? weights[tap * each + channel] : 0;
            }
            if (there) {
                const uint32_t c = g * each + channel;
                const int32_t shift = -layer->shift[c];
                const int32_t rounding = (1 << (shift - 1)) + layer->output_zero_point * (1 << shift);
                group->finish[2 * pair + half] = (finish_t){layer->bias[c], layer->multiplier[c], rounding, shift};
            }
        }
    }
}

/* Image row `at` into its place in the ring. */
static void expand(const acs_depthwise_t *layer, const acs_source_t *source, const group_t *group, uint32_t at)
{
    static const acs_stretch_t stretch = {0, 0, 0};
    const uint32_t size = layer->kernel.height;
    const uint32_t left = layer->padding.width;
    const uint32_t reached = group->columns - left;
    const uint32_t pixels = reached < layer->input.width ? reached : layer->input.width;
    acs_expand_line(source, &stretch, layer->input_zero_point, pixels,
                    source->images + at * layer->input.width * source->channels,
                    group->words + at % size * group->columns + left, size * group->columns);
}

static inline void write(int8_t *output, uint32_t step, int32_t first, int32_t second, const finish_t *how)
{
    output[0] = (int8_t)acs_finish(first * 2, how->multiplier, how->rounding, how->shift);
    output[step] = (int8_t)acs_finish(second * 2, how->multiplier, how->rounding, how->shift);
}

/* Two channels by two pixels; size and stride are constants where this is inlined. */
static inline void compute_tile(const ring_t *ring, const int32_t *weights, const finish_t *how, uint32_t at,
                                int8_t *first, int8_t *second, uint32_t step, uint32_t size, uint32_t stride)
{
    int32_t a0 = how[0].bias;
    int32_t a1 = a0;
    int32_t b0 = how[1].bias;
    int32_t b1 = b0;
    weights += ring->first * size;
    for (uint32_t row = ring->first; row < ring->end; row++) {
        const int32_t *const words = ring->rows[row] + at;
        for (uint32_t column = 0; column < size; column++) {
            const int32_t w = *weights++;
            const int32_t x0 = words[column];
            const int32_t x1 = words[column + stride];
            a0 += (int16_t)x0 * (int16_t)w;
            a1 += (int16_t)x1 * (int16_t)w;
            b0 += (x0 >> 16) * (w >> 16);
            b1 += (x1 >> 16) * (w >> 16);
        }
    }
    write(first, step, a0, a1, &how[0]);
    if (second != NULL) {
        write(second, step, b0, b1, &how[1]);
    }
}

/* An output row of a group. */
static inline void compute_row(const acs_depthwise_t *layer, const acs_source_t *source, const group_t *group,
                               ring_t ring, int8_t *output, uint32_t size, uint32_t stride)
{
    const uint32_t each = source->channels;
    const uint32_t width = layer->output.width;
    for (uint32_t pair = 0; pair < group->pairs; pair++) {
        const int32_t *const weights = group->weights + pair * group->taps;
        const finish_t *const how = group->finish + 2 * pair;
        uint32_t channel;
        uint32_t other;
        (void)channel_of(source, pair, 0, &channel);
        const bool both = channel_of(source, pair, 1, &other);
        for (uint32_t x = 0; x < width; x += ACS_TILE_PIXELS) {
            x = x + ACS_TILE_PIXELS > width ? width - ACS_TILE_PIXELS : x; /* an odd last pixel */
            int8_t *const pixel = output + x * each;
            compute_tile(&ring, weights, how, x * stride, pixel + channel, both ? pixel + other : NULL, each, size,
                         stride);
        }
        for (uint32_t row = ring.first; row < ring.end; row++) {
            ring.rows[row] += ring.pair_step;
        }
    }
}

static void compute_any_row(const acs_depthwise_t *layer, const acs_source_t *source, const group_t *group,
                            const ring_t *ring, int8_t *output)
{
    if (layer->kernel.width == 3) {
        if (layer->stride.width == 1) {
            compute_row(layer, source, group, *ring, output, 3, 1);
        } else {
            compute_row(layer, source, group, *ring, output, 3, 2);
        }
    } else if (layer->stride.width == 1) {
        compute_row(layer, source, group, *ring, output, 5, 1);
    } else {
        compute_row(layer, source, group, *ring, output, 5, 2);
    }
}

static void compute_group(const acs_depthwise_t *layer, const acs_source_t *source, const group_t *group,
                          int8_t *output)
{
    const uint32_t size = layer->kernel.height;
    uint32_t expanded = 0; /* image rows so far */
    for (uint32_t y = 0; y < layer->output.height; y++) {
        const acs_span_t span = acs_span(y, layer->stride.height, layer->padding.height, layer->kernel.height, 1,
                                         layer->input.height);
        ring_t ring = {.first = span.tap, .end = span.tap + span.count, .pair_step = size * group->columns};
        if (expanded < span.at) {
            expanded = span.at;
        }
        for (; expanded < span.at + span.count; expanded++) {
            expand(layer, source, group, expanded);
        }
        for (uint32_t row = ring.first; row < ring.end; row++) {
            ring.rows[row] = group->words + (span.at + row - span.tap) % size * group->columns;
        }
        compute_any_row(layer, source, group, &ring, output + y * layer->output.width * source->channels);
    }
}

bool acs_depthwise_s8(const acs_depthwise_t *layer, const acs_list_t *active, const int8_t *input, int8_t *output,
                      acs_scratch_t scratch)
{
    if (acs_scale_groups_s8(layer, active, input, output)) {
        return true;
    }
    if (!takes(layer)) {
        return acs_portable_depthwise(layer, active, input, output);
    }
    const uint32_t each = layer->input.channels / layer->groups;
    const uint32_t size = layer->kernel.height;
    group_t group = {
        .finish = scratch.data,
        .columns = (layer->output.width - 1u) * layer->stride.width + size,
        .pairs = (each + 1) / 2,
        .taps = size * size,
    };
    group.weights = (int32_t *)(void *)(group.finish + 2 * group.pairs);
    group.words = group.weights + group.pairs * group.taps;
    const uint32_t pair_bytes = 2 * (uint32_t)sizeof *group.finish + 4 * (group.taps + size * group.columns);
    if (scratch.bytes < group.pairs * pair_bytes) {
        return false;
    }
    memset(scratch.data, 0, group.pairs * pair_bytes); /* padding, and halves without a channel, stay zero */
    const uint16_t count = acs_list_count(active, layer->groups);
    for (uint16_t i = 0; i < count; i++) {
        const uint32_t g = acs_list_at(active, layer->groups, i);
        const acs_source_t source = {input + g * acs_image_bytes(layer->input, each), NULL, 1, each};
        int8_t *const to = output + g * acs_image_bytes(layer->output, each);
        prepare(layer, &source, g, &group);
        compute_group(layer, &source, &group, to);
        if (layer->low > INT8_MIN || layer->high < INT8_MAX) {
            acs_clamp_s8(acs_image_bytes(layer->output, each), (int8_t)layer->low, (int8_t)layer->high, to, to);
        }
    }
    return true;
}
