/* SPDX-License-Identifier: Apache-2.0 */
/* acs_dsp_conv.c: convolutions, source by source: what all forms share, and the choice between them. */
#include "acs_dsp.h"

#include "acs_portable.h"

static bool is_active(const acs_list_t *list, uint16_t groups, uint32_t group)
{
    if (list == NULL) {
        return true;
    }
    const uint16_t count = acs_list_count(list, groups);
    for (uint16_t i = 0; i < count; i++) {
        if (acs_list_at(list, groups, i) == group) {
            return true;
        }
    }
    return false;
}

/* Whether one of the output channels from `first` up to `end` is in a group to compute. */
static bool any_active(const acs_job_t *job, uint32_t first, uint32_t end)
{
    const uint32_t each = acs_output_step(job->layer);
    for (uint32_t group = first / each; group * each < end; group++) {
        if (is_active(job->outputs, job->layer->output_groups, group)) {
            return true;
        }
    }
    return false;
}

/* A channel of a pixel in the output. */
static int8_t *place_of(const acs_job_t *job, uint32_t channel, uint32_t pixel)
{
    const uint32_t each = acs_output_step(job->layer);
    const uint32_t pixels = (uint32_t)job->layer->output.height * job->layer->output.width;
    return job->output + (channel / each * pixels + pixel) * each + channel % each;
}

/* From a quad's row to where its channels belong. */
static void scatter(const acs_job_t *job, const int8_t *row, uint32_t channel, uint32_t pixel, uint32_t pixels)
{
    const uint32_t each = acs_output_step(job->layer);
    for (uint32_t c = 0; c < ACS_QUAD && channel + c < job->last; c++) {
        if (is_active(job->outputs, job->layer->output_groups, (channel + c) / each)) {
            int8_t *to = place_of(job, channel + c, pixel);
            for (uint32_t p = 0; p < pixels; p++, to += each) {
                *to = row[ACS_QUAD * p + c];
            }
        }
    }
}

void acs_compute_quads(const acs_job_t *job, acs_tile_function_t *function, acs_tile_t tile, uint32_t odd,
                       int8_t *row, uint32_t pixel, uint32_t pixels)
{
    const acs_conv_t *const layer = job->layer;
    const uint32_t quad_words = acs_pair_words(layer) * acs_pairs(&job->source);
    /* Sources before this one have as many quads each. */
    const uint32_t each = job->last - job->first;
    const uint32_t before = job->first / each * ((each + ACS_QUAD - 1) / ACS_QUAD);
    const int32_t *weights = layer->words + before * quad_words;
    const int32_t *finish = layer->finish + before * ACS_FINISH_WORDS;
    const int32_t *const words = tile.words;
    const uint32_t tiles = tile.tiles;

    tile.output_step = row == NULL ? acs_output_step(layer) : ACS_QUAD;
    for (uint32_t channel = job->first; channel < job->last; channel += ACS_QUAD) {
        const uint32_t end = channel + ACS_QUAD < job->last ? channel + ACS_QUAD : job->last;
        if (any_active(job, channel, end)) {
            tile.words = words;
            tile.tiles = tiles;
            tile.weights = weights;
            tile.finish = finish;
            tile.output = row == NULL ? place_of(job, channel, pixel) : row;
            function(&tile);
            if (odd != 0) {
                tile.words = words + odd;
                tile.tiles = 1;
                tile.output += (pixels - ACS_TILE_PIXELS) * tile.output_step;
                function(&tile);
            }
            if (row != NULL) {
                scatter(job, row, channel, pixel, pixels);
            }
        }
        weights += quad_words;
        finish += ACS_FINISH_WORDS;
    }
}

/* What the tiles leave: a clamp that is narrower than int8. */
static void clamp_outputs(const acs_conv_t *layer, const acs_list_t *active, int8_t *output)
{
    const uint32_t bytes = acs_image_bytes(layer->output, acs_output_step(layer));
    const uint16_t count = acs_list_count(active, layer->output_groups);
    if (layer->low <= INT8_MIN && layer->high >= INT8_MAX) {
        return;
    }
    for (uint16_t i = 0; i < count; i++) {
        int8_t *const group = output + acs_list_at(active, layer->output_groups, i) * bytes;
        acs_clamp_s8(bytes, (int8_t)layer->low, (int8_t)layer->high, group, group);
    }
}

static bool convolve(const acs_job_t *job)
{
    if (!any_active(job, job->first, job->last)) {
        return true;
    }
    return acs_is_window(job->layer) ? acs_conv_window(job) : acs_conv_column(job);
}

bool acs_conv_s8(const acs_conv_t *layer, const acs_list_t *active, const int8_t *input, int8_t *output,
                 acs_scratch_t scratch)
{
    if (layer->form == ACS_PLAIN) {
        return acs_portable_conv(layer, active, input, output);
    }
    const uint32_t channels = layer->input.channels / layer->input_groups;
    const uint32_t outputs = layer->output.channels / layer->input_groups;
    for (uint32_t i = 0; i < layer->input_groups; i++) {
        const acs_job_t job = {
            .layer = layer,
            .source = {input + i * acs_image_bytes(layer->input, channels), NULL, 1, channels},
            .first = i * outputs,
            .last = (i + 1) * outputs,
            .outputs = active,
            .output = output,
            .scratch = scratch,
        };
        if (!convolve(&job)) {
            return false;
        }
    }
    clamp_outputs(layer, active, output);
    return true;
}

bool acs_conv_join_s8(const acs_conv_t *layer, const acs_list_t *active, const acs_list_t *outputs,
                      const int8_t *input, int8_t *output, acs_scratch_t scratch)
{
    if (layer->form == ACS_PLAIN) {
        return acs_portable_conv_join(layer, active, outputs, input, output);
    }
    const uint32_t channels = layer->input.channels / layer->input_groups;
    const acs_job_t job = {
        .layer = layer,
        .source = {input, active, layer->input_groups, channels},
        .first = 0,
        .last = layer->output.channels,
        .outputs = outputs,
        .output = output,
        .scratch = scratch,
    };
    if (!convolve(&job)) {
        return false;
    }
    clamp_outputs(layer, outputs, output);
    return true;
}
