/* SPDX-License-Identifier: Apache-2.0 */
/* acs_cmsis_conv.c: convolutions over active groups, one CMSIS-NN call each. */
#include "acs_cmsis.h"

/* CMSIS-NN's 1x1 version sees padding at the top and left only. Where there is more at the bottom or
 * right it is told of a dilation, which means nothing to a single tap: then it takes the general one. */
static acs_pair_t dilation_of(const acs_conv_t *layer)
{
    const bool single_tap = layer->kernel.height == 1 && layer->kernel.width == 1;
    if (single_tap && ((layer->output.height - 1) * layer->stride.height >= layer->input.height ||
                       (layer->output.width - 1) * layer->stride.width >= layer->input.width)) {
        return (acs_pair_t){2, 2};
    }
    return layer->dilation;
}

bool acs_cmsis_convolve(const acs_conv_t *layer, uint32_t input_channels, const acs_filters_t *filters,
                     const int8_t *input, int8_t *output, acs_scratch_t scratch)
{
    const cmsis_nn_conv_params params = {
        .input_offset = -layer->input_zero_point,
        .output_offset = layer->output_zero_point,
        .stride = acs_tile(layer->stride),
        .padding = acs_tile(layer->padding),
        .dilation = acs_tile(dilation_of(layer)),
        .activation = {.min = layer->low, .max = layer->high},
    };
    /* CMSIS-NN only reads them, but its struct is not const. */
    const cmsis_nn_per_channel_quant_params quant = {
        .multiplier = (int32_t *)(uintptr_t)filters->multiplier,
        .shift = (int32_t *)(uintptr_t)filters->shift,
    };
    const cmsis_nn_dims input_dims = acs_dims(layer->input, input_channels);
    const cmsis_nn_dims output_dims = acs_dims(layer->output, filters->count);
    const cmsis_nn_dims filter_dims = {.n = (int32_t)filters->count,
                                       .h = layer->kernel.height,
                                       .w = layer->kernel.width,
                                       .c = (int32_t)input_channels};
    const cmsis_nn_dims bias_dims = {.n = 1, .h = 1, .w = 1, .c = (int32_t)filters->count};
    const cmsis_nn_context context = acs_context(scratch);

    if (arm_convolve_wrapper_s8_get_buffer_size(&params, &input_dims, &filter_dims, &output_dims) >
        context.size) {
        return false;
    }
    return arm_convolve_wrapper_s8(&context, &params, &quant, &input_dims, input, &filter_dims,
                                   filters->weights, &bias_dims, filters->bias, &output_dims,
                                   output) == ARM_CMSIS_NN_SUCCESS;
}

/* The layer without the rows of the input that lie above or below all windows. */
bool acs_cmsis_convolve_rows(const acs_conv_t *layer, uint32_t input_channels, const acs_filters_t *filters,
                          uint32_t row, uint32_t rows, const int8_t *input, int8_t *output,
                          acs_scratch_t scratch)
{
    const uint32_t first = row * layer->stride.height;
    const uint32_t above = layer->padding.height;
    const uint32_t beyond = first > above ? first - above : 0u;
    const uint32_t skipped = beyond < layer->input.height ? beyond : layer->input.height;
    acs_conv_t band = *layer;
    band.padding.height = (uint16_t)(first > above ? 0u : above - first);
    /* Not a row too much: for a single tap CMSIS-NN goes by the input's rows, not by the output's. */
    const uint32_t windows = (rows - 1) * layer->stride.height + 1 +
                             (layer->kernel.height - 1u) * layer->dilation.height - band.padding.height;
    const uint32_t left = layer->input.height - skipped;
    band.input.height = (uint16_t)(windows < left ? windows : left);
    band.output.height = (uint16_t)rows;
    return acs_cmsis_convolve(&band, input_channels, filters,
                              input + skipped * layer->input.width * input_channels, output, scratch);
}

/* The sum of a convolution and what lies in the output, band after band. */
static bool convolve_residual(const acs_conv_t *layer, uint32_t input_channels, const acs_filters_t *filters,
                              const int8_t *input, int8_t *output, acs_scratch_t scratch)
{
    const acs_residual_t *residual = layer->residual;
    const uint32_t row_bytes = layer->output.width * filters->count;
    const acs_scratch_t rest = acs_behind(scratch, acs_align(residual->rows * row_bytes));
    if (rest.data == NULL || !acs_cmsis_has_rows(layer)) {
        return false;
    }
    uint32_t rows;
    for (uint32_t row = 0; row < layer->output.height; row += rows, output += rows * row_bytes) {
        rows = layer->output.height - row < residual->rows ? layer->output.height - row : residual->rows;
        if (!acs_cmsis_convolve_rows(layer, input_channels, filters, row, rows, input, scratch.data, rest)) {
            return false;
        }
        acs_add_residual_s8(residual, rows * row_bytes, scratch.data, output);
    }
    return true;
}

bool acs_cmsis_conv(const acs_conv_t *layer, const acs_list_t *active, const int8_t *input, int8_t *output,
                    acs_scratch_t scratch)
{
    if (layer->input_groups == 1 && layer->output_groups > 1 && acs_cmsis_has_rows(layer)) {
        return acs_cmsis_convolve_together(layer, active, input, output, scratch);
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
        const acs_filters_t filters =
            acs_filters_of(layer, layer->weights + j * weight_bytes, j * out_each, out_each);
        if (!(layer->residual == NULL ? acs_cmsis_convolve : convolve_residual)(
                layer, in_each, &filters, input + source * in_bytes, output + j * out_bytes, scratch)) {
            return false;
        }
    }
    return true;
}

bool acs_cmsis_conv_join(const acs_conv_t *layer, const acs_list_t *active, const acs_list_t *outputs,
                         const int8_t *input, int8_t *output, acs_scratch_t scratch)
{
    return acs_pack_and_conv_s8(layer, active, outputs, input, output, scratch);
}
