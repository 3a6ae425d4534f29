/* SPDX-License-Identifier: Apache-2.0 */
/**
 * acs_layers.h: what a generated model is made of: layers, lists of active groups, masks, kernels.
 *
 * Layout. A tensor of C channels in G groups is stored group-major:
 *
 *     [group 0 .. G-1][height][width][C / G channels]
 *
 * so that every group is an ordinary contiguous NHWC image. G = 1 is plain NHWC.
 *
 * Lists. A kernel that takes a list computes only the groups that stand in it and leaves the bytes of
 * all other groups as they were. NULL means all groups.
 *
 * Numbers. int8 activations, real = scale * (q - zero_point); int8 weights in [-127, 127]; int32 bias
 * and accumulator; requantisation with TFLite's double rounding. A kernel gives the same bits in every
 * kernel set and on every target.
 *
 * Results. A kernel returns false when it refuses its parameters (the scratch is too small, above all).
 * A generated model never causes that; a caller must still look.
 */
#ifndef ACS_LAYERS_H
#define ACS_LAYERS_H

#include "acs.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Size of an image: of the whole tensor, whatever its number of groups. */
typedef struct {
    uint16_t height, width, channels;
} acs_shape_t;

/** Bytes of an image of so many channels. */
static inline uint32_t acs_image_bytes(acs_shape_t shape, uint32_t channels)
{
    return (uint32_t)shape.height * shape.width * channels;
}

/** A vertical and a horizontal number: kernel size, stride, dilation, or padding at top and left. */
typedef struct {
    uint16_t height, width;
} acs_pair_t;

/** Memory that a kernel may overwrite; undefined afterwards. */
typedef struct {
    void *data;
    uint32_t bytes;
} acs_scratch_t;

/** bytes: how many lie at data, which is aligned to ACS_ARENA_ALIGNMENT. */
static inline acs_scratch_t acs_scratch(void *data, uint32_t bytes)
{
    const acs_scratch_t scratch = {data, bytes};
    return scratch;
}

/** Some of `groups` groups, ascending. */
typedef struct {
    const uint8_t *index;
    uint16_t count;
    uint16_t groups;
} acs_list_t;

/** A gate's decision. */
typedef struct {
    uint8_t *open;      /**< [active.groups]: 1 open, 0 closed, all ACS_UNDECIDED if nobody asks. */
    acs_list_t active;  /**< What kernels compute: the open groups, or all of them (see acs_mode_t). */
} acs_mask_t;

/** A Q31 multiplier and a shift (> 0: left), applied with double rounding. */
typedef struct {
    int32_t multiplier, shift;
} acs_scale_t;

/**
 * Sum of two tensors: TFLite's int8 add, (coarse + fine) with both addends first shifted left by 20 and
 * brought to twice the larger scale. The addend of the larger scale is then just halved; only the other
 * one, the fine one, needs a multiplication. All shifts are <= 0.
 *
 * There are only 65,536 pairs of addends. So it can be tried out, when a model is generated, whether
 *
 *     clamp((coarse * coarse_factor + fine * fine_factor + offset) >> shift)
 *
 * is that sum for all of them, and never leaves int32. If it is, shift is > 0 and this is computed.
 */
typedef struct {
    uint32_t count; /**< Elements. */
    int16_t coarse_zero_point, fine_zero_point, output_zero_point;
    int16_t low, high;
    acs_scale_t fine, output;
    int32_t coarse_factor, fine_factor, offset;
    uint8_t shift; /**< 0: there are no such factors, the sum is computed by its definition. */
} acs_add_t;

/** What a convolution's result is added to; see acs_conv_t. */
typedef struct {
    acs_add_t add;       /**< `count` is not looked at. */
    bool result_is_fine; /**< The convolution's result is the fine addend, else the coarse one. */
    uint16_t rows;       /**< Rows that are convolved before they are added; the kernels of set `acs` know better. */
} acs_residual_t;

