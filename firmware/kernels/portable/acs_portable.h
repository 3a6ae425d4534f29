/* SPDX-License-Identifier: Apache-2.0 */
/**
 * acs_portable.h: shared by the kernels of this set, which are plain C11 for every target. Internal, for C only.
 *
 * No kernel here needs scratch or refuses a layer: windows are read where they lie, and group-major
 * layout makes every group an image of its own, so that skipping a group is not visiting it. The
 * convolutions are bound by memory accesses, so each value of the input serves several filters.
 */
#ifndef ACS_PORTABLE_H
#define ACS_PORTABLE_H

#include "acs_layers.h"

/** The taps of a window that lie inside the image, along one axis. */
typedef struct {
    uint32_t tap;   /**< The first one. */
    uint32_t count; /**< How many follow each other, `dilation` pixels apart; may be 0. */
    uint32_t at;    /**< Where in the image the first one lies. */
} acs_span_t;

/** The window of the output's `position`, over an image of `size` pixels. */
static inline acs_span_t acs_span(uint32_t position, uint16_t stride, uint16_t padding, uint16_t kernel,
                                  uint16_t dilation, uint16_t size)
{
    int32_t at = (int32_t)(position * stride) - padding;
    uint32_t tap = 0;
    while (at < 0) {
        at += dilation;
        tap++;
    }
    uint32_t count = 0;
    while (tap + count < kernel && (uint32_t)at + count * dilation < size) {
        count++;
    }
    return (acs_span_t){tap, count, (uint32_t)at};
}

/** An accumulator as int8. */
static inline int8_t acs_requantize(int32_t sum, acs_scale_t scale, int32_t zero_point, int32_t low,
                                    int32_t high)
{
    const int32_t value = acs_rescale(sum, scale) + zero_point;
    return (int8_t)(value < low ? low : (value > high ? high : value));
}

/** acs_conv_s8 and acs_conv_join_s8 of plain weights, and acs_depthwise_s8, for other kernel sets as well. */
bool acs_portable_conv(const acs_conv_t *layer, const acs_list_t *active, const int8_t *input, int8_t *output,
                       acs_scratch_t scratch);
bool acs_portable_conv_join(const acs_conv_t *layer, const acs_list_t *active, const acs_list_t *outputs,
                            const int8_t *input, int8_t *output, acs_scratch_t scratch);
bool acs_portable_depthwise(const acs_depthwise_t *layer, const acs_list_t *active, const int8_t *input,
                            int8_t *output);

#endif /* ACS_PORTABLE_H */
