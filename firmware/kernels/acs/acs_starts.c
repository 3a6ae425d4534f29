/* SPDX-License-Identifier: Apache-2.0 */
/* acs_starts.c: what closed input groups of constants add, in the sums that a convolution starts from. */
#include "acs_dsp_math.h"

/* All sums wrap, as those of the tiles do: what is read of them in the end fits. */
static int32_t wrapped(uint32_t sum)
{
    return (int32_t)sum;
}

/* What is added to the four channels of a quad, where that is known: c0 .. c3. */
static void add_known(uint16_t form, const int32_t *added, uint32_t channels, int32_t *finish)
{
    uint32_t sums[ACS_QUAD] = {0};
    for (uint32_t c = 0; c < channels; c++) {
        sums[c] = (uint32_t)added[c];
    }
    for (uint32_t c = 0; c < ACS_QUAD; c++) {
        if (form == ACS_WINOGRAD) {
            finish[4 * c] = wrapped((uint32_t)finish[4 * c] + 4u * sums[c]);
        } else if (form == ACS_PAIRED && c % 2 == 1) {
            finish[c] = wrapped((uint32_t)finish[c] + 256u * sums[c] + sums[c - 1]);
        } else {
            finish[c] = wrapped((uint32_t)finish[c] + sums[c]);
        }
    }
}

/* Adds what group g adds to every output channel. */
static void add_group(const acs_conv_t *layer, uint32_t g, int32_t *finish)
{
    const uint32_t outputs = layer->output.channels;
    const int32_t *const added = layer->closed_sums + g * outputs;
    for (uint32_t c = 0; c < outputs; c += ACS_QUAD, finish += ACS_FINISH_WORDS) {
        add_known(layer->form, added + c, outputs - c < ACS_QUAD ? outputs - c : ACS_QUAD, finish);
    }
}

/* The words of the closed groups' constants, as of the only pixel of an image, and where their weights are. */
typedef struct {
    const int32_t *words;
    const acs_run_t *runs, *end; /* of pairs */
    uint32_t pairs;              /* of the source, closed or not */
} constants_t;

/* A pair's constant is the same under every tap. */
static void add_pair_paired(const int32_t *weights, uint32_t taps, int32_t word, int32_t *starts)
{
    for (uint32_t tap = 0; tap < taps; tap++, weights += ACS_QUAD / 2) {
        acs_add_tap_paired(weights, word, starts);
    }
}

static void add_pair_wide(const int32_t *weights, uint32_t taps, int32_t word, int32_t *starts)
{
    for (uint32_t tap = 0; tap < taps; tap++, weights += ACS_QUAD) {
        acs_add_tap_wide(weights, word, starts);
    }
}

/* Winograd's weights at the middle points hold all taps of a filter: row 1 of G is 1 1 1. */
#define ALL_TAPS 5u

static void add_quad(const acs_conv_t *layer, const constants_t *constants, const int32_t *weights, int32_t *finish)
{
    const uint32_t taps = (uint32_t)layer->kernel.height * layer->kernel.width;
    const int32_t *word = constants->words;
    int32_t sums[ACS_QUAD] = {0};
    for (const acs_run_t *run = constants->runs; run < constants->end; run++) {
        for (uint32_t pair = run->begin; pair < run->end; pair++, word++) {
            if (layer->form == ACS_WINOGRAD) {
                add_pair_wide(weights + (ALL_TAPS * constants->pairs + pair) * ACS_QUAD, 1, *word, sums);
            } else if (layer->form == ACS_WIDE) {
                add_pair_wide(weights + pair * ACS_QUAD * taps, taps, *word, finish);
            } else {
                add_pair_paired(weights + pair * 2 * taps, taps, *word, finish);
            }
        }
    }
    if (layer->form == ACS_WINOGRAD) {
        add_known(layer->form, sums, ACS_QUAD, finish);
    }
}

/* Adds what the constants of these groups add, pair by pair: no more than a pixel of the layer costs. */
static bool add_products(const acs_conv_t *layer, const acs_list_t *closed, uint32_t quads, acs_scratch_t scratch,
                         int32_t *finish)
{
    const acs_source_t source = {layer->closed, closed, layer->input_groups,
                                 layer->input.channels / layer->input_groups};
    acs_run_t *const runs = acs_take(&scratch, closed->count * (uint32_t)sizeof *runs);
    if (runs == NULL) {
        return false;
    }
    constants_t constants = {.runs = runs, .pairs = acs_pairs(&source)};
    uint32_t pairs;
    constants.end = runs + acs_find_runs(&source, 1, runs, &pairs);
    int32_t *const words = acs_take(&scratch, pairs * (uint32_t)sizeof *words);
    if (words == NULL) {
        return false;
    }
    memset(words, 0, pairs * sizeof *words);
    acs_stretch_t stretch = {0, 0, 0};
    for (uint16_t i = 0; i < closed->count; i++) {
        stretch = acs_next_stretch(&source, i, &stretch);
        acs_expand_pixel(&source, &stretch, layer->input_zero_point, layer->closed + stretch.group * source.channels,
                         words + stretch.pair, 1);
    }
    constants.words = words;
    for (uint32_t quad = 0; quad < quads; quad++, finish += ACS_FINISH_WORDS) {
        add_quad(layer, &constants, layer->words + quad * acs_pair_words(layer) * constants.pairs, finish);
    }
    return true;
}

/* The input groups that are not active. */
static acs_list_t closed_groups(const acs_conv_t *layer, const acs_list_t *active, uint8_t *index)
{
    const uint16_t count = acs_list_count(active, layer->input_groups);
    acs_list_t closed = {.index = index, .groups = layer->input_groups};
    uint16_t i = 0;
    for (uint16_t g = 0; g < layer->input_groups; g++) {
        if (i < count && acs_list_at(active, layer->input_groups, i) == g) {
            i++;
        } else {
            index[closed.count++] = (uint8_t)g;
        }
    }
    return closed;
}

bool acs_complete_finish(acs_conv_t *layer, const acs_list_t *active, acs_scratch_t *scratch)
{
    const uint32_t quads = (layer->output.channels + ACS_QUAD - 1u) / ACS_QUAD;
    const uint32_t bytes = quads * ACS_FINISH_WORDS * (uint32_t)sizeof *layer->finish;
    if ((layer->closed == NULL && layer->closed_sums == NULL) ||
        acs_list_count(active, layer->input_groups) == layer->input_groups) {
        return true;
    }
    int32_t *const finish = acs_take(scratch, bytes);
    acs_scratch_t rest = *scratch;
    uint8_t *const index = acs_take(&rest, layer->input_groups);
    if (finish == NULL || index == NULL) {
        return false;
    }
    const acs_list_t closed = closed_groups(layer, active, index);
    memcpy(finish, layer->finish, bytes);
    if (layer->closed_sums != NULL) {
        for (uint16_t i = 0; i < closed.count; i++) {
            add_group(layer, closed.index[i], finish);
        }
    } else if (!add_products(layer, &closed, quads, rest, finish)) {
        return false;
    }
    layer->finish = finish;
    return true;
}