/**
 * How the constants of a convolution lie. Every kernel set takes ACS_PLAIN; the others are those of the kernel
 * sets `acs`, `acs_rv32` and `acs_helium`, whose acs_dsp.h, acs_rv32.h and acs_helium.h say what they look like.
 */
typedef enum {
    ACS_PLAIN = 0,  /**< weights, bias, multiplier and shift. */
    ACS_PAIRED = 1, /**< words and finish: two output channels in one 16-bit weight, where that is exact. */
    ACS_WIDE = 2,    /**< words and finish: 16-bit weights. */
    ACS_WINOGRAD = 3, /**< words and finish: 3x3 weights as Winograd's transform wants them. */
    ACS_BYTES = 4,    /**< words and finish: 8-bit weights, those of four output channels side by side. */
    ACS_HELIUM = 8    /**< words and finish: vectors of 16 weights. */
} acs_form_t;

/**
 * A convolution. Weights: [output channel][kernel height][kernel width][input channels that it reads].
 * A fully connected layer is a 1x1 convolution of a 1x1 image.
 *
 * With a residual the output is no empty place but the other addend of a sum, as NHWC, and becomes the
 * sum: the convolution's own result only ever exists as a band of rows in the scratch.
 */
typedef struct {
    acs_shape_t input, output;
    acs_pair_t kernel, stride, padding, dilation;
    uint16_t input_groups;  /**< Groups of the input's layout. */
    uint16_t output_groups; /**< Groups of the output's layout; a multiple of input_groups, or 1. */
    uint16_t pack_limit;    /**< acs_conv_join_s8: with more active groups, reading zeros is cheaper. */
    uint16_t pack_rows;     /**< ... and what so many rows of the output read is packed at a time; 0: all. Less than
                             * all only if every window has a row of the image in it. */
    uint16_t image_rows;    /**< Of plain constants: rows of the output's images, if this is a band of them; or 0. */
    int16_t input_zero_point, output_zero_point;
    int16_t low, high;      /**< Clamp of the output. */
    uint16_t form;          /**< An acs_form_t: which of the following are there. */
    const int8_t *weights;
    const int32_t *bias, *multiplier, *shift; /**< [output channels] each. */
    const int32_t *words;   /**< Weights as the form wants them. */
    const int32_t *finish;  /**< Bias and requantisation as the form wants them. */
    const acs_residual_t *residual; /**< Or NULL. Needs output_groups to be 1. */
    /* acs_conv_join_s8: closed input groups are zero if both are NULL. Else they hold a constant, the layer
     * has no padding, and one of these says what they add to a sum. */
    const int8_t *closed;       /**< [input channels]: what they hold. */
    const int32_t *closed_sums; /**< [input_groups][output channels]: what each group adds. */
    /** acs_conv_join_s8: a 1x1 depthwise convolution of the input, in the same groups, that comes before;
     * or NULL. */
    const struct acs_depthwise *before;
} acs_conv_t;

/** Bytes from one output group's image to the next. */
static inline uint32_t acs_output_bytes(const acs_conv_t *layer)
{
    acs_shape_t image = layer->output;
    image.height = layer->image_rows > 0 ? layer->image_rows : image.height;
    return acs_image_bytes(image, layer->output.channels / layer->output_groups);
}

/** Rows of the input, padding included, under the windows of so many rows of the output. */
static inline uint32_t acs_reach(const acs_conv_t *layer, uint32_t rows)
{
    return (rows - 1) * layer->stride.height + 1 + (layer->kernel.height - 1u) * layer->dilation.height;
}

/**
 * Makes `band`, a copy of the layer, compute rows `row` to `row + rows` of the output only.
 *
 * @return the first row of the input that it reads: what lies above or below all its windows is none of its input
 */
