/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run_kernel.c: the runtime's functions on the host, one call for each request.
 *
 * Request on standard input: the number of a function in `functions`, then its arguments in the order in
 * which the function below reads them: numbers as 32 bits, arrays as they are, a list as groups, count
 * (-1 for NULL) and its entries. Outputs are full of POISON before the call. Every array is allocated to
 * the byte, so that AddressSanitizer sees the first one beyond.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "acs_layers.h"

#define POISON 0x5B
#define MOST_ARRAYS 32

static void *arrays[MOST_ARRAYS]; /* of this request */
static size_t array_count;

static void *exactly(size_t bytes)
{
    void *const memory = malloc(bytes);
    if (memory == NULL || array_count == MOST_ARRAYS) {
        exit(3);
    }
    arrays[array_count++] = memory;
    return memory;
}

static void *get(size_t bytes)
{
    void *const data = exactly(bytes);
    if (fread(data, 1, bytes, stdin) != bytes) {
        exit(3);
    }
    return data;
}

static void put(const void *data, size_t bytes)
{
    if (fwrite(data, 1, bytes, stdout) != bytes) {
        exit(3);
    }
}

static void put_number(int32_t value)
{
    put(&value, sizeof value);
}

static int32_t number(void)
{
    int32_t value;
    if (fread(&value, sizeof value, 1, stdin) != 1) {
        exit(3);
    }
    return value;
}

static uint32_t size(void)
{
    return (uint32_t)number();
}

static uint16_t small(void)
{
    return (uint16_t)number();
}

static acs_pair_t pair(void)
{
    acs_pair_t value;
    value.height = small();
    value.width = small();
    return value;
}

static acs_shape_t shape(void)
{
    acs_shape_t value;
    value.height = small();
    value.width = small();
    value.channels = small();
    return value;
}

static uint32_t volume(acs_shape_t value)
{
    return (uint32_t)value.height * value.width * value.channels;
}

static acs_scale_t scale(void)
{
    acs_scale_t value;
    value.multiplier = number();
    value.shift = number();
    return value;
}

static int8_t *poisoned(size_t bytes)
{
    return memset(exactly(bytes), POISON, bytes);
}

static const acs_list_t *list(void)
{
    const uint16_t groups = small();
    const int32_t count = number();
    if (count < 0) {
        return NULL;
    }
    acs_list_t *const value = exactly(sizeof *value);
    value->groups = groups;
    value->count = (uint16_t)count;
    value->index = get((size_t)count);
    return value;
}

/* An array for the output, or one of the inputs for a call in place. */
static int8_t *output_or(int8_t *first, int8_t *second, uint32_t bytes)
{
    const int32_t place = number();
    return place == 0 ? poisoned(bytes) : (place == 1 ? first : second);
}

static acs_add_t add_layer(void)
{
    acs_add_t layer = {.count = size()};
    layer.coarse_zero_point = (int16_t)number();
    layer.fine_zero_point = (int16_t)number();
    layer.output_zero_point = (int16_t)number();
    layer.low = (int16_t)number();
    layer.high = (int16_t)number();
    layer.fine = scale();
    layer.output = scale();
    layer.coarse_factor = number();
    layer.fine_factor = number();
    layer.offset = number();
    layer.shift = (uint8_t)number();
    return layer;
}

static void call_add(void)
{
    const acs_add_t layer = add_layer();
    int8_t *const coarse = get(layer.count);
    int8_t *const fine = get(layer.count);
    int8_t *const output = output_or(coarse, fine, layer.count);
    acs_add_s8(&layer, coarse, fine, output);
    put(output, layer.count);
}

static void call_rescale(void)
{
    const uint32_t count = size();
    for (uint32_t i = 0; i < count; i++) {
        const int32_t value = number();
        put_number(acs_rescale(value, scale()));
    }
}

static void call_clamp(void)
{
    const uint32_t count = size();
    const int8_t low = (int8_t)number();
    const int8_t high = (int8_t)number();
    int8_t *const input = get(count);
    int8_t *const output = output_or(input, input, count);
    acs_clamp_s8(count, low, high, input, output);
    put(output, count);
}

static void call_copy(void)
{
    const uint32_t count = size();
    const int8_t *const from = get(count);
    int8_t *const to = poisoned(count);
    acs_copy_s8(to, from, count);
    put(to, count);
}

static void call_shuffle(void)
{
    const acs_shape_t image = shape();
    const uint16_t *const order = get(image.channels * sizeof *order);
    const int8_t *const input = get(volume(image));
    int8_t *const output = poisoned(volume(image));
    acs_shuffle_s8(image, order, input, output);
    put(output, volume(image));
}

