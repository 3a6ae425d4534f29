/* SPDX-License-Identifier: Apache-2.0 */
/* acs_rv32_rows_twin.c: acs_rv32_rows.S in C, number for number, for every other target. */
#include "acs_rv32.h"

#include <stddef.h>

#if ACS_RV32_ASSEMBLY

_Static_assert(offsetof(acs_rv32_depth_t, output_step) == 20, "acs_rv32_rows.S reads 32 bits each");

#else

static void compute(const acs_rv32_depth_t *row, uint32_t size, uint32_t stride, uint32_t slots)
{
    for (uint32_t p = 0; p < row->tiles * ACS_RV32_PIXELS; p++) {
        const int16_t *const window = row->numbers + p * stride * slots;
        int32_t sum = row->finish[0];
        for (uint32_t tap = 0; tap < size * size; tap++) {
            sum += row->weights[tap] * window[tap % size * slots + tap / size];
        }
        row->output[p * row->output_step] =
            (int8_t)acs_rv32_finish(4 * sum, row->finish[1], row->finish[2], row->finish[3]);
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
