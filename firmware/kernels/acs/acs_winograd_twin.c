/* SPDX-License-Identifier: Apache-2.0 */
/* acs_winograd_twin.c: acs_winograd.S in C, number for number, for every target without its instructions. */
#include "acs_dsp_math.h"
#include "acs_winograd_fold.h"

#if !ACS_DSP_ASSEMBLY

#define POINTS 16u

/* Two 16-bit numbers by themselves: no sum of two or four inputs leaves 16 bits. */
static int32_t both(int32_t a, int32_t b, int32_t sign)
{
    const uint32_t low = (uint32_t)((int16_t)a + sign * (int16_t)b) & 0xffffu;
    const uint32_t high = (uint32_t)((a >> 16) + sign * (b >> 16)) << 16;
    return (int32_t)(high | low);
}

/* d0 - d2, d1 + d2, d2 - d1, d1 - d3. */
static void transform(const int32_t d[4], int32_t result[4])
{
    result[0] = both(d[0], d[2], -1);
    result[1] = both(d[1], d[2], 1);
    result[2] = both(d[2], d[1], -1);
    result[3] = both(d[1], d[3], -1);
}

void acs_winograd_input(const int32_t *columns, int32_t *transformed, uint32_t twos, uint32_t two_bytes)
{
    for (uint32_t tile = 0; tile < ACS_TILE_PIXELS * twos; tile++) {
        int32_t rows[4][4];
        for (uint32_t column = 0; column < 4; column++) {
            int32_t down[4];
            transform(columns + (2 * tile + column) * ACS_WINDOW_ROWS(1), down);
            for (uint32_t row = 0; row < 4; row++) {
                rows[row][column] = down[row];
            }
        }
        int32_t *const to = transformed + tile / ACS_TILE_PIXELS * (two_bytes / 4) + tile % ACS_TILE_PIXELS;
        for (uint32_t row = 0; row < 4; row++) {
            int32_t across[4];
            transform(rows[row], across);
            for (uint32_t column = 0; column < 4; column++) {
                to[(4 * row + column) * ACS_TILE_PIXELS] = across[column];
            }
        }
    }
}

static uint32_t product(int32_t a, int32_t b)
{
    return (uint32_t)((int16_t)a * (int16_t)b) + (uint32_t)((a >> 16) * (b >> 16));
}

/* The sums of a quad at one point: [output channel][tile]. Unsigned: they wrap, as the instruction does. */
static void multiply(const int32_t *inputs, const int32_t *weights, uint32_t words, uint32_t *sums)
{
    for (uint32_t i = 0; i < ACS_QUAD * ACS_TILE_PIXELS; i++) {
        sums[i] = 0;
    }
    for (const int32_t *const end = weights + words; weights < end; weights += ACS_QUAD) {
        for (uint32_t i = 0; i < ACS_QUAD * ACS_TILE_PIXELS; i++) {
            sums[i] += product(weights[i / ACS_TILE_PIXELS], inputs[i % ACS_TILE_PIXELS]);
        }
        inputs += POINTS * ACS_TILE_PIXELS;
    }
}

/* A tile's four outputs of one channel: how is four times its bias, multiplier, rounding, shift. */
static void finish(const uint32_t *sums, const int32_t *how, int8_t *output, uint32_t step, uint32_t row_step)
{
    int32_t four[2][2];
    acs_winograd_fold(sums, ACS_QUAD * ACS_TILE_PIXELS, how[0], four);
    for (uint32_t row = 0; row < 2; row++) {
        for (uint32_t column = 0; column < 2; column++) {
            output[row * row_step + column * step] = (int8_t)acs_finish(four[row][column] >> 1, how[1], how[2], how[3]);
        }
    }
}

void acs_winograd_quad(const acs_tile_t *tile)
{
    uint32_t *const sums = (uint32_t *)tile->sums;
    const uint32_t point_sums = ACS_QUAD * ACS_TILE_PIXELS;
    for (uint32_t t = 0; t < tile->tiles; t += ACS_TILE_PIXELS) {
        const int32_t *const inputs = tile->words + t / ACS_TILE_PIXELS * (tile->pair_step / 4);
        for (uint32_t point = 0; point < POINTS; point++) {
            multiply(inputs + point * ACS_TILE_PIXELS, tile->weights + point * (tile->point_bytes / 4),
                     (uint32_t)(tile->stop - tile->weights), sums + point * point_sums);
        }
        for (uint32_t i = 0; i < point_sums; i++) {
            const uint32_t channel = i / ACS_TILE_PIXELS;
            const uint32_t which = t + i % ACS_TILE_PIXELS;
            if (which < tile->tiles) {
                finish(sums + i, tile->finish + 4 * channel, tile->output + channel + 2 * which * tile->output_step,
                       tile->output_step, tile->row_step);
            }
        }
    }
}

#endif /* !ACS_DSP_ASSEMBLY */
