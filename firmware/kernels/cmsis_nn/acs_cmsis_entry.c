/* SPDX-License-Identifier: Apache-2.0 */
/* acs_cmsis_entry.c: convolutions under the names of the kernel set's interface. */
#include "acs_cmsis.h"

bool acs_conv_s8(const acs_conv_t *layer, const acs_list_t *active, const int8_t *input, int8_t *output,
                 acs_scratch_t scratch)
{
    return acs_cmsis_conv(layer, active, input, output, scratch);
}

bool acs_conv_join_s8(const acs_conv_t *layer, const acs_list_t *active, const acs_list_t *outputs,
                      const int8_t *input, int8_t *output, acs_scratch_t scratch)
{
    return acs_cmsis_conv_join(layer, active, outputs, input, output, scratch);
}