static void call_concat(void)
{
    const acs_shape_t image = shape();
    const uint16_t count = small();
    acs_part_t *const parts = exactly(count * sizeof *parts);
    for (uint16_t i = 0; i < count; i++) {
        parts[i].channels = small();
        parts[i].data = get((size_t)image.height * image.width * parts[i].channels);
    }
    int8_t *const output = poisoned(volume(image));
    acs_concat_s8(image, count, parts, output);
    put(output, volume(image));
}

static void call_join(void)
{
    const acs_shape_t image = shape();
    const uint16_t groups = small();
    const acs_list_t *const active = list();
    const uint16_t count = small();
    acs_part_t *const parts = exactly(count * sizeof *parts);
    for (uint16_t i = 0; i < count; i++) {
        parts[i].channels = small();
        parts[i].data = get((size_t)image.height * image.width * parts[i].channels);
    }
    int8_t *const output = poisoned(volume(image));
    acs_join_s8(image, groups, active, parts, output);
    put(output, volume(image));
}

static void call_make_list(void)
{
    const acs_mode_t mode = (acs_mode_t)number();
    const uint16_t groups = small();
    const uint16_t *const source = get(groups * sizeof *source);
    const uint8_t *const open = get(small());
    const acs_list_t made = acs_make_list(mode, groups, source, open, exactly(groups));
    put_number(made.groups);
    put_number(made.count);
    put(made.index, made.count);
}

static void call_pad(void)
{
    const acs_shape_t from = shape();
    const acs_shape_t to = shape();
    const acs_pair_t corner = pair();
    const int8_t zero_point = (int8_t)number();
    const int8_t *const input = get(volume(from));
    int8_t *const output = poisoned(volume(to));
    acs_pad_s8(from, to, corner, zero_point, input, output);
    put(output, volume(to));
}

static void call_ungroup(void)
{
    const acs_shape_t image = shape();
    const uint16_t groups = small();
    const acs_list_t *const active = list();
    const int8_t zero_point = (int8_t)number();
    const int8_t *const input = get(volume(image));
    int8_t *const output = poisoned(volume(image));
    acs_ungroup_s8(image, groups, active, zero_point, input, output);
    put(output, volume(image));
}

static void call_group(void)
{
    const acs_shape_t image = shape();
    const uint16_t groups = small();
    const acs_list_t *const active = list();
    const int8_t *const input = get(volume(image));
    int8_t *const output = poisoned(volume(image));
    acs_group_s8(image, groups, active, input, output);
    put(output, volume(image));
}

static void call_list(void)
{
    const uint16_t groups = small();
    const acs_list_t *const active = list();
    const uint16_t count = acs_list_count(active, groups);
    put_number(count);
    for (uint16_t i = 0; i < count; i++) {
        put_number(acs_list_at(active, groups, i));
    }
}

static void call_gate(void)
{
    const acs_mode_t mode = (acs_mode_t)number();
    const uint16_t groups = small();
    const int8_t zero_point = (int8_t)number();
    const int8_t *const logits = get(groups);
    uint8_t *const open = get(groups); /* what the caller of the model wrote there */
    uint8_t *const index = exactly(groups);
    const acs_mask_t mask = acs_gate_s8(mode, groups, zero_point, logits, open, index);
    put(mask.open, groups);
    put_number(mask.active.groups);
    put_number(mask.active.count);
    put(mask.active.index, mask.active.count);
}

static void call_apply_mask(void)
{
    const bool fill = number() != 0;
    const uint16_t groups = small();
    const uint32_t bytes = size();
    const int8_t zero_point = (int8_t)number();
    const acs_mask_t mask = {.open = get(groups), .active = {.index = NULL, .count = 0, .groups = groups}};
    int8_t *const input = get(bytes);
    int8_t *const output = output_or(input, input, bytes);
    acs_apply_mask_s8(fill, &mask, bytes, zero_point, input, output);
    put(output, bytes);
}

static void call_mask_channels(void)
{
    const uint16_t bits = small();
    const acs_shape_t image = shape();
    const uint16_t groups = small();
    const int8_t zero_point = (int8_t)number();
    const acs_mask_t mask = {.open = get(bits), .active = {.index = NULL, .count = 0, .groups = bits}};
    int8_t *const input = get(volume(image));
    int8_t *const output = output_or(input, input, volume(image));
    acs_mask_channels_s8(&mask, image, groups, zero_point, input, output);
    put(output, volume(image));
}

/* Scratch of exactly as many bytes, or none. */
static acs_scratch_t scratch(void)
{
    const uint32_t bytes = size();
    return acs_scratch(bytes ? poisoned(bytes) : NULL, bytes);
}

