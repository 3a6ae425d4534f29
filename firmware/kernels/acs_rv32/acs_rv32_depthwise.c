/* SPDX-License-Identifier: Apache-2.0 */
/* acs_rv32_depthwise.c: depthwise convolutions. */
#include "acs_rv32.h"

bool acs_depthwise_s8(const acs_depthwise_t *layer, const acs_list_t *active, const int8_t *input, int8_t *output,
                      acs_scratch_t scratch)
{
    (void)scratch;
    return acs_portable_depthwise(layer, active, input, output);
}
