/* SPDX-License-Identifier: Apache-2.0 */
/**
 * acs_helium.h: shared by the kernels of this set, for Arm cores with Helium (Cortex-M55). Internal, for C only.
 *
 * Vectors. VMLADAVA multiplies 16 bytes by 16 bytes and adds all products to one register. Inputs are
 * multiplied as they are: what their zero point contributes is in the sums that are started from.
 *
 * Tiles. Two output channels (a pair) by four neighbouring pixels are computed together: eight sums, in the
 * eight registers that VMLADAVA can add to. An output group of an odd number of channels has a last pair that
 * computes the channel before its last one again.
 *
 * 3x3. What windows read lies in a ring of three image rows with the padding around them, [row][block][column]
 * [pitch bytes], whatever the group's layout is. Up to four channels: the pitch is their number, a row of a
 * window is a single vector, and the six vectors of weights stay in registers. Up to eight: the pitch is 8, two
 * vectors a row. More: blocks of 16 channels, three vectors a row, and every column of the image is loaded once
 * for all windows that it is in.
 *
 * 1x1. Blocks of 16 channels of a pixel follow each other: in the input itself if that is one image with a
 * multiple of 16 channels, else in a row that is copied likewise.
 *
 * Units. The blocks of a layer that joins input groups consist of one unit of 16 channels, two of 8 or four of 4,
 * the largest that a group is a multiple of, else 4. Only units with an active channel are there; channels of
 * theirs that are not active are the input's zero point, as the padding is, and so are the units that fill up the
 * last block. Units that share a vector have their weights gathered as that is loaded. Any other layer has units
 * of 16, or a single one of the pitch.
 *
 * Weights (ACS_HELIUM, `words`): [pair][unit][window row][vector][2 channels][up to 16 bytes], zero where there is
 * no channel: a vector has 16 bytes, a tap of a unit as many as the unit. The pairs of an output group follow each
 * other.
 *
 * Finish: [pair][2] sums to start from; [pair][2] multiplier and shift (< 0: right), in Q31; for a layer that joins
 * input groups then [unit][pair][2] what the zero point of a unit contributes, which is not in the sums yet.
 * For a sum of `sum`: h = (2 * sum * multiplier + 2^31) >> 32; output = sat8(((h + (h >> 31)) rounded shift) +
 * zero point), which is TFLite's double rounding for right shifts of at least one.
 */
#ifndef ACS_HELIUM_H
#define ACS_HELIUM_H

#include "acs_layers.h"

/** The instructions that acs_helium_tile.S is written in. */
#if defined(__ARM_FEATURE_MVE) && defined(__thumb2__)
#define ACS_HELIUM_ASSEMBLY 1
#else
#define ACS_HELIUM_ASSEMBLY 0
#endif

/** Bytes of a vector, output channels and pixels of a tile, image rows of a window. */
#define ACS_HELIUM_VECTOR 16u
#define ACS_HELIUM_PAIR 2u
#define ACS_HELIUM_PIXELS 4u
#define ACS_HELIUM_ROWS 3u

/** Rows of tiles, one for every pair. Read by acs_helium_tile.S: 32 bits each, in this order. */
typedef struct {
    const int8_t *rows[ACS_HELIUM_ROWS]; /**< The first window's; of a 1x1 the first alone. */
    const int8_t *weights; /**< Of the first pair, where there is one block. */
    const int8_t **blocks; /**< Weights of the blocks (see acs_helium_table_words); what they point at is changed. */
    const int32_t *starts; /**< [pairs][2] */
    const int32_t *finish; /**< [pairs][2] multiplier and shift. */
    int8_t *output;        /**< Of the first pixel and pair. */
    uint32_t pairs;        /**< At least one. */
    uint32_t span;         /**< Bytes from the first tile's output to behind the last one's. */
    uint32_t count;        /**< Blocks, at least one. */
    uint32_t step;         /**< Bytes from a block to the next; of a 1x1: from a pixel to the next. */
    int32_t tile_step;     /**< Bytes from behind a tile's last block to the next tile's first one. */
    uint32_t pair_bytes;   /**< Weights of a pair, of active units and others. */
    int32_t zero_point;    /**< Of the output. */
    uint32_t output_step;  /**< Bytes from a tile's output to the next. */
    uint16_t places[8];    /**< Of pixel 0 channel 0, pixel 0 channel 1 and so on, from the tile's output on. */
} acs_helium_t;

