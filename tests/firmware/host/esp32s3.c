/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What ESP-NN's vector code for the ESP32-S3 computes, for a host: the arithmetic of its assembly files, and
 * what they want of their arguments. Each tells standard error that it was called.
 */
#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define VECTOR 16

typedef struct {
    int32_t offset, low, high;
    const int32_t *shift, *multiplier;
} finish_t;

/* The upper bits of a product, rounded, then a rounding shift whose addend may not leave 32 bits. */
static int8_t finish(const finish_t *how, int32_t channel, int32_t sum)
{
    const int32_t shift = -how->shift[channel];
    const int64_t product = (int64_t)sum * how->multiplier[channel];
    int32_t value = (int32_t)((product + (1 << 30)) >> 31);
    assert(shift >= 0);
    if (shift > 0) {
        const int64_t raised = (int64_t)value + (1 << (shift - 1)) - (value < 0);
        assert(raised == (int32_t)raised);
        value = (int32_t)raised >> shift;
    }
    value += how->offset;
    return (int8_t)(value < how->low ? how->low : value > how->high ? how->high : value);
}

int32_t esp_nn_dot_s8_aligned_esp32s3(const int8_t *a, const int8_t *b, int32_t count);
int32_t esp_nn_dot_s8_aligned_esp32s3(const int8_t *a, const int8_t *b, int32_t count)
{
    assert((uintptr_t)a % VECTOR == 0 && (uintptr_t)b % VECTOR == 0 && count % VECTOR == 0);
    fputs("window\n", stderr);
    int32_t sum = 0;
    for (int32_t i = 0; i < count; i++) {
        sum += a[i] * b[i];
    }
    return sum;
}

/* Pixels by eight: these go through a buffer of 16-bit numbers. */
static void single_tap(const int8_t *input, int32_t pixels, int32_t channels, int32_t offset,
                       const int8_t *filters, const int32_t *bias, int8_t *output, int32_t count,
                       const finish_t *how, int16_t *buffer)
{
    for (int32_t pixel = 0; pixel < pixels; pixel++, input += channels, output += count) {
        for (int32_t c = 0; c < count; c++) {
            int32_t sum = bias[c];
            for (int32_t i = 0; i < channels; i++) {
                sum += (input[i] + offset) * filters[c * channels + i];
            }
            output[c] = finish(how, c, sum);
        }
    }
    if (pixels >= 8) {
        memset(buffer, 0, (size_t)(channels / 8) * 128);
    }
}

void esp_nn_conv_s8_mult8_1x1_esp32s3(const int8_t *input, uint16_t width, uint16_t height, uint16_t channels,
                                      int32_t offset, const int8_t *filters, const int32_t *bias,
                                      int8_t *output, uint16_t output_width, uint16_t output_height,
                                      uint16_t count, int32_t output_offset, const int32_t *shift,
                                      const int32_t *multiplier, int32_t low, int32_t high, void *buffer);
void esp_nn_conv_s8_mult8_1x1_esp32s3(const int8_t *input, uint16_t width, uint16_t height, uint16_t channels,
                                      int32_t offset, const int8_t *filters, const int32_t *bias,
                                      int8_t *output, uint16_t output_width, uint16_t output_height,
                                      uint16_t count, int32_t output_offset, const int32_t *shift,
                                      const int32_t *multiplier, int32_t low, int32_t high, void *buffer)
{
    assert(channels % 8 == 0 && (uintptr_t)input % 8 == 0 && (uintptr_t)buffer % VECTOR == 0);
    assert(width == output_width && height == output_height);
    fputs("eights\n", stderr);
    const finish_t how = {output_offset, low, high, shift, multiplier};
    single_tap(input, width * height, channels, offset, filters, bias, output, count, &how, buffer);
}

void esp_nn_conv_s8_1x1(const int8_t *input, uint16_t width, uint16_t height, uint16_t channels, int32_t offset,
                        const int8_t *filters, const int32_t *bias, int8_t *output, uint16_t count,
                        int32_t output_offset, const int32_t *shift, const int32_t *multiplier, int32_t low,
                        int32_t high, void *scratch);
void esp_nn_conv_s8_1x1(const int8_t *input, uint16_t width, uint16_t height, uint16_t channels, int32_t offset,
                        const int8_t *filters, const int32_t *bias, int8_t *output, uint16_t count,
                        int32_t output_offset, const int32_t *shift, const int32_t *multiplier, int32_t low,
                        int32_t high, void *scratch)
{
    assert((uintptr_t)scratch % VECTOR == 0);
    fputs("pixels\n", stderr);
    const finish_t how = {output_offset, low, high, shift, multiplier};
    single_tap(input, width * height, channels, offset, filters, bias, output, count, &how, scratch);
}

void esp_nn_conv_s8_filter_aligned_input_padded_esp32s3(
    const int8_t *input, uint16_t width, uint16_t height, uint16_t channels, int32_t offset, uint16_t stride_width,
    uint16_t stride_height, const int8_t *filters, uint16_t filter_width, uint16_t filter_height,
    const int32_t *bias, int8_t *output, uint16_t output_width, uint16_t output_height, uint16_t count,
    int32_t output_offset, const int32_t *shift, const int32_t *multiplier, int32_t low, int32_t high,
    void *scratch);
void esp_nn_conv_s8_filter_aligned_input_padded_esp32s3(
    const int8_t *input, uint16_t width, uint16_t height, uint16_t channels, int32_t offset, uint16_t stride_width,
    uint16_t stride_height, const int8_t *filters, uint16_t filter_width, uint16_t filter_height,
    const int32_t *bias, int8_t *output, uint16_t output_width, uint16_t output_height, uint16_t count,
    int32_t output_offset, const int32_t *shift, const int32_t *multiplier, int32_t low, int32_t high,
    void *scratch)
{
    const int32_t row = filter_width * channels;
    const int32_t aligned = (row + VECTOR - 1) / VECTOR * VECTOR;
    const finish_t how = {output_offset, low, high, shift, multiplier};
    assert((uintptr_t)filters % VECTOR == 0);
    assert((output_width - 1) * stride_width + filter_width <= width);
    assert((output_height - 1) * stride_height + filter_height <= height);
    fputs("rows\n", stderr);
    for (int32_t c = 0; c < count; c++) { /* the sums to start from, at any address */
        int32_t sum = 0, addend;
        for (int32_t i = 0; i < aligned * filter_height; i++) {
            sum += filters[c * aligned * filter_height + i];
        }
        memcpy(&addend, (const int8_t *)bias + 4 * c, sizeof addend);
        sum = sum * offset + addend;
        memcpy((int8_t *)scratch + 4 * c, &sum, sizeof sum);
    }
    for (int32_t y = 0; y < output_height; y++) {
        for (int32_t x = 0; x < output_width; x++) {
            const int8_t *window = input + (y * stride_height * width + x * stride_width) * channels;
            for (int32_t c = 0; c < count; c++) {
                int32_t sum;
                memcpy(&sum, (const int8_t *)scratch + 4 * c, sizeof sum);
                for (int32_t r = 0; r < filter_height; r++) {
                    const int8_t *filter = filters + (c * filter_height + r) * aligned;
                    for (int32_t i = 0; i < row; i++) {
                        sum += window[r * width * channels + i] * filter[i];
                    }
                }
                *output++ = finish(&how, c, sum);
            }
        }
    }
}
