/* SPDX-License-Identifier: Apache-2.0 */
/*
 * acs_pooling.c: average and maximum pooling over active groups, four channels in a word at a time.
 *
 * Averages: two channels share a register as unsigned halves: x + 128 is at most 255, and 257 of them fit 16 bits.
 */
#include "acs_layers.h"
#include "acs_words.h"

#include <string.h>

#define LANES 4u
#define MOST_PER_HALF 257u
#define HALVES 0x00ff00ffu
#if defined(__GNUC__)
#define ACS_APART __attribute__((noinline))
#else
#define ACS_APART
#endif
#define SIGNS 0x80808080u /* x ^ 0x80 is x + 128, as an unsigned byte */

/* The part of a window that lies inside the image, from its first channel on. */
typedef struct {
    const int8_t *first;
    uint32_t rows, columns;
    uint32_t row_step, step;
} window_t;

/* sum / count, ties away from zero, as TFLite and CMSIS-NN round. */
static int8_t mean(int32_t sum, int32_t count)
{
    return (int8_t)((sum < 0 ? sum - count / 2 : sum + count / 2) / count);
}

static int32_t sum_of(const window_t *window)
{
    int32_t sum = 0;
    for (uint32_t row = 0; row < window->rows; row++) {
        const int8_t *x = window->first + row * window->row_step;
        for (uint32_t column = 0; column < window->columns; column++, x += window->step) {
            sum += *x;
        }
    }
    return sum;
}

/* Adds the halves of even and odd channels to the sums, less the 128 of each of `count` values. */
static void unload(uint32_t even, uint32_t odd, uint32_t count, int32_t sums[LANES])
{
    const int32_t bias = (int32_t)(128u * count);
    sums[0] += (int32_t)(even & 0xffffu) - bias;
    sums[1] += (int32_t)(odd & 0xffffu) - bias;
    sums[2] += (int32_t)(even >> 16) - bias;
    sums[3] += (int32_t)(odd >> 16) - bias;
}

/* Adds four channels of some rows to halves. By itself, so that everything in the loop has a register. */
ACS_APART static void add_words(const window_t *window, const int8_t *first, uint32_t rows,
                                uint32_t halves[2])
{
    const uint32_t row_step = window->row_step;
    const uint32_t step = window->step;
    const uint32_t row_bytes = window->columns * step;
    uint32_t even = 0, odd = 0;
    for (; rows > 0; rows--, first += row_step) {
        const int8_t *const end = first + row_bytes;
        for (const int8_t *x = first; x != end; x += step) {
            const uint32_t word = acs_word_at(x) ^ SIGNS;
            even += word & HALVES;
            odd += (word >> 8) & HALVES;
        }
    }
    halves[0] = even;
    halves[1] = odd;
}

/* The sums of four channels of a window of at most MOST_PER_HALF columns. */
static void sum_words(const window_t *window, int32_t sums[LANES])
{
    const uint32_t most = MOST_PER_HALF / window->columns;
    uint32_t rows;
    for (uint32_t row = 0; row < window->rows; row += rows) {
        uint32_t halves[2];
        rows = window->rows - row < most ? window->rows - row : most;
        add_words(window, window->first + row * window->row_step, rows, halves);
        unload(halves[0], halves[1], rows * window->columns, sums);
    }
}

/* Whether the windows of every four of the channels can be read in words. */
static bool in_words(const window_t *window, uint32_t channels)
{
    return channels % LANES == 0 && (uintptr_t)window->first % LANES == 0;
}

/* Computes all channels of an output pixel. The window's first channel moves on. */
typedef void pixel_t(window_t *window, uint32_t channels, int8_t *output);

static void average_pixel(window_t *window, uint32_t channels, int8_t *output)
{
    const int32_t count = (int32_t)(window->rows * window->columns);
    const bool by_words = window->columns <= MOST_PER_HALF && in_words(window, channels);
    for (; by_words && channels > 0; channels -= LANES, window->first += LANES) {
        int32_t sums[LANES] = {0};
        sum_words(window, sums);
        for (uint32_t lane = 0; lane < LANES; lane++) {
            *output++ = mean(sums[lane], count);
        }
    }
    for (; channels > 0; channels--, window->first++) {
        *output++ = mean(sum_of(window), count);
    }
}