static inline uint32_t acs_cut_band(const acs_conv_t *layer, uint32_t row, uint32_t rows, acs_conv_t *band)
{
    const uint32_t start = row * layer->stride.height;
    const uint32_t above = layer->padding.height;
    const uint32_t beyond = start > above ? start - above : 0u;
    const uint32_t first = beyond < layer->input.height ? beyond : layer->input.height;
    const uint32_t left = layer->input.height - first;
    band->padding.height = (uint16_t)(start > above ? 0u : above - start);
    const uint32_t reach = acs_reach(layer, rows);
    const uint32_t inside = reach > band->padding.height ? reach - band->padding.height : 1u;
    band->input.height = (uint16_t)(inside < left ? inside : left);
    band->output.height = (uint16_t)rows;
    band->image_rows = layer->output.height;
    return first;
}

/** A depthwise convolution. Weights: [group][kernel height][kernel width][channels / groups]. */
typedef struct acs_depthwise {
    acs_shape_t input, output;
    acs_pair_t kernel, stride, padding, dilation;
    uint16_t groups; /**< Groups of both layouts. */
    int16_t input_zero_point, output_zero_point;
    int16_t low, high;
    const int8_t *weights;
    const int32_t *bias, *multiplier, *shift; /**< [channels] each. */
} acs_depthwise_t;

/** Maximum or average pooling. Padding takes no part in either. */
typedef struct {
    acs_shape_t input, output;
    acs_pair_t kernel, stride, padding;
    uint16_t groups; /**< Groups of both layouts. */
} acs_pool_t;

/* Kernels of the kernel set -------------------------------------------------------------------- */

/**
 * Convolution, output group by output group. Output group j reads the input group that feeds it:
 * the whole input where input_groups is 1, else input group j * input_groups / output_groups.
 *
 * @param active   output groups to compute, or NULL
 */
ACS_MUST_CHECK bool acs_conv_s8(const acs_conv_t *layer, const acs_list_t *active, const int8_t *input,
                                int8_t *output, acs_scratch_t scratch);

/**
 * Convolution over all input channels, of which only some groups are active: reads those. What the others
 * hold is known: zero, or a constant (closed, closed_sums), which goes into the bias once.
 * Packs active activations and weights into the scratch, or writes zeros for the inactive groups and
 * reads the weights where they are if more than pack_limit groups are active. Same bits either way.
 *
 * @param active   active input groups, or NULL
 * @param outputs  output groups to compute, or NULL
 */
ACS_MUST_CHECK bool acs_conv_join_s8(const acs_conv_t *layer, const acs_list_t *active,
                                     const acs_list_t *outputs, const int8_t *input, int8_t *output,
                                     acs_scratch_t scratch);

/** Depthwise convolution of the active groups. */
ACS_MUST_CHECK bool acs_depthwise_s8(const acs_depthwise_t *layer, const acs_list_t *active,
                                     const int8_t *input, int8_t *output, acs_scratch_t scratch);

/** Maximum pooling of the active groups. */
ACS_MUST_CHECK bool acs_max_pool_s8(const acs_pool_t *layer, const acs_list_t *active,
                                    const int8_t *input, int8_t *output, acs_scratch_t scratch);

/** Average pooling of the active groups, over the part of each window that lies inside the image. */
ACS_MUST_CHECK bool acs_avg_pool_s8(const acs_pool_t *layer, const acs_list_t *active,
                                    const int8_t *input, int8_t *output, acs_scratch_t scratch);

/* Kernels that every kernel set shares --------------------------------------------------------- */

/** Element-wise sum; output may be coarse or fine. */
void acs_add_s8(const acs_add_t *layer, const int8_t *coarse, const int8_t *fine, int8_t *output);

/** Clamp to [low, high]; output may be input. */
void acs_clamp_s8(uint32_t count, int8_t low, int8_t high, const int8_t *input, int8_t *output);

/** NHWC channel permutation: output channel c is input channel order[c]. */
void acs_shuffle_s8(acs_shape_t shape, const uint16_t *order, const int8_t *input, int8_t *output);

/** One of the tensors that are joined: NHWC, of as many pixels as the others. */
typedef struct {
    const int8_t *data;
    uint16_t channels;
} acs_part_t;

