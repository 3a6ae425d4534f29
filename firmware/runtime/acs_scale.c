/* SPDX-License-Identifier: Apache-2.0 */
/* acs_scale.c: one factor and one offset for each channel, which is what batch normalisation leaves. */
#include "acs_layers.h"

/* Where the int8 values of one channel lie: `step` bytes from pixel to pixel. */
typedef struct {
    const int8_t *input;
    int8_t *output;
    uint32_t input_step, output_step, pixels;
} strip_t;

static inline int8_t clamp(int32_t value, int32_t low, int32_t high)
{
    return (int8_t)(value < low ? low : (value > high ? high : value));
}

/* By the definition; bias: what the sum is where the input is 0. */
static void scale_plainly(const acs_depthwise_t *l, strip_t s, int32_t weight, int32_t bias, acs_scale_t scale)
{
    for (uint32_t p = 0; p < s.pixels; p++, s.input += s.input_step, s.output += s.output_step) {
        const int32_t value = acs_rescale(*s.input * weight + bias, scale) + l->output_zero_point;
        *s.output = clamp(value, l->low, l->high);
    }
}

/*
 * The same numbers in fewer instructions, for right shifts from 1 to 20 and sums below 2^30: of a
 * doubled sum, the doubling high multiply is the upper word of one 64-bit product, and a division by a
 * power of two that rounds ties away from zero is a shift of the value plus a half, less one if negative.
 */
static void scale_quickly(const acs_depthwise_t *l, strip_t s, int32_t weight, int32_t bias, acs_scale_t scale)
{
    const int32_t doubled_weight = 2 * weight;
    const int32_t doubled_bias = 2 * bias;
    const int32_t multiplier = scale.multiplier;
    const uint32_t right = (uint32_t)-scale.shift;
    const int32_t zero = l->output_zero_point;
    const int32_t half = (int32_t)(1u << (right - 1)) + zero * (1 << right);
    const int32_t low = l->low;
    const int32_t high = l->high;
    for (uint32_t p = s.pixels; p > 0; p--, s.input += s.input_step, s.output += s.output_step) {
        const int32_t sum = *s.input * doubled_weight + doubled_bias;
        const int32_t value = (int32_t)(((1LL << 31) + (int64_t)sum * multiplier) >> 32);
        *s.output = clamp((value + (value >> 31) + half) >> right, low, high);
    }
}

/* Whether a depthwise convolution gives every value a factor and an offset, and does nothing else. */
static bool scales(const acs_depthwise_t *layer)
{
    return layer->kernel.height == 1 && layer->kernel.width == 1 && layer->padding.height == 0 &&
           layer->padding.width == 0 && layer->input.height == layer->output.height &&
           layer->input.width == layer->output.width;
}

void acs_scale_s8(const acs_depthwise_t *layer, uint32_t group, const int8_t *input, uint32_t input_step,
                  int8_t *output, uint32_t output_step)
{
    const uint32_t each = layer->output.channels / layer->groups;
    const uint32_t pixels = (uint32_t)layer->output.height * layer->output.width;
    const int32_t limit = (1 << 30) - 128 * 127;
    for (uint32_t c = group * each; c < (group + 1) * each; c++) {
        const strip_t strip = {input++, output++, input_step, output_step, pixels};
        const acs_scale_t scale = {layer->multiplier[c], layer->shift[c]};
        const int32_t weight = layer->weights[c];
        const int32_t bias = layer->bias[c] - layer->input_zero_point * weight;
        if (-20 <= scale.shift && scale.shift < 0 && -limit < bias && bias < limit) {
            scale_quickly(layer, strip, weight, bias, scale);
        } else {
            scale_plainly(layer, strip, weight, bias, scale);
        }
    }
}

bool acs_scale_groups_s8(const acs_depthwise_t *layer, const acs_list_t *active, const int8_t *input, int8_t *output)
{
    const uint32_t each = layer->input.channels / layer->groups;
    const uint16_t count = acs_list_count(active, layer->groups);
    if (!scales(layer)) {
        return false;
    }
    for (uint16_t i = 0; i < count; i++) {
        const uint32_t g = acs_list_at(active, layer->groups, i);
        const uint32_t at = g * acs_image_bytes(layer->input, each);
        acs_scale_s8(layer, g, input + at, each, output + at, each);
    }
    return true;
}