static acs_conv_t conv_layer(void)
{
    acs_conv_t layer = {.input = shape()};
    layer.output = shape();
    layer.kernel = pair();
    layer.stride = pair();
    layer.padding = pair();
    layer.dilation = pair();
    layer.input_groups = small();
    layer.output_groups = small();
    layer.pack_limit = small();
    layer.pack_rows = small();
    layer.input_zero_point = (int16_t)number();
    layer.output_zero_point = (int16_t)number();
    layer.low = (int16_t)number();
    layer.high = (int16_t)number();
    layer.weights = get(size());
    layer.bias = get(layer.output.channels * sizeof *layer.bias);
    layer.multiplier = get(layer.output.channels * sizeof *layer.multiplier);
    layer.shift = get(layer.output.channels * sizeof *layer.shift);
    layer.form = small();
    layer.words = get(size());
    layer.finish = get(size());
    return layer;
}

static void put_result(bool done, const int8_t *output, acs_shape_t image)
{
    put_number(done);
    put(output, volume(image));
}

static void call_conv(void)
{
    const acs_conv_t layer = conv_layer();
    const acs_list_t *const active = list();
    const int8_t *const input = get(volume(layer.input));
    int8_t *const output = poisoned(volume(layer.output));
    put_result(acs_conv_s8(&layer, active, input, output, scratch()), output, layer.output);
}

static acs_depthwise_t depthwise_layer(void)
{
    acs_depthwise_t layer = {.input = shape()};
    layer.output = shape();
    layer.kernel = pair();
    layer.stride = pair();
    layer.padding = pair();
    layer.dilation = pair();
    layer.groups = small();
    layer.input_zero_point = (int16_t)number();
    layer.output_zero_point = (int16_t)number();
    layer.low = (int16_t)number();
    layer.high = (int16_t)number();
    layer.weights = get(size());
    layer.bias = get(layer.output.channels * sizeof *layer.bias);
    layer.multiplier = get(layer.output.channels * sizeof *layer.multiplier);
    layer.shift = get(layer.output.channels * sizeof *layer.shift);
    return layer;
}

/* Closed inputs are zero (0), have values (1) or sums (2); then whether there is a layer before. */
static void call_conv_join(void)
{
    acs_conv_t layer = conv_layer();
    const int32_t closed = number();
    if (closed == 1) {
        layer.closed = get(layer.input.channels);
    } else if (closed == 2) {
        layer.closed_sums = get((size_t)layer.input_groups * layer.output.channels * sizeof(int32_t));
    }
    acs_depthwise_t before = {.groups = 0};
    if (number() != 0) {
        before = depthwise_layer();
        layer.before = &before;
    }
    const acs_list_t *const active = list();
    const acs_list_t *const outputs = list();
    const int8_t *const input = get(volume(layer.input));
    int8_t *const output = poisoned(volume(layer.output));
    put_result(acs_conv_join_s8(&layer, active, outputs, input, output, scratch()), output, layer.output);
}

static void call_depthwise(void)
{
    const acs_depthwise_t layer = depthwise_layer();
    const acs_list_t *const active = list();
    const int8_t *const input = get(volume(layer.input));
    int8_t *const output = poisoned(volume(layer.output));
    put_result(acs_depthwise_s8(&layer, active, input, output, scratch()), output, layer.output);
}

static void call_pool(void)
{
    const bool average = number() != 0;
    acs_pool_t layer = {.input = shape()};
    layer.output = shape();
    layer.kernel = pair();
    layer.stride = pair();
    layer.padding = pair();
    layer.groups = small();
    const acs_list_t *const active = list();
    const int8_t *const input = get(volume(layer.input));
    int8_t *const output = poisoned(volume(layer.output));
    const bool done = average ? acs_avg_pool_s8(&layer, active, input, output, scratch())
                              : acs_max_pool_s8(&layer, active, input, output, scratch());
    put_result(done, output, layer.output);
}

/* A convolution of one image, or of the active groups of several, added to what lies in the output. */
static void call_residual(void)
{
    acs_conv_t layer = conv_layer();
    acs_residual_t residual = {.add = add_layer()};
    residual.result_is_fine = number() != 0;
    residual.rows = small();
    layer.residual = &residual;
    const acs_list_t *const active = list();
    const int8_t *const input = get(volume(layer.input));
    int8_t *const output = get(volume(layer.output));
    const bool done = layer.input_groups > 1
                          ? acs_conv_join_s8(&layer, active, NULL, input, output, scratch())
                          : acs_conv_s8(&layer, NULL, input, output, scratch());
    put_result(done, output, layer.output);
}

static void (*const functions[])(void) = {
    call_add,  call_rescale,    call_clamp, call_copy,      call_shuffle,   call_ungroup, call_group,
    call_list, call_gate, call_apply_mask, call_conv,  call_conv_join, call_depthwise, call_pool, call_concat,
    call_pad,  call_residual,   call_join,  call_make_list, call_mask_channels,
};

int main(void)
{
    uint32_t which;
    while (fread(&which, sizeof which, 1, stdin) == 1) {
        if (which >= sizeof functions / sizeof functions[0]) {
            return 4;
        }
        functions[which]();
        while (array_count > 0) {
            free(arrays[--array_count]);
        }
    }
    return 0;
}