/**
 * Computes rows of tiles.
 *
 * acs_helium_<pitch>_<stride>: one block of a 3x3 window, `pitch` bytes from column to column of the ring.
 * acs_helium_blocks_<unit>_<stride>: the same of several blocks, of pitch 16.
 * acs_helium_points_<unit>: a 1x1.
 */
typedef void acs_helium_function_t(const acs_helium_t *tiles);
acs_helium_function_t acs_helium_1_1, acs_helium_2_1, acs_helium_3_1, acs_helium_4_1, acs_helium_8_1;
acs_helium_function_t acs_helium_1_2, acs_helium_2_2, acs_helium_3_2, acs_helium_4_2, acs_helium_8_2;
acs_helium_function_t acs_helium_16_1, acs_helium_blocks_16_1, acs_helium_blocks_8_1, acs_helium_blocks_4_1;
acs_helium_function_t acs_helium_16_2, acs_helium_blocks_16_2, acs_helium_blocks_8_2, acs_helium_blocks_4_2;
acs_helium_function_t acs_helium_points_16, acs_helium_points_8, acs_helium_points_4;

/** Copies bytes; they do not overlap. */
void acs_helium_copy(uint32_t bytes, const int8_t *from, int8_t *to);

/** Copies up to 16 channels of every pixel; they do not overlap. */
void acs_helium_copy_channels(uint32_t pixels, uint32_t channels, const int8_t *from, uint32_t from_step, int8_t *to,
                              uint32_t to_step);

/**
 * Pointers of a block in acs_helium_t's `blocks`: one for a unit of 16, and NULL behind the last block; two with a
 * gap behind each for units of 8; four for units of 4.
 */
static inline uint32_t acs_helium_table_words(uint32_t unit)
{
    return unit == ACS_HELIUM_VECTOR ? 1u : 4u;
}

/** What a set of output channels reads: the active ones of `groups` images that lie one behind the other. */
typedef struct {
    const int8_t *images;
    const acs_list_t *active; /**< Or NULL. */
    uint16_t groups;
    uint16_t channels; /**< Of one image. */
} acs_helium_source_t;

/** Which units of a source are laid out. */
typedef struct {
    uint32_t channels; /**< Of a unit. */
    uint32_t bytes;    /**< Weights of a unit of a pair. */
    uint32_t count;    /**< What fills up the last block included. */
    uint32_t *offsets; /**< [count] of their weights in a pair's. */
} acs_helium_units_t;

/** Channels of a unit of a layer that joins groups of so many channels. */
uint32_t acs_helium_unit(uint32_t channels);

/** Finds the units of which a channel is active, and fills up their last block; at least one block. */
void acs_helium_find_units(const acs_helium_source_t *source, acs_helium_units_t *units);

/** The sums to start from when these units are laid out. starts: [sums] receives them. */
void acs_helium_start(const acs_conv_t *layer, const acs_helium_units_t *units, uint32_t sums, int32_t *starts);

/**
 * Lays out neighbouring pixels of the source's active groups.
 *
 * @param shape       of an image
 * @param first       of the pixels
 * @param stride      from one pixel to the next, in the image
 * @param to          the first pixel in the first block
 * @param step        bytes from there to the next pixel
 * @param block_step  bytes from there to the next block
 */
void acs_helium_lay_out(const acs_helium_source_t *source, uint32_t unit, acs_shape_t shape, uint32_t first,
                        uint32_t stride, uint32_t pixels, int8_t *to, uint32_t step, uint32_t block_step);

/** acs_conv_s8 and acs_conv_join_s8 of the form ACS_HELIUM. */
bool acs_helium_conv(const acs_conv_t *layer, const acs_list_t *active, const int8_t *input, int8_t *output,
                     acs_scratch_t scratch);
bool acs_helium_conv_join(const acs_conv_t *layer, const acs_list_t *active, const acs_list_t *outputs,
                          const int8_t *input, int8_t *output, acs_scratch_t scratch);

#endif /* ACS_HELIUM_H */
