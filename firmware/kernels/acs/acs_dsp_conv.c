/* SPDX-License-Identifier: Apache-2.0 */
/* acs_dsp_conv.c: convolutions, source by source: what all forms share, and the choice between them. */
#include "acs_dsp.h"

#include "acs_portable.h"

void *acs_take_words(acs_scratch_t *scratch, uint32_t bytes)
{
    void *const piece = scratch->data;
    if (scratch->bytes < bytes) {
        return NULL;
    }
    scratch->data = (int8_t *)piece + bytes;
    scratch->bytes -= bytes;
    return piece;
}

/* The i-th output group to compute. */
static uint32_t group_at(const acs_job_t *job, uint32_t i)
{
    return acs_list_at(job->outputs, job->layer->output_groups, (uint16_t)i);
}

/* Whether one of the output channels from `first` up to `end` is in a group to compute. */
static bool any_active(const acs_job_t *job, uint32_t first, uint32_t end)
{
    const uint32_t each = acs_output_step(job->layer);
    for (uint32_t i = job->from; i < job->upto; i++) {
        const uint32_t channel = group_at(job, i) * each;
        if (channel < end && channel + each > first) {
            return true;
        }
    }
    return false;
}

/* A channel of a pixel of a strip. */
static int8_t *place_of(const acs_job_t *job, const acs_strip_t *strip, uint32_t channel, uint32_t pixel)
{
    const uint32_t each = acs_output_step(job->layer);
    if (strip->band != NULL) {
        return strip->band + (pixel - strip->pixel) * each + channel;
    }
    const uint32_t pixels = (uint32_t)job->layer->output.height * job->layer->output.width;
    return job->output + (channel / each * pixels + pixel) * each + channel % each;
}

/* From a quad's row to where its channels belong. */
static void scatter(const acs_job_t *job, const acs_strip_t *strip, uint32_t channel, uint32_t pixel)
{
    const uint32_t each = acs_output_step(job->layer);
    for (uint32_t c = 0; c < ACS_QUAD && channel + c < job->last; c++) {
        if (any_active(job, channel + c, channel + c + 1)) {
            int8_t *to = place_of(job, strip, channel + c, pixel);
            for (uint32_t p = 0; p < strip->pixels; p++, to += each) {
                *to = strip->row[ACS_QUAD * p + c];
            }
        }
    }
}

/* A quad in all rows. tile: the strip's, with the quad's weights, finish and output_step. output: its place, or the
 * strip's row. */
static void compute_quad(const acs_job_t *job, const acs_strip_t *strip, acs_tile_t *tile, uint32_t channel,
                         int8_t *output)
{
    uint32_t pixel = strip->pixel;
    if (strip->rows == 1 && strip->odd == 0 && strip->row == NULL) { /* one call does it, which is the common case */
        tile->output = output;
        strip->function(tile);
        return;
    }
    for (uint32_t r = 0; r < strip->rows; r++, pixel += strip->pixels) {
        tile->words = strip->tile.words + r * strip->row_words;
        tile->tiles = strip->tile.tiles;
        tile->output = output;
        strip->function(tile);
        if (strip->odd != 0) {
            tile->words += strip->odd;
            tile->tiles = 1;
            tile->output += (strip->pixels - ACS_TILE_PIXELS) * tile->output_step;
            strip->function(tile);
        }
        if (strip->row == NULL) {
            output += strip->pixels * tile->output_step;
        } else {
            scatter(job, strip, channel, pixel);
        }
    }
}

/* Copies a quad's weights of the active pairs. */
static void copy_weights(const acs_strip_t *strip, const int32_t *from)
{
    int32_t *to = strip->weights;
    if (strip->tile.point_bytes == strip->point_bytes) { /* all pairs: in one piece */
        const acs_run_t whole = {0, strip->points * strip->point_bytes};
        acs_copy_runs(to, from, &whole, &whole + 1);
        return;
    }
    for (uint32_t point = 0; point < strip->points; point++, from += strip->point_bytes / 4) {
        to = acs_copy_runs(to, from, strip->runs, strip->end);
    }
}

