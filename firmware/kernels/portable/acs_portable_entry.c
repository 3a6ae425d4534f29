/* SPDX-License-Identifier: Apache-2.0 */
/* acs_portable_entry.c: convolutions under the names of the kernel set's interface. */
#include "acs_portable.h"

bool acs_conv_s8(const acs_conv_t *layer, const acs_list_t *active, const int8_t *input, int8_t *output,
                 acs_scratch_t scratch)
{
    return acs_portable_conv(layer, active, input, output, scratch);
}

bool acs_conv_join_s8(const acs_conv_t *layer, const acs_list_t *active, const acs_list_t *outputs,
                      const int8_t *input, int8_t *output, acs_scratch_t scratch)
{
    return acs_portable_conv_join(layer, active, outputs, input, output, scratch);
}

bool acs_depthwise_s8(const acs_depthwise_t *layer, const acs_list_t *active, const int8_t *input,
                      int8_t *output, acs_scratch_t scratch)
{
    (void)scratch;
    return acs_portable_depthwise(layer, active, input, output);
}