/**
 * Joins channels: every pixel of the output is that of the parts, one behind the other. NHWC.
 *
 * @param shape   of the output; its channels are those of all parts
 * @param count   number of parts
 * @param output  overlaps no part, but that of a single pixel a part may lie where it belongs already
 */
void acs_concat_s8(acs_shape_t shape, uint16_t count, const acs_part_t *parts, int8_t *output);

/**
 * Joins groups: those of the parts one behind the other, the active groups only.
 *
 * @param shape   of the output; its channels are those of all parts
 * @param groups  of the output; each part holds a whole number of them
 * @param parts   group-major, in groups of as many channels as the output's
 * @param output  overlaps no part, but that a part may lie where it belongs already
 */
void acs_join_s8(acs_shape_t shape, uint16_t groups, const acs_list_t *active, const acs_part_t *parts,
                 int8_t *output);

/**
 * Puts an image into a larger one that is zero_point around it. NHWC.
 *
 * @param corner  rows above and columns to the left of the image
 * @param output  does not overlap the input
 */
void acs_pad_s8(acs_shape_t input_shape, acs_shape_t output_shape, acs_pair_t corner, int8_t zero_point,
                const int8_t *input, int8_t *output);

/**
 * Decides: group g is open where logits[g] > zero_point, strictly.
 *
 * @param open  [groups] receives the decision: 1 open, 0 closed (all 1 in mode ACS_OPEN); in mode
 *              ACS_GIVEN it holds the decision already, in mode ACS_BUDGET by how much the threshold is
 *              raised, an int8
 * @param list  [groups] memory for the list of active groups
 */
acs_mask_t acs_gate_s8(acs_mode_t mode, uint16_t groups, int8_t zero_point, const int8_t *logits,
                       uint8_t *open, uint8_t *list);

/** A gate with the linear layer before it. */
typedef struct {
    uint16_t groups, inputs;
    const int8_t *weights; /**< [groups][inputs] */
    const int32_t *bias;   /**< [groups], less the input's zero point times the weights. */
    const int32_t *step;   /**< [groups]: what raising the threshold by one adds to it, at most 2^23. */
} acs_gate_t;

/**
 * Decides on accumulators: group g is open where bias[g] + sum of weights[g][i] * input[i] > 0, strictly.
 *
 * @param open, list  as in acs_gate_s8. A threshold is raised by that many of the group's steps; 127 closes it
 *                    and -128 opens it, whatever its sum.
 */
acs_mask_t acs_gate_sums_s8(acs_mode_t mode, const acs_gate_t *gate, const int8_t *input, uint8_t *open,
                            uint8_t *list);

/**
 * The mask of a gate that nobody asks for: not decided, and no group of it is active.
 *
 * @param open  [groups] becomes ACS_UNDECIDED
 * @param list  [groups] memory for a list, which is empty
 */
acs_mask_t acs_undecided(uint16_t groups, uint8_t *open, const uint8_t *list);

/** A group that no gate closes. */
#define ACS_ALWAYS 0xFFFFu

/**
 * The active groups of a tensor whose groups hang on the bits of several gates.
 *
 * @param source  [groups]: the bit among `open` that each group hangs on, or ACS_ALWAYS
 * @param open    the decisions of all gates
 * @param list    [groups] memory for the list
 */
acs_list_t acs_make_list(acs_mode_t mode, uint16_t groups, const uint16_t *source, const uint8_t *open,
                         uint8_t *list);

/**
 * Multiplies a group-major tensor by a mask. Output may be input.
 *
 * @param fill   write zero_point to closed groups; false where nobody reads them
 * @param bytes  size of the tensor
 */
void acs_apply_mask_s8(bool fill, const acs_mask_t *mask, uint32_t bytes, int8_t zero_point,
                       const int8_t *input, int8_t *output);

/**
 * Multiplies a tensor by a mask whose groups are no groups of the layout. Output may be input.
 *
 * @param groups  of the layout; the mask's are of other channels
 */