/* Finds a quad's weights and finish; the weights are copied if the strip has room for them. */
static void take_quad(const acs_job_t *job, const acs_strip_t *strip, uint32_t quad, acs_tile_t *tile)
{
    const int32_t *const from = job->layer->words + quad * job->quad_words;
    tile->finish = job->layer->finish + quad * ACS_FINISH_WORDS;
    if (strip->weights == NULL) {
        tile->weights = from;
        tile->stop = from + (strip->end - 1)->end / 4;
    } else {
        copy_weights(strip, from);
        tile->weights = strip->weights;
        tile->stop = strip->weights + strip->tile.point_bytes / 4;
    }
}

/* The part of a clamp that int8 does not do already. */
static void clamp(const acs_conv_t *layer, uint32_t count, int8_t *values)
{
    if (layer->low > INT8_MIN || layer->high < INT8_MAX) {
        acs_clamp_s8(count, (int8_t)layer->low, (int8_t)layer->high, values, values);
    }
}

/* Quads that do not reach over groups. */
static void compute_groups(const acs_job_t *job, const acs_strip_t *strip, acs_tile_t *tile)
{
    const uint32_t step = acs_output_step(job->layer);
    tile->output_step = step;
    for (uint32_t i = job->from; i < job->upto; i++) {
        uint32_t channel = group_at(job, i) * step;
        int8_t *output = place_of(job, strip, channel, strip->pixel);
        for (const uint32_t end = channel + step; channel < end; channel += ACS_QUAD, output += ACS_QUAD) {
            take_quad(job, strip, channel / ACS_QUAD, tile);
            compute_quad(job, strip, tile, channel, output);
        }
    }
}

/* Quads by way of a row: each source's last one may not be full. */
static void compute_rows(const acs_job_t *job, const acs_strip_t *strip, acs_tile_t *tile)
{
    const uint32_t each = job->last - job->first;
    uint32_t quad = job->first / each * ((each + ACS_QUAD - 1) / ACS_QUAD);
    tile->output_step = ACS_QUAD;
    for (uint32_t channel = job->first; channel < job->last; channel += ACS_QUAD, quad++) {
        if (any_active(job, channel, channel + ACS_QUAD)) {
            take_quad(job, strip, quad, tile);
            compute_quad(job, strip, tile, channel, strip->row);
        }
    }
}

void acs_compute_quads(const acs_job_t *job, const acs_strip_t *strip)
{
    acs_tile_t tile = strip->tile;
    (strip->row == NULL ? compute_groups : compute_rows)(job, strip, &tile);
    if (strip->band != NULL) {
        const uint32_t channels = job->layer->output.channels;
        clamp(job->layer, strip->outputs * channels, strip->band);
        acs_add_residual_s8(job->layer->residual, strip->outputs * channels, strip->band,
                            job->output + strip->pixel * channels);
    }
}

/* The clamp of what has been written in place. */
static void clamp_outputs(const acs_conv_t *layer, const acs_list_t *active, int8_t *output)
{
    const uint32_t bytes = acs_image_bytes(layer->output, acs_output_step(layer));
    const uint16_t count = acs_list_count(active, layer->output_groups);
    for (uint16_t i = 0; layer->residual == NULL && i < count; i++) {
        clamp(layer, bytes, output + acs_list_at(active, layer->output_groups, i) * bytes);
    }
}

#define USES_WINDOW                                                                                                  \
    (ACS_USES_WINDOW_1_PAIRED || ACS_USES_WINDOW_1_WIDE || ACS_USES_WINDOW_2_PAIRED || ACS_USES_WINDOW_2_WIDE)