static int8_t greatest_of(const window_t *window)
{
    int8_t greatest = INT8_MIN;
    for (uint32_t row = 0; row < window->rows; row++) {
        const int8_t *x = window->first + row * window->row_step;
        for (uint32_t column = 0; column < window->columns; column++, x += window->step) {
            greatest = *x > greatest ? *x : greatest;
        }
    }
    return greatest;
}

static uint32_t greatest_word(const window_t *window)
{
    uint32_t greatest = SIGNS; /* INT8_MIN four times */
    for (uint32_t row = 0; row < window->rows; row++) {
        const int8_t *x = window->first + row * window->row_step;
        for (const int8_t *const end = x + window->columns * window->step; x != end; x += window->step) {
            greatest = acs_greater_bytes(greatest, acs_word_at(x));
        }
    }
    return greatest;
}

static void greatest_pixel(window_t *window, uint32_t channels, int8_t *output)
{
    if (in_words(window, channels)) {
        for (; channels > 0; channels -= LANES, window->first += LANES, output += LANES) {
            const uint32_t word = greatest_word(window);
            memcpy(output, &word, sizeof word);
        }
    }
    for (; channels > 0; channels--, window->first++) {
        *output++ = greatest_of(window);
    }
}

/* The part of a window along one axis: where in the image it begins, and how far it reaches. */
static uint32_t span(uint32_t position, uint16_t stride, uint16_t padding, uint16_t kernel, uint16_t size,
                     uint32_t *begin)
{
    const int32_t start = (int32_t)(position * stride) - padding;
    const int32_t end = start + kernel < size ? start + kernel : size;
    *begin = start < 0 ? 0u : (uint32_t)start;
    return end > (int32_t)*begin ? (uint32_t)end - *begin : 0u;
}

static bool pool_group(const acs_pool_t *layer, pixel_t *pixel, uint32_t channels, const int8_t *image,
                       int8_t *output)
{
    const uint32_t row_bytes = layer->input.width * channels;
    for (uint32_t y = 0; y < layer->output.height; y++) {
        uint32_t top, left;
        const uint32_t rows = span(y, layer->stride.height, layer->padding.height, layer->kernel.height,
                                   layer->input.height, &top);
        for (uint32_t x = 0; x < layer->output.width; x++, output += channels) {
            const uint32_t columns = span(x, layer->stride.width, layer->padding.width, layer->kernel.width,
                                          layer->input.width, &left);
            if (rows == 0 || columns == 0) {
                return false; /* padding has neither a mean nor a maximum */
            }
            window_t window = {image + top * row_bytes + left * channels, rows, columns, row_bytes, channels};
            pixel(&window, channels, output);
        }
    }
    return true;
}

static bool pool(const acs_pool_t *layer, pixel_t *pixel, const acs_list_t *active, const int8_t *input,
                 int8_t *output)
{
    const uint32_t channels = layer->input.channels / layer->groups;
    const uint32_t in_bytes = (uint32_t)layer->input.height * layer->input.width * channels;
    const uint32_t out_bytes = (uint32_t)layer->output.height * layer->output.width * channels;
    const uint16_t count = acs_list_count(active, layer->groups);
    for (uint16_t i = 0; i < count; i++) {
        const uint32_t g = acs_list_at(active, layer->groups, i);
        if (!pool_group(layer, pixel, channels, input + g * in_bytes, output + g * out_bytes)) {
            return false;
        }
    }
    return true;
}

bool acs_average_s8(const acs_pool_t *layer, const acs_list_t *active, const int8_t *input, int8_t *output)
{
    return pool(layer, average_pixel, active, input, output);
}

bool acs_greatest_s8(const acs_pool_t *layer, const acs_list_t *active, const int8_t *input, int8_t *output)
{
    return pool(layer, greatest_pixel, active, input, output);
}
