/* SPDX-License-Identifier: Apache-2.0 */
/**
 * acs_rv32.h: shared by the kernels of this set, for RISC-V cores with 32 bits and multiplication. Internal, for C only.
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

/** Memory of Winograd's sums: [16 points][4 output channels][4 tiles]. */
#define ACS_RV32_WINOGRAD_SUMS (ACS_WINOGRAD_POINTS * ACS_QUAD * ACS_RV32_PIXELS)

/**
 * Compute a row of tiles. Of acs_tile_t, `words` points to 16-bit numbers.
 *
 * acs_rv32_column: numbers are [tile][active channel][tap][4 pixels], one behind the other.
 * acs_rv32_line: the same of a single pixel: [active channel][tap]; there is one tile.
 * acs_rv32_window_*: a 3x3 window; numbers are [active channel][image column][ACS_WINDOW_ROWS], the window's top row
 * first, pair_step the bytes from one channel to the next. In the name is the stride: the distance of windows.
 * acs_rv32_winograd_quad: numbers are transformed inputs, [four tiles][active channel][16 points][4 tiles], pair_step
 * the bytes of four tiles. Tiles beyond the last one are not written.
 */
acs_tile_function_t acs_rv32_column, acs_rv32_line, acs_rv32_window_1, acs_rv32_window_2, acs_rv32_winograd_quad;

/**
 * Transforms a channel's window.
 *
 * @param columns      of the channel, in a window: two for each tile and two more
 * @param transformed  of the channel, in the first four tiles
 * @param fours        how many times four tiles
 * @param four_bytes   from four tiles to the next four
 */
void acs_rv32_winograd_input(const int16_t *columns, int16_t *transformed, uint32_t fours, uint32_t four_bytes);

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
 * Expands neighbouring pixels of an image group.
 *
 * @param input         the first pixel's channels, which are as many as one image of the source has
 * @param numbers       of the first pixel, in the group's first channel
 * @param pixel_step    numbers from one pixel to the next
 * @param channel_step  numbers from one channel to the next
 */
void acs_rv32_expand(uint32_t channels, int32_t zero_point, uint32_t pixels, const int8_t *input, int16_t *numbers,
                     uint32_t pixel_step, uint32_t channel_step);

#endif /* ACS_RV32_H */
