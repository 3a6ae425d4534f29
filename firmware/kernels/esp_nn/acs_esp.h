/* SPDX-License-Identifier: Apache-2.0 */
/**
 * acs_esp.h: shared by the kernels of this set, which stand on ESP-NN. Internal, for C only.
 *
 * ESP-NN knows no dilation, and its rounding shifts by 30 bits at most: such layers are the portable kernels'.
 * Group-major layout makes one plain call one group, and skipping a group is not making its call.
 *
 * Everywhere its ANSI C is called. Compiled with CONFIG_NN_OPTIMIZED and CONFIG_IDF_TARGET_ESP32S3 it brings vector
 * code for the ESP32-S3 (esp_nn.h then defines ARCH_ESP32_S3), of which convolutions are taken where they are exact.
 * They keep the address of their scratch in a variable of their own: one network at a time on such a chip.
 */
#ifndef ACS_ESP_H
#define ACS_ESP_H

#include "acs_portable.h"
#include "esp_nn.h"

static inline data_2d_t acs_esp_pair(acs_pair_t pair)
{
    return (data_2d_t){.width = pair.width, .height = pair.height};
}

/** A shape as ESP-NN wants it, with other channels. */
static inline data_dims_t acs_esp_dims(acs_shape_t shape, uint32_t channels)
{
    return (data_dims_t){.width = shape.width, .height = shape.height, .channels = (int32_t)channels, .extra = 1};
}

/** Scales from the `first` on. ESP-NN only reads them, but its struct is not const. */
static inline quant_data_t acs_esp_scales(const int32_t *multiplier, const int32_t *shift, uint32_t first)
{
    return (quant_data_t){.shift = (int32_t *)(uintptr_t)(shift + first),
                          .mult = (int32_t *)(uintptr_t)(multiplier + first)};
}

/** Whether ESP-NN's ANSI C computes a layer of this dilation and these shifts exactly. */
static inline bool acs_esp_is_exact(acs_pair_t dilation, const int32_t *shift, uint32_t channels)
{
    for (uint32_t c = 0; c < channels; c++) {
        if (shift[c] < -30) {
            return false;
        }
    }
    return dilation.height == 1 && dilation.width == 1;
}

#endif /* ACS_ESP_H */
