/* SPDX-License-Identifier: Apache-2.0 */
/**
 * acs_cmsis.h: shared by the kernels of this set, which stand on CMSIS-NN. Internal, for C only.
 *
 * CMSIS-NN 4.0 knows no groups (its arm_convolve_s8 accepts them and returns wrong numbers), newer
 * releases do it with larger scratch. Group-major layout makes that unimportant: one plain call is one
 * group, and skipping a group is not making its call.
 */
#ifndef ACS_CMSIS_H
#define ACS_CMSIS_H

#include "acs_layers.h"
#include "arm_nnfunctions.h"

/** A shape as CMSIS-NN wants it, with other channels. */
static inline cmsis_nn_dims acs_dims(acs_shape_t shape, uint32_t channels)
{
    return (cmsis_nn_dims){.n = 1, .h = shape.height, .w = shape.width, .c = (int32_t)channels};
}

static inline cmsis_nn_tile acs_tile(acs_pair_t pair)
{
    return (cmsis_nn_tile){.w = pair.width, .h = pair.height};
}

static inline cmsis_nn_context acs_context(acs_scratch_t scratch)
{
    return (cmsis_nn_context){.buf = scratch.data, .size = (int32_t)scratch.bytes};
}

/** Filters that lie side by side, in the layer or gathered. */
typedef struct {
    uint32_t count;
    const int8_t *weights;
    const int32_t *bias, *multiplier, *shift;
} acs_filters_t;

/** Those of a layer from the `first` on. */
static inline acs_filters_t acs_filters_of(const acs_conv_t *layer, const int8_t *weights, uint32_t first,
                                           uint32_t count)
{
    return (acs_filters_t){count, weights, layer->bias + first, layer->multiplier + first,
                           layer->shift + first};
}

/** The next multiple of a word. */
static inline uint32_t acs_align(uint32_t bytes)
{
    return (bytes + 3u) & ~3u;
}

/** What is left of a scratch behind the first `bytes` bytes; nothing if it has fewer. */
static inline acs_scratch_t acs_behind(acs_scratch_t scratch, uint32_t bytes)
{
    return bytes > scratch.bytes ? acs_scratch(NULL, 0)
                                 : acs_scratch((int8_t *)scratch.data + bytes, scratch.bytes - bytes);
}

/** Convolves one image of input_channels to one image of as many channels as there are filters. */
bool acs_cmsis_convolve(const acs_conv_t *layer, uint32_t input_channels, const acs_filters_t *filters,
                        const int8_t *input, int8_t *output, acs_scratch_t scratch);

/**
 * The same for `rows` rows of the output from `row` on.
 *
 * @param input   of the whole layer
 * @param output  of these rows
 */
bool acs_cmsis_convolve_rows(const acs_conv_t *layer, uint32_t input_channels, const acs_filters_t *filters,
                             uint32_t row, uint32_t rows, const int8_t *input, int8_t *output,
                             acs_scratch_t scratch);

/**
 * Whether acs_cmsis_convolve_rows may be called. CMSIS-NN has versions for a single tap and for a single row,
 * which rows may become when they are taken by themselves, and these take no row for padding.
 */
static inline bool acs_cmsis_has_rows(const acs_conv_t *layer)
{
    return layer->kernel.height > 1 ||
           (layer->kernel.width == 1 && layer->padding.height == 0 &&
            (layer->output.height - 1u) * layer->stride.height < layer->input.height);
}

/** acs_conv_s8 of a layer that reads one image and has_rows: several active groups at a time. */
bool acs_cmsis_convolve_together(const acs_conv_t *layer, const acs_list_t *active, const int8_t *input,
                                 int8_t *output, acs_scratch_t scratch);

/** acs_conv_s8 and acs_conv_join_s8 of plain weights, for other kernel sets as well. */
bool acs_cmsis_conv(const acs_conv_t *layer, const acs_list_t *active, const int8_t *input, int8_t *output,
                    acs_scratch_t scratch);
bool acs_cmsis_conv_join(const acs_conv_t *layer, const acs_list_t *active, const acs_list_t *outputs,
                         const int8_t *input, int8_t *output, acs_scratch_t scratch);

#endif /* ACS_CMSIS_H */
