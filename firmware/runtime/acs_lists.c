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

static int32_t dot(uint32_t count, const int8_t *weights, const int8_t *input)
{
    int32_t sum = 0;
    for (; count >= 4; count -= 4, weights += 4, input += 4) {
        sum += weights[0] * input[0] + weights[1] * input[1] + weights[2] * input[2] + weights[3] * input[3];
    }
    for (uint32_t i = 0; i < count; i++) {
        sum += weights[i] * input[i];
    }
    return sum;
}

static bool decide_on_sum(acs_mode_t mode, int32_t sum, int32_t step, uint8_t given)
{
    if (mode != ACS_BUDGET) {
        return sum > 0;
    }
    const int8_t raised = (int8_t)given;
    return raised == INT8_MIN || (raised != INT8_MAX && sum > raised * step);
}

acs_mask_t acs_gate_sums_s8(acs_mode_t mode, const acs_gate_t *gate, const int8_t *input, uint8_t *open,
                            uint8_t *list)
{
    uint16_t count = 0;
    for (uint16_t g = 0; g < gate->groups; g++) {
        const int8_t *const weights = gate->weights + (uint32_t)g * gate->inputs;
        const int32_t sum = gate->bias[g] + dot(gate->inputs, weights, input);
        const bool is_open = mode == ACS_OPEN    ? true
                             : mode == ACS_GIVEN ? open[g] == 1
                                                 : decide_on_sum(mode, sum, gate->step[g], open[g]);
        open[g] = is_open ? 1u : 0u;
        if (is_open || mode == ACS_MULTIPLY) {
            list[count++] = (uint8_t)g;
        }
    }
    return (acs_mask_t){.open = open, .active = {.index = list, .count = count, .groups = gate->groups}};
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
