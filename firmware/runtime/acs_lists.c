/* SPDX-License-Identifier: Apache-2.0 */
/* acs_lists.c: gates decide, lists say which groups are active. */
#include "acs_layers.h"

#include <string.h>

static bool decide(acs_mode_t mode, int8_t logit, int8_t zero_point, uint8_t given)
{
    switch (mode) {
    case ACS_OPEN:
        return true;
    case ACS_GIVEN:
        return given == 1;
    case ACS_BUDGET:
        return logit > zero_point + 2 * (int8_t)given;
    default:
        return logit > zero_point;
    }
}

acs_mask_t acs_gate_s8(acs_mode_t mode, uint16_t groups, int8_t zero_point, const int8_t *logits,
                       uint8_t *open, uint8_t *list)
{
    uint16_t count = 0;
    for (uint16_t g = 0; g < groups; g++) {
        open[g] = decide(mode, logits[g], zero_point, open[g]) ? 1u : 0u;
        if (open[g] || mode == ACS_MULTIPLY) {
            list[count++] = (uint8_t)g;
        }
    }
    return (acs_mask_t){.open = open, .active = {.index = list, .count = count, .groups = groups}};
}

acs_mask_t acs_undecided(uint16_t groups, uint8_t *open, const uint8_t *list)
{
    memset(open, ACS_UNDECIDED, groups);
    return (acs_mask_t){.open = open, .active = {.index = list, .count = 0, .groups = groups}};
}

acs_list_t acs_make_list(acs_mode_t mode, uint16_t groups, const uint16_t *source, const uint8_t *open,
                         uint8_t *list)
{
    uint16_t count = 0;
    for (uint16_t g = 0; g < groups; g++) {
        if (mode == ACS_MULTIPLY || source[g] == ACS_ALWAYS || open[source[g]] == 1) {
            list[count++] = (uint8_t)g;
        }
    }
    return (acs_list_t){.index = list, .count = count, .groups = groups};
}

void acs_apply_mask_s8(bool fill, const acs_mask_t *mask, uint32_t bytes, int8_t zero_point,
                       const int8_t *input, int8_t *output)
{
    const uint32_t group_bytes = bytes / mask->active.groups;
    for (uint16_t g = 0; g < mask->active.groups; g++) {
        if (mask->open[g] == 1) {
            if (output != input) {
                memcpy(output + g * group_bytes, input + g * group_bytes, group_bytes);
            }
        } else if (fill) {
            memset(output + g * group_bytes, zero_point, group_bytes);
        }
    }
}

void acs_mask_channels_s8(const acs_mask_t *mask, acs_shape_t shape, uint16_t groups, int8_t zero_point,
                          const int8_t *input, int8_t *output)
{
    const uint32_t pixels = (uint32_t)shape.height * shape.width;
    const uint32_t each = shape.channels / groups;
    const uint32_t masked = shape.channels / mask->active.groups;
    if (output != input) {
        memcpy(output, input, pixels * shape.channels);
    }
    for (uint32_t c = 0; c < shape.channels; c++) {
        if (mask->open[c / masked] != 1) {
            int8_t *const end = output + (c / each + 1) * pixels * each;
            for (int8_t *to = output + c / each * pixels * each + c % each; to < end; to += each) {
                *to = zero_point;
            }
        }
    }
}

uint16_t acs_list_count(const acs_list_t *list, uint16_t groups)
{
    if (list == NULL) {
        return groups;
    }
    return (uint16_t)(list->count * (groups / list->groups));
}

uint16_t acs_list_at(const acs_list_t *list, uint16_t groups, uint16_t i)
{
    if (list == NULL) {
        return i;
    }
    if (list->groups == groups) {
        return list->index[i];
    }
    const uint16_t each = (uint16_t)(groups / list->groups);
    return (uint16_t)(list->index[i / each] * each + i % each);
}
