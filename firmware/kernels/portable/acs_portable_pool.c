/* SPDX-License-Identifier: Apache-2.0 */
/* acs_portable_pool.c: pooling over active groups, under the names of the kernel set's interface. */
#include "acs_layers.h"

bool acs_max_pool_s8(const acs_pool_t *layer, const acs_list_t *active, const int8_t *input,
                     int8_t *output, acs_scratch_t scratch)
{
    (void)scratch;
    return acs_greatest_s8(layer, active, input, output);
}

bool acs_avg_pool_s8(const acs_pool_t *layer, const acs_list_t *active, const int8_t *input,
                     int8_t *output, acs_scratch_t scratch)
{
    (void)scratch;
    return acs_average_s8(layer, active, input, output);
}
