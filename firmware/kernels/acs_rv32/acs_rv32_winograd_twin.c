/* SPDX-License-Identifier: Apache-2.0 */
/* acs_rv32_winograd_twin.c: acs_rv32_winograd.S in C, number for number, for every other target. */

/* GCC would order all loads of a step before its products, for which an Xtensa has too few registers. */
#if defined(__XTENSA__) && defined(__GNUC__)
#pragma GCC optimize("no-schedule-insns")
#endif

#include "acs_rv32.h"
#include "acs_winograd_fold.h"

#if !ACS_RV32_ASSEMBLY

#define POINTS ACS_WINOGRAD_POINTS
#define POINT_SUMS (ACS_QUAD * ACS_RV32_PIXELS)

/* d0 - d2, d1 + d2, d2 - d1, d1 - d3: no sum of two or four inputs leaves 16 bits. */
static void transform(const int16_t d[4], int16_t result[4])
{
    result[0] = (int16_t)(d[0] - d[2]);
    result[1] = (int16_t)(d[1] + d[2]);
    result[2] = (int16_t)(d[2] - d[1]);
    result[3] = (int16_t)(d[1] - d[3]);
}

void acs_rv32_winograd_input(const int16_t *columns, int16_t *transformed, uint32_t fours, uint32_t four_bytes)
{
    for (uint32_t tile = 0; tile < ACS_RV32_PIXELS * fours; tile++) {
        int16_t rows[4][4];
        for (uint32_t column = 0; column < 4; column++) {
            int16_t down[4];
            transform(columns + (2 * tile + column) * ACS_RV32_SLOTS, down);
            for (uint32_t row = 0; row < 4; row++) {
                rows[row][column] = down[row];
            }
        }
        int16_t *const to = transformed + tile / ACS_RV32_PIXELS * (four_bytes / 2) + tile % ACS_RV32_PIXELS;
        for (uint32_t row = 0; row < 4; row++) {
            int16_t across[4];
            transform(rows[row], across);
            for (uint32_t column = 0; column < 4; column++) {
                to[(4 * row + column) * ACS_RV32_PIXELS] = across[column];
            }
        }
    }
}

/* Output channels that are computed together: their sums for four tiles fit the registers of most cores. */
#define PAIR 2u

/* The sums of two channels of a quad at one point: [output channel][tile]. Unsigned: they wrap, as registers do. */
static inline void multiply_pair(const acs_rv32_tile_t *tile, const int16_t *inputs, const int16_t *weights,
                                 uint32_t *sums)
{
    uint32_t added[PAIR][ACS_RV32_PIXELS] = {{0}};
    for (const acs_run_t *run = tile->runs; run < tile->end; run++) {
        const int16_t *at = weights + run->begin / 2;
        const int16_t *const end = weights + run->end / 2;
        for (; at < end; at += ACS_QUAD, inputs += POINTS * ACS_RV32_PIXELS) {
            for (uint32_t p = 0; p < ACS_RV32_PIXELS; p++) {
                added[0][p] += (uint32_t)(at[0] * inputs[p]);
                added[1][p] += (uint32_t)(at[1] * inputs[p]);
            }
        }
    }
    for (uint32_t p = 0; p < ACS_RV32_PIXELS; p++) {
        sums[p] = added[0][p];
        sums[ACS_RV32_PIXELS + p] = added[1][p];
    }
}

static void multiply(const acs_rv32_tile_t *tile, const int16_t *inputs, const int16_t *weights, uint32_t *sums)
{
    for (uint32_t c = 0; c < ACS_QUAD; c += PAIR) {
        multiply_pair(tile, inputs, weights + c, sums + c * ACS_RV32_PIXELS);
    }
}

/* A tile's four outputs of one channel: how is four times its bias, multiplier, rounding, shift. */
static void finish(const uint32_t *sums, const int32_t *how, int8_t *output, uint32_t step, uint32_t row_step)
{
    int32_t four[2][2];
    acs_winograd_fold(sums, POINT_SUMS, how[0], four);
    for (uint32_t row = 0; row < 2; row++) {
        for (uint32_t column = 0; column < 2; column++) {
            output[row * row_step + column * step] = (int8_t)acs_rv32_finish(four[row][column], how[1], how[2], how[3]);
        }
    }
}

void acs_rv32_winograd_quad(const acs_rv32_tile_t *tile)
{
    uint32_t *const sums = (uint32_t *)tile->sums;
    for (uint32_t t = 0; t < tile->tiles; t += ACS_RV32_PIXELS) {
        const int16_t *const inputs = tile->numbers + t / ACS_RV32_PIXELS * (tile->number_step / 2);
        for (uint32_t point = 0; point < POINTS; point++) {
            const int8_t *const weights = tile->weights + point * tile->point_bytes;
            multiply(tile, inputs + point * ACS_RV32_PIXELS, (const int16_t *)(const void *)weights,
                     sums + point * POINT_SUMS);
        }
        for (uint32_t i = 0; i < POINT_SUMS; i++) {
            const uint32_t channel = i / ACS_RV32_PIXELS;
            const uint32_t which = t + i % ACS_RV32_PIXELS;
            if (which < tile->tiles) {
                finish(sums + i, tile->finish + 4 * channel, tile->output + channel + 2 * which * tile->output_step,
                       tile->output_step, tile->row_step);
            }
        }
    }
}

#endif /* !ACS_RV32_ASSEMBLY */
