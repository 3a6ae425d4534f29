/* SPDX-License-Identifier: Apache-2.0 */
/**
 * acs_rv32.h: shared by the kernels of this set, for RISC-V cores with 32 bits and multiplication. Internal, for C only.
 * For cores without its assembly they are the set `acs_c`.
 *
 * Jobs, strips and the walk over output channels are those of the set `acs` (acs_dsp.h, acs_dsp_conv.c); what
 * is different is told here.
 *
 * Numbers. A convolution's input is expanded once to 16-bit numbers without zero point, one channel after the
 * other: there is no instruction that multiplies two of them.
 *
 * Tiles. Four output channels (a quad) by four pixels are computed together: 16 sums in registers. A step takes
 * four numbers and four weights for 16 products.
 *
 * Weights. ACS_BYTES: [quad][input channel][tap][4 output channels] of 8 bits. The quads of the output channels
 * that read one source follow each other, the last one filled up with zeros. ACS_WINOGRAD: [quad][16 points]
 * [input channel][4 output channels] of 16 bits; acs_dsp.h tells what they are. An odd number of input channels
 * is followed by one that nobody reads. A run (acs_run_t) is of the weights of neighbouring active channels.
 *
 * Finish. ACS_BYTES: [quad][16]: four biases to start from, then multiplier, rounding, shift of each channel.
 * ACS_WINOGRAD: [quad][4 output channels]: four times the bias, multiplier, rounding, shift. For a sum of `sum`:
 *
 *     h = (4 * sum * multiplier) >> 32;  output = sat8((h + 2 * (h >> 31) + rounding) >> shift)
 *
 * Of TFLite's double rounding with a right shift of s >= 1, shift is s + 1, and rounding is
 * 1 + 2^s + zero point * 2^(s + 1). Why: with x = 2 * sum * multiplier / 2^32, the first rounding gives
 * r = floor(x + 1/2), the second floor((r - [r < 0] + 2^(s - 1)) / 2^s). As h = floor(2 * x), r is
 * floor((h + 1) / 2), and floors of quotients nest: floor((h + 1 - 2 * [r < 0] + 2^s) / 2^(s + 1)). r < 0 and
 * h < 0 differ for h = -1 only, where both numerators, 2^s and 2^s - 2, give 0.
 */
#ifndef ACS_RV32_H
#define ACS_RV32_H

#include "acs_dsp.h"
#include "acs_portable.h"

/** The instructions that the assembly is written in. */
#if defined(__riscv) && defined(__riscv_mul) && __riscv_xlen == 32 && !defined(__riscv_32e)
#define ACS_RV32_ASSEMBLY 1
#else
#define ACS_RV32_ASSEMBLY 0
#endif

/** Pixels of a direct tile; tiles of 2x2 pixels that Winograd's way takes together. */
#define ACS_RV32_PIXELS 4u

/** Image rows that a 3x3 window holds: what lies below each other in memory. */
#define ACS_RV32_SLOTS 4u

/** Memory of Winograd's sums: [16 points][4 output channels][4 tiles]. */
#define ACS_RV32_WINOGRAD_SUMS (ACS_WINOGRAD_POINTS * ACS_QUAD * ACS_RV32_PIXELS)

/** A row of tiles for one quad. Read by acs_rv32_*.S: 32 bits each, in this order. */
typedef struct {
    const int16_t *numbers;  /**< Of the first tile. */
    const int8_t *weights;   /**< Of the quad. */
    const int32_t *finish;   /**< Of the quad. */
    int8_t *output;          /**< Of the first pixel: four bytes are written to every pixel. */
    const acs_run_t *runs;   /**< At least one, none of them empty. */
    const acs_run_t *end;
    uint32_t tiles;          /**< At least one. */
    uint32_t output_step;    /**< Bytes from one pixel's output to the next one's. */
    uint32_t number_step;    /**< Windows: bytes from a channel's numbers to the next one's; Winograd: of four tiles. */
    uint32_t point_bytes;    /**< Winograd: weights of a quad at one point. */
    int32_t *sums;           /**< Winograd: [ACS_RV32_WINOGRAD_SUMS] memory. */
    uint32_t row_step;       /**< Winograd: bytes from an output row to the next. */
} acs_rv32_tile_t;

/**
 * Compute a row of tiles.
 *
 * acs_rv32_column: numbers are [tile][active channel][tap][4 pixels], one behind the other.
 * acs_rv32_line: the same of a single pixel: [active channel][tap]; there is one tile.
 * acs_rv32_window_*: a 3x3 window; numbers are [active channel][image column][ACS_RV32_SLOTS], the window's top row
 * first. In the name is the stride: the distance of windows.
 * acs_rv32_winograd_quad: numbers are transformed inputs, [four tiles][active channel][16 points][4 tiles]. Tiles beyond
 * the last one are not written.
 */
typedef void acs_rv32_tile_function_t(const acs_rv32_tile_t *tile);
acs_rv32_tile_function_t acs_rv32_column, acs_rv32_line, acs_rv32_window_1, acs_rv32_window_2;
acs_rv32_tile_function_t acs_rv32_winograd_quad;

