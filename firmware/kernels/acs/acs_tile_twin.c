/* SPDX-License-Identifier: Apache-2.0 */
/* acs_tile_twin.c: the tiles of acs_tile.S in C, number for number, for every target without its instructions. */
#include "acs_dsp_math.h"

/* C leaves both to the compiler; every compiler for these chips does it so, and the numbers need it. */
_Static_assert((-3 >> 1) == -2, "a right shift of a negative number must copy the sign");
_Static_assert((int32_t)0xfffffffeu == -2, "a conversion to a signed type must wrap");

#if !ACS_DSP_ASSEMBLY

/* Where the words of a tap lie, seen from those of its pair: for the tile's first pixel and its second. */
typedef struct {
    uint32_t taps, columns;        /* taps of a pair; of a row */
    uint32_t column_step;          /* words from one column to the next */
    uint32_t row_step;             /* from one row to the next */
    uint32_t pixel_step;           /* from a tile's first pixel to its second */
    uint32_t tile_step;            /* from tile to tile; 0: a tile lies behind the pairs of the one before */
} shape_t;

static void compute(const acs_tile_t *tile, const shape_t *shape, uint32_t pair_step, bool wide)
{
    void (*const add_tap)(const int32_t *, int32_t, int32_t *) = wide ? acs_add_tap_wide : acs_add_tap_paired;
    const uint32_t tap_words = wide ? ACS_QUAD : ACS_QUAD / 2;
    const acs_run_t whole = {0, 4 * (uint32_t)(tile->stop - tile->weights)};
    const bool windows = shape->tile_step > 0;
    const acs_run_t *const runs = windows ? &whole : tile->runs;
    const acs_run_t *const end = windows ? &whole + 1 : tile->end;
    const int32_t *first = tile->words;
    int8_t *output = tile->output;
    for (uint32_t t = 0; t < tile->tiles; t++) {
        int32_t sums[ACS_TILE_PIXELS][ACS_QUAD];
        for (uint32_t i = 0; i < ACS_TILE_PIXELS * ACS_QUAD; i++) {
            sums[i / ACS_QUAD][i % ACS_QUAD] = tile->finish[i % ACS_QUAD];
        }
        const int32_t *words = first;
        for (const acs_run_t *run = runs; run < end; run++) {
            const int32_t *weights = tile->weights + run->begin / 4;
            for (; weights < tile->weights + run->end / 4; words += pair_step) {
                for (uint32_t tap = 0; tap < shape->taps; tap++, weights += tap_words) {
                    const int32_t *const word =
                        words + tap / shape->columns * shape->row_step + tap % shape->columns * shape->column_step;
                    add_tap(weights, word[0], sums[0]);
                    add_tap(weights, word[shape->pixel_step], sums[1]);
                }
            }
        }
        for (uint32_t p = 0; p < ACS_TILE_PIXELS; p++, output += tile->output_step) {
            acs_write_quad(sums[p], tile->finish + ACS_QUAD, wide, output);
        }
        first = windows ? first + shape->tile_step : words;
    }
}

/* A column's tap is a pair of its own here: the words lie in the order of the weights. */
static const shape_t column = {.taps = 1, .columns = 1, .pixel_step = 1};

static shape_t window(uint32_t stride)
{
    const uint32_t column_step = ACS_WINDOW_ROWS(stride);
    return (shape_t){.taps = 9, .columns = 3, .column_step = column_step, .row_step = 1,
                     .pixel_step = stride * column_step, .tile_step = stride * ACS_TILE_PIXELS * column_step};
}

void acs_tile_column_paired(const acs_tile_t *tile)
{
    compute(tile, &column, ACS_TILE_PIXELS, false);
}

void acs_tile_column_wide(const acs_tile_t *tile)
{
    compute(tile, &column, ACS_TILE_PIXELS, true);
}

void acs_tile_window_1_paired(const acs_tile_t *tile)
{
    const shape_t shape = window(1);
    compute(tile, &shape, tile->pair_step / 4, false);
}

void acs_tile_window_1_wide(const acs_tile_t *tile)
{
    const shape_t shape = window(1);
    compute(tile, &shape, tile->pair_step / 4, true);
}

void acs_tile_window_2_paired(const acs_tile_t *tile)
{
    const shape_t shape = window(2);
    compute(tile, &shape, tile->pair_step / 4, false);
}

void acs_tile_window_2_wide(const acs_tile_t *tile)
{
    const shape_t shape = window(2);
    compute(tile, &shape, tile->pair_step / 4, true);
}

int32_t *acs_copy_words(int32_t *to, const int32_t *from, const int32_t *end)
{
    while (from < end) {
        *to++ = *from++;
    }
    return to;
}

#endif /* !ACS_DSP_ASSEMBLY */
