/* SPDX-License-Identifier: Apache-2.0 */
/**
 * acs_winograd_fold.h: the end of Winograd's way (acs_dsp.h) in C, for the twins of several sets. Internal.
 */
#ifndef ACS_WINOGRAD_FOLD_H
#define ACS_WINOGRAD_FOLD_H

#include <stdint.h>

/** m0 + m1 + m2 and m1 - m2 - m3. Unsigned: sums wrap, as registers do. */
static inline void acs_winograd_fold_four(const uint32_t m[4], uint32_t result[2])
{
    result[0] = m[0] + m[1] + m[2];
    result[1] = m[1] - m[2] - m[3];
}

/**
 * Four times a tile's four outputs of one channel: A m A^T.
 *
 * @param sums   at point 0; those of the next point are point_sums further on
 * @param start  four times the bias, which point (1, 1) takes in
 * @param four   receives them, [row][column]
 */
static inline void acs_winograd_fold(const uint32_t *sums, uint32_t point_sums, int32_t start, int32_t four[2][2])
{
    uint32_t folded[2][4];
    for (uint32_t column = 0; column < 4; column++) {
        uint32_t m[4];
        uint32_t down[2];
        for (uint32_t row = 0; row < 4; row++) {
            m[row] = sums[(4 * row + column) * point_sums];
        }
        m[1] += column == 1 ? (uint32_t)start : 0u;
        acs_winograd_fold_four(m, down);
        folded[0][column] = down[0];
        folded[1][column] = down[1];
    }
    for (uint32_t row = 0; row < 2; row++) {
        uint32_t across[2];
        acs_winograd_fold_four(folded[row], across);
        four[row][0] = (int32_t)across[0];
        four[row][1] = (int32_t)across[1];
    }
}

#endif /* ACS_WINOGRAD_FOLD_H */
