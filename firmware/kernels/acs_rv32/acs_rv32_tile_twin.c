/* SPDX-License-Identifier: Apache-2.0 */
/* acs_rv32_tile_twin.c: the tiles of acs_rv32_tile.S in C, number for number, for every other target. */
#include "acs_rv32.h"

#include <stddef.h>

/* C leaves it to the compiler; every compiler for these chips does it so, and the numbers need it. */
_Static_assert((-3 >> 1) == -2, "a right shift of a negative number must copy the sign");

#if ACS_RV32_ASSEMBLY

_Static_assert(offsetof(acs_rv32_tile_t, row_step) == 44, "acs_rv32_tile.S and acs_rv32_winograd.S read 32 bits each");

#else

/* Where the numbers of a tap lie, seen from those of its channel: for the tile's first pixel and the others. */
typedef struct {
    uint32_t taps, columns; /* taps of a channel; of a row */
    uint32_t column_step;   /* numbers from one column to the next */
    uint32_t pixel_step;    /* from one pixel of a tile to the next */
    uint32_t pixels;
    uint32_t tile_step;     /* from tile to tile; 0: a tile lies behind the channels of the one before */
} shape_t;

static void add_tap(const int8_t *weights, const int16_t *numbers, const shape_t *shape,
                    int32_t sums[ACS_RV32_PIXELS][ACS_QUAD])
{
    for (uint32_t p = 0; p < shape->pixels; p++) {
        for (uint32_t c = 0; c < ACS_QUAD; c++) {
            sums[p][c] += weights[c] * numbers[p * shape->pixel_step];
        }
    }
}

static void compute(const acs_rv32_tile_t *tile, const shape_t *shape, uint32_t channel_step)
{
    const int16_t *first = tile->numbers;
    int8_t *output = tile->output;
    for (uint32_t t = 0; t < tile->tiles; t++) {
        int32_t sums[ACS_RV32_PIXELS][ACS_QUAD];
        for (uint32_t i = 0; i < ACS_RV32_PIXELS * ACS_QUAD; i++) {
            sums[i / ACS_QUAD][i % ACS_QUAD] = tile->finish[i % ACS_QUAD];
        }
        const int16_t *numbers = first;
        for (const acs_run_t *run = tile->runs; run < tile->end; run++) {
            const int8_t *weights = tile->weights + run->begin;
            const int8_t *const end = tile->weights + run->end;
            for (; weights < end; numbers += channel_step) {
                for (uint32_t tap = 0; tap < shape->taps; tap++, weights += ACS_QUAD) {
                    const uint32_t at = tap / shape->columns + tap % shape->columns * shape->column_step;
                    add_tap(weights, numbers + at, shape, sums);
                }
            }
        }
        for (uint32_t p = 0; p < shape->pixels; p++, output += tile->output_step) {
            for (uint32_t c = 0; c < ACS_QUAD; c++) {
                const int32_t *const how = tile->finish + ACS_QUAD + 3 * c;
                output[c] = (int8_t)acs_rv32_finish(4 * sums[p][c], how[0], how[1], how[2]);
            }
        }
        first = shape->tile_step ? first + shape->tile_step : numbers;
    }
}

static void compute_window(const acs_rv32_tile_t *tile, uint32_t stride)
{
    const shape_t shape = {.taps = 9, .columns = 3, .column_step = ACS_RV32_SLOTS,
                           .pixel_step = stride * ACS_RV32_SLOTS, .pixels = ACS_RV32_PIXELS,
                           .tile_step = stride * ACS_RV32_PIXELS * ACS_RV32_SLOTS};
    compute(tile, &shape, tile->number_step / (uint32_t)sizeof(int16_t));
}

/* A column's tap is a channel of its own here: the numbers lie in the order of the weights. */
static void compute_column(const acs_rv32_tile_t *tile, uint32_t pixels)
{
    const shape_t shape = {.taps = 1, .columns = 1, .pixel_step = 1, .pixels = pixels};
    compute(tile, &shape, pixels);
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
