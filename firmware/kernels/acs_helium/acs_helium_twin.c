/* SPDX-License-Identifier: Apache-2.0 */
/* acs_helium_twin.c: what acs_helium_tile.S does, number for number, for targets without its instructions. */
#include "acs_helium.h"

#if !ACS_HELIUM_ASSEMBLY

#include <string.h>

/* What is under the window of one pixel; constants where it is inlined. */
typedef struct {
    uint32_t pixel_bytes; /* from a pixel's window to the next one's */
    uint32_t rows, vectors;
    uint32_t block_bytes; /* from a block to the next one */
    uint32_t unit;        /* channels; 0: a single block, without a table */
} window_t;

static int32_t saturate(int64_t value, int32_t bits)
{
    const int64_t most = ((int64_t)1 << (bits - 1)) - 1;
    return (int32_t)(value > most ? most : (value < -most - 1 ? -most - 1 : value));
}

/* VQRDMULH, VQDMLAH, VRSHL, VQMOVN, VQADD, VQMOVN. */
static int8_t finish(int32_t sum, int32_t multiplier, int32_t shift, int32_t zero_point)
{
    const int32_t high = saturate(((int64_t)sum * multiplier + (1 << 30)) >> 31, 32);
    const int64_t value = saturate((int64_t)high + (high >> 31), 32);
    const int64_t shifted = (value + ((int64_t)1 << (-shift - 1))) >> -shift;
    return (int8_t)saturate(saturate(shifted, 16) + zero_point, 8);
}

/* VMLADAVA: sums wrap. weights: of the units, from `at` on. */
static uint32_t multiply(uint32_t sum, const int8_t *x, const int8_t *const *weights, uint32_t at, uint32_t unit)
{
    for (uint32_t i = 0; i < ACS_HELIUM_VECTOR; i++) {
        sum += (uint32_t)(x[i] * weights[i / unit][at + i % unit]);
    }
    return sum;
}

/* The weights of every unit of a block. */
static uint32_t find_weights(const acs_helium_t *tiles, const window_t *window, uint32_t pair, uint32_t block,
                             const int8_t **weights)
{
    if (window->unit == 0) {
        weights[0] = tiles->weights + pair * tiles->pair_bytes;
        return ACS_HELIUM_VECTOR;
    }
    const uint32_t units = ACS_HELIUM_VECTOR / window->unit;
    const uint32_t words = acs_helium_table_words(window->unit);
    for (uint32_t i = 0; i < units; i++) {
        weights[i] = tiles->blocks[block * words + i * words / units] + pair * tiles->pair_bytes;
    }
    return window->unit;
}

/* One pixel of a pair. offset: of its window from that of the first pixel. */
static void compute_pixel(const acs_helium_t *tiles, const window_t *window, uint32_t pair, uint32_t offset,
                          int8_t *results)
{
    uint32_t sums[ACS_HELIUM_PAIR];
    memcpy(sums, tiles->starts + pair * ACS_HELIUM_PAIR, sizeof sums);
    for (uint32_t block = 0; block < tiles->count; block++) {
        const int8_t *weights[ACS_HELIUM_VECTOR];
        const uint32_t unit = find_weights(tiles, window, pair, block, weights);
        uint32_t at = 0;
        for (uint32_t row = 0; row < window->rows; row++) {
            const int8_t *const x = tiles->rows[row] + offset + block * window->block_bytes;
            for (uint32_t v = 0; v < window->vectors; v++) {
                for (uint32_t c = 0; c < ACS_HELIUM_PAIR; c++, at += unit) {
                    sums[c] = multiply(sums[c], x + v * ACS_HELIUM_VECTOR, weights, at, unit);
                }
            }
        }
    }
    for (uint32_t c = 0; c < ACS_HELIUM_PAIR; c++) {
        const int32_t *const how = tiles->finish + 2 * (pair * ACS_HELIUM_PAIR + c);
        int32_t sum;
        memcpy(&sum, &sums[c], sizeof sum);
        results[c] = finish(sum, how[0], how[1], tiles->zero_point);
    }
}

static void compute(const acs_helium_t *tiles, const window_t *window)
{
    for (uint32_t pair = 0; pair < tiles->pairs; pair++) {
        int8_t *const output = tiles->output + pair * ACS_HELIUM_PAIR;
        for (uint32_t at = 0, first = 0; at < tiles->span; at += tiles->output_step, first += ACS_HELIUM_PIXELS) {
            int8_t results[ACS_HELIUM_PIXELS * ACS_HELIUM_PAIR];
            for (uint32_t p = 0; p < ACS_HELIUM_PIXELS; p++) {
                compute_pixel(tiles, window, pair, (first + p) * window->pixel_bytes, results + p * ACS_HELIUM_PAIR);
            }
            for (uint32_t i = 0; i < sizeof results; i++) {
                output[at + tiles->places[i]] = results[i];
            }
        }
    }
}

#define TWIN(name, ...)                            \
    void name(const acs_helium_t *tiles)           \
    {                                              \
        compute(tiles, &(window_t){__VA_ARGS__});  \
    }

TWIN(acs_helium_1_1, 1, 3, 1, 0, 0)
TWIN(acs_helium_2_1, 2, 3, 1, 0, 0)
TWIN(acs_helium_3_1, 3, 3, 1, 0, 0)
TWIN(acs_helium_4_1, 4, 3, 1, 0, 0)
TWIN(acs_helium_8_1, 8, 3, 2, 0, 0)
TWIN(acs_helium_16_1, 16, 3, 3, 0, 0)
TWIN(acs_helium_1_2, 2, 3, 1, 0, 0)
TWIN(acs_helium_2_2, 4, 3, 1, 0, 0)
TWIN(acs_helium_3_2, 6, 3, 1, 0, 0)
TWIN(acs_helium_4_2, 8, 3, 1, 0, 0)
TWIN(acs_helium_8_2, 16, 3, 2, 0, 0)
TWIN(acs_helium_16_2, 32, 3, 3, 0, 0)
TWIN(acs_helium_blocks_16_1, 16, 3, 3, tiles->step, 16)
TWIN(acs_helium_blocks_8_1, 16, 3, 3, tiles->step, 8)
TWIN(acs_helium_blocks_4_1, 16, 3, 3, tiles->step, 4)
TWIN(acs_helium_blocks_16_2, 32, 3, 3, tiles->step, 16)
TWIN(acs_helium_blocks_8_2, 32, 3, 3, tiles->step, 8)
TWIN(acs_helium_blocks_4_2, 32, 3, 3, tiles->step, 4)
TWIN(acs_helium_points_16, tiles->step, 1, 1, 16, 16)
TWIN(acs_helium_points_8, tiles->step, 1, 1, 16, 8)
TWIN(acs_helium_points_4, tiles->step, 1, 1, 16, 4)

void acs_helium_copy(uint32_t bytes, const int8_t *from, int8_t *to)
{
    memcpy(to, from, bytes);
}

void acs_helium_copy_channels(uint32_t pixels, uint32_t channels, const int8_t *from, uint32_t from_step, int8_t *to,
                              uint32_t to_step)
{
    for (; pixels > 0; pixels--, from += from_step, to += to_step) {
        memcpy(to, from, channels);
    }
}

#endif
