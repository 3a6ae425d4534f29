/* SPDX-License-Identifier: Apache-2.0 */
/* acs_rv32_rows_twin.c: acs_rv32_rows.S in C, number for number, for every other target. */
#include "acs_rv32.h"

#include <stddef.h>

#if ACS_RV32_ASSEMBLY

_Static_assert(offsetof(acs_rv32_depth_t, output_step) == 20, "acs_rv32_rows.S reads 32 bits each");

#else

/* Four pixels at a time. All but the row are constants where this is inlined. */
static inline void compute(const acs_rv32_depth_t *row, uint32_t size, uint32_t stride, uint32_t slots)
{
    const int16_t *window = row->numbers;
    int8_t *output = row->output;
    for (uint32_t t = 0; t < row->tiles; t++, window += ACS_RV32_PIXELS * stride * slots) {
        int32_t sums[ACS_RV32_PIXELS];
        for (uint32_t p = 0; p < ACS_RV32_PIXELS; p++) {
            sums[p] = row->finish[0];
        }
        const int8_t *weights = row->weights;
        for (uint32_t r = 0; r < size; r++) {
            for (uint32_t c = 0; c < size; c++, weights++) {
                for (uint32_t p = 0; p < ACS_RV32_PIXELS; p++) {
                    sums[p] += *weights * window[(p * stride + c) * slots + r];
                }
            }
        }
        for (uint32_t p = 0; p < ACS_RV32_PIXELS; p++, output += row->output_step) {
            *output = (int8_t)acs_rv32_finish(4 * sums[p], row->finish[1], row->finish[2], row->finish[3]);
        }
    }
}

void acs_rv32_depthwise_3_1(const acs_rv32_depth_t *row)
{
    compute(row, 3, 1, 4);
}

void acs_rv32_depthwise_3_2(const acs_rv32_depth_t *row)
{
    compute(row, 3, 2, 4);
}

void acs_rv32_depthwise_5_1(const acs_rv32_depth_t *row)
{
    compute(row, 5, 1, 8);
}

void acs_rv32_depthwise_5_2(const acs_rv32_depth_t *row)
{
    compute(row, 5, 2, 8);
}

#endif /* ACS_RV32_ASSEMBLY */