void acs_mask_channels_s8(const acs_mask_t *mask, acs_shape_t shape, uint16_t groups, int8_t zero_point,
                          const int8_t *input, int8_t *output);

/**
 * Group-major to NHWC. Groups that are not active become zero_point.
 *
 * @param groups  groups of the input's layout
 */
void acs_ungroup_s8(acs_shape_t shape, uint16_t groups, const acs_list_t *active, int8_t zero_point,
                    const int8_t *input, int8_t *output);

/** NHWC to group-major, the active groups only. */
void acs_group_s8(acs_shape_t shape, uint16_t groups, const acs_list_t *active, const int8_t *input,
                  int8_t *output);

/* For kernel sets ------------------------------------------------------------------------------ */

/** Active groups when `groups` groups are laid out: one list entry may stand for several of them. */
uint16_t acs_list_count(const acs_list_t *list, uint16_t groups);

/** The i-th active group. */
uint16_t acs_list_at(const acs_list_t *list, uint16_t groups, uint16_t i);

/**
 * Adds the next `count` values of a convolution to what they belong to, which becomes the sum.
 *
 * @param values  results of the convolution
 * @param sum     the other addend
 */
void acs_add_residual_s8(const acs_residual_t *residual, uint32_t count, const int8_t *values, int8_t *sum);

/** acs_avg_pool_s8 in plain C, for kernel sets that have nothing quicker; needs no scratch. */
ACS_MUST_CHECK bool acs_average_s8(const acs_pool_t *layer, const acs_list_t *active, const int8_t *input,
                                   int8_t *output);

/** acs_max_pool_s8, likewise. */
ACS_MUST_CHECK bool acs_greatest_s8(const acs_pool_t *layer, const acs_list_t *active, const int8_t *input,
                                    int8_t *output);

/** Copies `count` bytes between places that do not overlap; quick for the few bytes of a group. */
void acs_copy_s8(int8_t *to, const int8_t *from, uint32_t count);

/**
 * Copies `channels` bytes of every pixel between images whose pixels are so many bytes apart; they do not
 * overlap.
 */
void acs_copy_channels_s8(uint32_t pixels, uint32_t channels, const int8_t *from, uint32_t from_stride,
                          int8_t *to, uint32_t to_stride);

/** Takes bytes from the beginning of a scratch, which stays aligned; NULL if it has not so many. */
void *acs_take(acs_scratch_t *scratch, uint32_t bytes);

/**
 * Does a depthwise convolution over the active groups if it gives every value a factor and an offset and does
 * nothing else: 1x1, of stride 1, without padding. Returns false, and does nothing, if it is another one.
 */
bool acs_scale_groups_s8(const acs_depthwise_t *layer, const acs_list_t *active, const int8_t *input, int8_t *output);

/**
 * Such a convolution of one group.
 *
 * @param input, output  the group's first value in the first pixel; step: bytes from one pixel to the next
 */
void acs_scale_s8(const acs_depthwise_t *layer, uint32_t group, const int8_t *input, uint32_t input_step,
                  int8_t *output, uint32_t output_step);

/**
 * Replaces the bias of a join by one with what the input groups add that are not active, if they add
 * anything.
 *
 * @param scratch  the new bias is taken from its beginning
 */
ACS_MUST_CHECK bool acs_complete_bias(acs_conv_t *layer, const acs_list_t *active, acs_scratch_t *scratch);

/** acs_conv_join_s8 by acs_conv_s8: packs into the scratch, then convolves what lies there. */
ACS_MUST_CHECK bool acs_pack_and_conv_s8(const acs_conv_t *layer, const acs_list_t *active,
                                         const acs_list_t *outputs, const int8_t *input, int8_t *output,
                                         acs_scratch_t scratch);

/** TFLite's MultiplyByQuantizedMultiplier with double rounding. */
int32_t acs_rescale(int32_t value, acs_scale_t scale);

#ifdef __cplusplus
}
#endif

#endif /* ACS_LAYERS_H */
