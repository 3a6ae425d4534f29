/* SPDX-License-Identifier: Apache-2.0 */
/* acs_esp_conv.c: convolutions over active groups, one ESP-NN call each. */
#include "acs_esp.h"

/* What one call computes: `count` output channels from the `first` on, of one image of `channels` channels. */
typedef struct {
    uint32_t channels, first, count;
    const int8_t *weights;
} part_t;

#ifdef ARCH_ESP32_S3
/* The vector code rounds by adding 2^(shift - 1), which must not leave 32 bits: for shifts of up to 22 it does not
 * where sums stay below 2^31 - 2^21. 2^15 products of 255 and 127 and a bias of 2^30 do. */
#define S3_SHIFT 22
#define S3_PRODUCTS (1u << 15)
#define S3_BIAS ((int32_t)1 << 30)

/* Its scratch is aligned to a vector; that of a kernel is to half of one. */
#define S3_ALIGNMENT 16u

static bool s3_is_exact(const acs_conv_t *layer, const part_t *part, const int8_t *input)
{
    const acs_pair_t kernel = layer->kernel;
    if ((uint64_t)kernel.height * kernel.width * part->channels >= S3_PRODUCTS) {
        return false;
    }
    /* Of an image that ends within the first window it reads what lies behind. */
    if (layer->input.height + layer->padding.height < kernel.height ||
        layer->input.width + layer->padding.width < kernel.width) {
        return false;
    }
    for (uint32_t c = part->first; c < part->first + part->count; c++) {
        if (layer->shift[c] > 0 || layer->shift[c] < -S3_SHIFT || layer->bias[c] > S3_BIAS ||
            layer->bias[c] < -S3_BIAS) {
            return false;
        }
    }
    if (kernel.height > 1 || kernel.width > 1 || layer->stride.height > 1 || layer->stride.width > 1 ||
        layer->padding.height > 0 || layer->padding.width > 0) {
        return true;
    }
    /* A single tap: it computes as many pixels as the input has, and loads channels by eight. */
    return layer->input.height == layer->output.height && layer->input.width == layer->output.width &&
           (part->channels % 8 > 0 || (uintptr_t)input % 8 == 0);
}

static bool s3_convolve(const acs_conv_t *layer, const part_t *part, const data_dims_t *input_dims,
                        const int8_t *input, const data_dims_t *filter_dims, const data_dims_t *output_dims,
                        int8_t *output, const conv_params_t *params, const quant_data_t *scales,
                        acs_scratch_t scratch)
{
    const uint32_t before = (uint32_t)(-(uintptr_t)scratch.data % S3_ALIGNMENT);
    const int needed = esp_nn_get_conv_scratch_size(input_dims, filter_dims, output_dims, params);
    if (!s3_is_exact(layer, part, input) || scratch.bytes < before + (uint32_t)needed) {
        return false;
    }
    esp_nn_set_conv_scratch_buf((int8_t *)scratch.data + before);
    esp_nn_conv_s8(input_dims, input, filter_dims, part->weights, layer->bias + part->first, output_dims,
                   output, params, scales);
    return true;
}
#endif

static void convolve(const acs_conv_t *layer, const part_t *part, const int8_t *input, int8_t *output,
                     acs_scratch_t scratch)
{
    const conv_params_t params = {
        .in_offset = -layer->input_zero_point,
        .out_offset = layer->output_zero_point,
        .stride = acs_esp_pair(layer->stride),
        .padding = acs_esp_pair(layer->padding),
        .dilation = acs_esp_pair(layer->dilation),
        .activation = {.min = layer->low, .max = layer->high},
    };
    const data_dims_t input_dims = acs_esp_dims(layer->input, part->channels);
    const data_dims_t output_dims = acs_esp_dims(layer->output, part->count);
    const data_dims_t filter_dims = {.width = layer->kernel.width,
                                     .height = layer->kernel.height,
                                     .channels = (int32_t)part->channels,
                                     .extra = (int32_t)part->count};
    const quant_data_t scales = acs_esp_scales(layer->multiplier, layer->shift, part->first);
#ifdef ARCH_ESP32_S3
    if (s3_convolve(layer, part, &input_dims, input, &filter_dims, &output_dims, output, &params, &scales,
                    scratch)) {
        return;
    }
#else
    (void)scratch;
#endif
    esp_nn_conv_s8_ansi(&input_dims, input, &filter_dims, part->weights, layer->bias + part->first,
                        &output_dims, output, &params, &scales);
}

/* The sum of a convolution and what lies in the output, band after band. */
static bool convolve_residual(const acs_conv_t *layer, const part_t *part, const int8_t *input, int8_t *output,
                              acs_scratch_t scratch)
{
    const acs_residual_t *residual = layer->residual;
    const uint32_t height = layer->output.height;
    const uint32_t row_bytes = layer->output.width * part->count;
    int8_t *const band = acs_take(&scratch, residual->rows * row_bytes);
    if (band == NULL) {
        return false;
    }
    uint32_t rows;
    for (uint32_t row = 0; row < height; row += rows, output += rows * row_bytes) {
        rows = height - row < residual->rows ? height - row : residual->rows;
        acs_conv_t cut = *layer;
        const uint32_t first = acs_cut_band(layer, row, rows, &cut);
        convolve(&cut, part, input + first * layer->input.width * part->channels, band, scratch);
        acs_add_residual_s8(residual, rows * row_bytes, band, output);
    }
    return true;
}

bool acs_conv_s8(const acs_conv_t *layer, const acs_list_t *active, const int8_t *input, int8_t *output,
                 acs_scratch_t scratch)
{
    if (!acs_esp_is_exact(layer->dilation, layer->shift, layer->output.channels)) {
        return acs_portable_conv(layer, active, input, output, scratch);
    }
    const uint32_t in_each = layer->input.channels / layer->input_groups;
    const uint32_t out_each = layer->output.channels / layer->output_groups;
    const uint32_t in_bytes = acs_image_bytes(layer->input, in_each);
    const uint32_t out_bytes = acs_output_bytes(layer);
    const uint32_t weight_bytes = (uint32_t)layer->kernel.height * layer->kernel.width * in_each * out_each;
    const uint16_t count = acs_list_count(active, layer->output_groups);

    for (uint16_t i = 0; i < count; i++) {
        const uint32_t j = acs_list_at(active, layer->output_groups, i);
        const uint32_t source = j * layer->input_groups / layer->output_groups;
        const part_t part = {in_each, j * out_each, out_each, layer->weights + j * weight_bytes};
        if (layer->residual == NULL) {
            convolve(layer, &part, input + source * in_bytes, output + j * out_bytes, scratch);
        } else if (!convolve_residual(layer, &part, input, output, scratch)) {
            return false;
        }
    }
    return true;
}

bool acs_conv_join_s8(const acs_conv_t *layer, const acs_list_t *active, const acs_list_t *outputs,
                      const int8_t *input, int8_t *output, acs_scratch_t scratch)
{
    return acs_pack_and_conv_s8(layer, active, outputs, input, output, scratch);
}
