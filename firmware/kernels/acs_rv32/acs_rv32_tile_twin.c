/* SPDX-License-Identifier: Apache-2.0 */
/* acs_rv32_tile_twin.c: the tiles of acs_rv32_tile.S in C, number for number, for every other target. */

/* GCC would order all loads of a step before its products, for which an Xtensa has too few registers. */
#if defined(__XTENSA__) && defined(__GNUC__)
#pragma GCC optimize("no-schedule-insns")
#endif

#include "acs_rv32.h"

#include <stddef.h>

/* C leaves it to the compiler; every compiler for these chips does it so, and the numbers need it. */
_Static_assert((-3 >> 1) == -2, "a right shift of a negative number must copy the sign");

#if ACS_RV32_ASSEMBLY

_Static_assert(offsetof(acs_rv32_tile_t, row_step) == 44, "acs_rv32_tile.S and acs_rv32_winograd.S read 32 bits each");

#else

/* Output channels that are computed together: their sums for four pixels fit the registers of most cores. */
#define PAIR 2u

/* Where the numbers of a tap lie, seen from those of its channel: for the tile's first pixel and the others. All of
 * them are constants where `compute` is inlined. */
typedef struct {
    uint32_t size;          /* a channel has size x size taps */
    uint32_t column_step;   /* numbers from one column to the next; rows follow each other */
    uint32_t pixel_step;    /* from one pixel of a tile to the next */
    uint32_t pixels;
    uint32_t tile_step;     /* from tile to tile; 0: a tile lies behind the channels of the one before */
} shape_t;

/* Two weights are loaded together. */
static inline void add_tap(const int8_t *weights, const int16_t *numbers, const shape_t shape,
                           int32_t sums[PAIR][ACS_RV32_PIXELS])
{
    const int16_t both = *(const int16_t *)(const void *)weights;
    const int16_t first = (int8_t)both, second = (int16_t)(both >> 8);
    for (uint32_t p = 0; p < shape.pixels; p++) {
        sums[0][p] += first * numbers[p * shape.pixel_step];
        sums[1][p] += second * numbers[p * shape.pixel_step];
    }
}

/* Two output channels of a tile, `channel` the first of them; returns where the tile's numbers end. */
static inline const int16_t *compute_pair(const acs_rv32_tile_t *tile, const shape_t shape, uint32_t channel_step,
                                          uint32_t channel, const int16_t *numbers, int8_t *output)
{
    int32_t sums[PAIR][ACS_RV32_PIXELS];
    for (uint32_t p = 0; p < shape.pixels; p++) {
        sums[0][p] = tile->finish[channel];
        sums[1][p] = tile->finish[channel + 1];
    }
    for (const acs_run_t *run = tile->runs; run < tile->end; run++) {
        const int8_t *weights = tile->weights + run->begin + channel;
        const int8_t *const end = tile->weights + run->end;
        for (; weights < end; numbers += channel_step) {
            for (uint32_t row = 0; row < shape.size; row++, weights += shape.size * ACS_QUAD) {
                for (uint32_t column = 0; column < shape.size; column++) {
                    add_tap(weights + column * ACS_QUAD, numbers + row + column * shape.column_step, shape, sums);
                }
            }
        }
    }
    const int32_t *const how = tile->finish + ACS_QUAD + 3 * channel;
    for (uint32_t p = 0; p < shape.pixels; p++, output += tile->output_step) {
        output[0] = (int8_t)acs_rv32_finish(4 * sums[0][p], how[0], how[1], how[2]);
        output[1] = (int8_t)acs_rv32_finish(4 * sums[1][p], how[3], how[4], how[5]);
    }
    return numbers;
}

static inline void compute(const acs_rv32_tile_t *tile, const shape_t shape, uint32_t channel_step)
{
    const int16_t *numbers = tile->numbers;
    int8_t *output = tile->output;
    for (uint32_t t = 0; t < tile->tiles; t++, output += shape.pixels * tile->output_step) {
        const int16_t *end = numbers;
        for (uint32_t c = 0; c < ACS_QUAD; c += PAIR) {
            end = compute_pair(tile, shape, channel_step, c, numbers, output + c);
        }
        numbers = shape.tile_step ? numbers + shape.tile_step : end;
    }
}

static inline void compute_window(const acs_rv32_tile_t *tile, uint32_t stride)
{
    const shape_t shape = {.size = 3, .column_step = ACS_RV32_SLOTS,
                           .pixel_step = stride * ACS_RV32_SLOTS, .pixels = ACS_RV32_PIXELS,
                           .tile_step = stride * ACS_RV32_PIXELS * ACS_RV32_SLOTS};
    compute(tile, shape, tile->number_step / (uint32_t)sizeof(int16_t));
}

/* A column's tap is a channel of its own here: the numbers lie in the order of the weights. */
static inline void compute_column(const acs_rv32_tile_t *tile, uint32_t pixels)
{
    const shape_t shape = {.size = 1, .pixel_step = 1, .pixels = pixels};
    compute(tile, shape, pixels);
}

void acs_rv32_column(const acs_rv32_tile_t *tile)
{
    compute_column(tile, ACS_RV32_PIXELS);
}

void acs_rv32_line(const acs_rv32_tile_t *tile)
{
    compute_column(tile, 1);
}

void acs_rv32_window_1(const acs_rv32_tile_t *tile)
{
    compute_window(tile, 1);
}

void acs_rv32_window_2(const acs_rv32_tile_t *tile)
{
    compute_window(tile, 2);
}

#endif /* ACS_RV32_ASSEMBLY */