#define USES_COLUMN                                                                                                  \
    (ACS_USES_COLUMN_PAIRED || ACS_USES_COLUMN_WIDE || ACS_USES_SINGLE_PAIRED || ACS_USES_SINGLE_WIDE)

static bool convolve(acs_job_t *job)
{
    job->quad_words = acs_pair_words(job->layer) * acs_pairs(&job->source);
    if (job->layer->form == ACS_WINOGRAD) {
        return ACS_USES_WINOGRAD && acs_conv_winograd(job);
    }
    return acs_is_window(job->layer) ? USES_WINDOW && acs_conv_window(job) : USES_COLUMN && acs_conv_column(job);
}

/* Does the layer before, if there is one, for the active groups of the source. */
static bool scale_input(acs_job_t *job)
{
    const acs_conv_t *const layer = job->layer;
    const uint32_t channels = job->source.channels;
    const uint32_t bytes = acs_image_bytes(layer->input, channels);
    const uint16_t count = acs_list_count(job->source.active, job->source.groups);
    if (layer->before == NULL) {
        return true;
    }
    int8_t *const scaled = acs_take(&job->scratch, bytes * job->source.groups);
    if (scaled == NULL) {
        return false;
    }
    for (uint16_t i = 0; i < count; i++) {
        const uint32_t g = acs_list_at(job->source.active, job->source.groups, i);
        acs_scale_s8(layer->before, g, job->source.images + g * bytes, channels, scaled + g * bytes, channels);
    }
    job->source.images = scaled;
    return true;
}

bool acs_conv_s8(const acs_conv_t *layer, const acs_list_t *active, const int8_t *input, int8_t *output,
                 acs_scratch_t scratch)
{
    if (layer->form == ACS_PLAIN) {
        return ACS_USES_PLAIN && acs_portable_conv(layer, active, input, output, scratch);
    }
    const uint32_t channels = layer->input.channels / layer->input_groups;
    const uint32_t image_bytes = acs_image_bytes(layer->input, channels);
    const uint32_t outputs = layer->output.channels / layer->input_groups;
    const uint32_t each = layer->output_groups / layer->input_groups; /* output groups that read one image */
    const uint16_t count = acs_list_count(active, layer->output_groups);
    acs_job_t job = {.layer = layer, .outputs = active, .output = output, .scratch = scratch};
    while (job.from < count) {
        const uint32_t i = acs_list_at(active, layer->output_groups, job.from) / each;
        job.upto = (uint16_t)(job.from + 1);
        while (job.upto < count && acs_list_at(active, layer->output_groups, job.upto) / each == i) {
            job.upto++;
        }
        job.source = (acs_source_t){input + i * image_bytes, NULL, 1, channels};
        job.first = i * outputs;
        job.last = job.first + outputs;
        if (!convolve(&job)) {
            return false;
        }
        job.from = job.upto;
    }
    clamp_outputs(layer, active, output);
    return true;
}

bool acs_conv_join_s8(const acs_conv_t *layer, const acs_list_t *active, const acs_list_t *outputs,
                      const int8_t *input, int8_t *output, acs_scratch_t scratch)
{
    if (layer->form == ACS_PLAIN) {
        return ACS_USES_PLAIN && acs_portable_conv_join(layer, active, outputs, input, output, scratch);
    }
    acs_conv_t complete = *layer;
    acs_job_t job = {
        .layer = &complete,
        .source = {input, active, layer->input_groups, layer->input.channels / layer->input_groups},
        .first = 0,
        .last = layer->output.channels,
        .outputs = outputs,
        .from = 0,
        .upto = acs_list_count(outputs, layer->output_groups),
        .output = output,
        .scratch = scratch,
    };
    if (job.upto == 0) {
        return true;
    }
    if (!scale_input(&job) || !acs_complete_finish(&complete, active, &job.scratch) || !convolve(&job)) {
        return false;
    }
    clamp_outputs(layer, outputs, output);
    return true;
}