/** A row of tiles as acs_dsp_conv.c has it, whose words are numbers. */
static inline acs_rv32_tile_t acs_rv32_tile(const acs_tile_t *tile)
{
    return (acs_rv32_tile_t){
        .numbers = (const int16_t *)(const void *)tile->words,
        .weights = (const int8_t *)tile->weights,
        .finish = tile->finish,
        .output = tile->output,
        .runs = tile->runs,
        .end = tile->end,
        .tiles = tile->tiles,
        .output_step = tile->output_step,
        .number_step = tile->pair_step,
        .point_bytes = tile->point_bytes,
        .sums = tile->sums,
        .row_step = tile->row_step,
    };
}

/**
 * Transforms a channel's window.
 *
 * @param columns      of the channel, in a window: two for each tile and two more
 * @param transformed  of the channel, in the first four tiles
 * @param fours        how many times four tiles
 * @param four_bytes   from four tiles to the next four
 */
void acs_rv32_winograd_input(const int16_t *columns, int16_t *transformed, uint32_t fours, uint32_t four_bytes);

/** A row of one channel's tiles in a depthwise convolution. Read by acs_rv32_rows.S: 32 bits each, in this order. */
typedef struct {
    const int16_t *numbers; /**< [image column][slots of its window], those of the first output row first. */
    const int8_t *weights;  /**< [tap] */
    const int32_t *finish;  /**< Bias, multiplier, rounding, shift: of "Finish". */
    int8_t *output;         /**< Of the first pixel. */
    uint32_t tiles;         /**< At least one, of four pixels. */
    uint32_t output_step;   /**< Bytes from one pixel's output to the next one's. */
} acs_rv32_depth_t;

/** Compute a row of tiles. In the name: the kernel, 3x3 over a window of 4 slots or 5x5 over one of 8, and the stride. */
typedef void acs_rv32_depth_function_t(const acs_rv32_depth_t *row);
acs_rv32_depth_function_t acs_rv32_depthwise_3_1, acs_rv32_depthwise_3_2;
acs_rv32_depth_function_t acs_rv32_depthwise_5_1, acs_rv32_depthwise_5_2;

/** See "Finish"; quadruple: four times the sum. */
static inline int32_t acs_rv32_finish(int32_t quadruple, int32_t multiplier, int32_t rounding, int32_t shift)
{
    const int32_t high = (int32_t)(((int64_t)quadruple * multiplier) >> 32);
    const int32_t value = (high + 2 * (high >> 31) + rounding) >> shift;
    return value < INT8_MIN ? INT8_MIN : (value > INT8_MAX ? INT8_MAX : value);
}

/** Active channels of a source; where no group is active, the number of those whose numbers must be zero. */
uint32_t acs_rv32_channels(const acs_source_t *source);

/**
 * Finds the runs of a source. Without any active group there is one run, over as many channels as
 * acs_rv32_channels() says.
 *
 * @param channel_bytes  of a channel's weights
 * @param runs           [active groups, or 1] receives them
 * @return               how many runs
 */
uint32_t acs_rv32_find_runs(const acs_source_t *source, uint32_t channel_bytes, acs_run_t *runs);

/**
 * Expands neighbouring pixels of an image.
 *
 * @param channels      how many, from the first one at `input` on
 * @param input         the first pixel's
 * @param input_step    bytes from one pixel to the next
 * @param numbers       of the first pixel, in the first channel
 * @param pixel_step    numbers from one pixel to the next
 * @param channel_step  numbers from one channel to the next
 */
void acs_rv32_expand(uint32_t channels, int32_t zero_point, uint32_t pixels, const int8_t *input,
                     uint32_t input_step, int16_t *numbers, uint32_t pixel_step, uint32_t channel_step);

/** A window that moves down over an image: [channel][column][slots], columns with the padding around the image. */
typedef struct {
    int16_t *numbers;
    uint32_t channels, columns;
    uint32_t slots; /**< Image rows that it holds: 4 or 8. */
    acs_source_t source;
    uint32_t taken; /**< Channels that are expanded of each image of the source. */
    acs_shape_t input;
    acs_pair_t padding;
    int32_t zero_point;
} acs_rv32_window_t;

static inline uint32_t acs_rv32_window_bytes(const acs_rv32_window_t *window)
{
    return (uint32_t)sizeof *window->numbers * window->channels * window->columns * window->slots;
}

/** Numbers from one channel of a window to the next. */
static inline uint32_t acs_rv32_channel_step(const acs_rv32_window_t *window)
{
    return window->columns * window->slots;
}

/**
 * Moves a window down. It is empty and zero at first, and then moves by half of its slots.
 *
 * @param top     image row, padding counted, that comes into the first slot
 * @param kept    slots that are still right after the move; 0: it is the first one
 * @param needed  slots that are read
 */
void acs_rv32_move_to(const acs_rv32_window_t *window, uint32_t top, uint32_t kept, uint32_t needed);

#endif /* ACS_RV32_H */
