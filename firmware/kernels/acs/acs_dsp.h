/* SPDX-License-Identifier: Apache-2.0 */
/**
 * acs_dsp.h: shared by the kernels of this set, for Arm cores with DSP instructions. Internal, for C only.
 * The set `acs_rv32` has jobs, strips and acs_dsp_conv.c from here; its acs_rv32.h tells what it has of its own.
 *
 * Words. A convolution's input is expanded once to 16-bit numbers without zero point, two channels to a
 * word, so that one SMLAD multiplies and adds two channels. Which two make a pair: of a layout whose groups
 * have a multiple of four channels, channels 0 and 2, 1 and 3 of every four (what SXTB16 gives); of any
 * other, channels 2k and 2k + 1 of the whole source, zero where there is no second one.
 *
 * Tiles. Four output channels (a quad) by two pixels are computed together: eight sums in registers.
 *
 * Weights: [quad][pair of input channels][tap][words]. The quads of the output channels that read one
 * source follow each other, the last one filled up with zeros; c0 .. c3 are the channels of a quad.
 * - ACS_PAIRED: two words, 256 * c1 + c0 and 256 * c3 + c2, where each number is 16 bits for each channel
 *   of the input pair. SMLAD with the word gives P = 256 * sum(c1) + sum(c0), SMLAD with its sign-extended
 *   low bytes (SXTB16) gives E = sum(c0); then sum(c1) = (P - E) / 256 exactly, as long as it fits 24 bits.
 *   acsgen proves that before it chooses this form.
 * - ACS_WIDE: four words, c0 c1 c2 c3, each 16 bits for each channel of the input pair.
 * ACS_WINOGRAD is explained below.
 *
 * Finish: [quad][16]: four sums to start from, then multiplier, rounding, shift of each channel. For a sum
 * of `sum`:  h = (2 * sum * multiplier + 2^31) >> 32;  output = sat8((h + (h >> 31) + rounding) >> shift),
 * which is TFLite's double rounding for right shifts of at least one; `rounding` takes in the zero point.
 */
#ifndef ACS_DSP_H
#define ACS_DSP_H

#include "acs_layers.h"
#include "acs_uses.h"

/** The instructions that acs_tile.S is written in. */
#if defined(__ARM_FEATURE_DSP) && defined(__ARM_FP) && defined(__thumb2__)
#define ACS_DSP_ASSEMBLY 1
#else
#define ACS_DSP_ASSEMBLY 0
#endif

/** A function, or NULL if the firmware does without it. */
#define ACS_IF(used, function) ((used) ? (function) : NULL)

/** Output channels and pixels of a tile. */
#define ACS_QUAD 4u
#define ACS_TILE_PIXELS 2u

/** Words of a quad in the table `finish`. */
#define ACS_FINISH_WORDS 16u

/** Rows of output that are computed from one window. */
#define ACS_SERVED_ROWS 2u

/** Image rows of a window, by the stride: what lies below each other in memory. */
#define ACS_WINDOW_ROWS(stride) ((ACS_SERVED_ROWS - 1u) * (stride) + 3u)

/** Neighbouring pairs that are active: from byte `begin` up to byte `end` of a quad's weights. */
typedef struct {
    uint32_t begin, end;
} acs_run_t;

/** A row of tiles for one quad. Read by acs_tile.S: 32 bits each, in this order. */
typedef struct {
    const int32_t *words;    /**< Expanded input of the first tile. */
    const int32_t *weights;  /**< Of the quad. */
    const int32_t *finish;   /**< Of the quad. */
    int8_t *output;          /**< Of the first pixel: four bytes are written to every pixel. */
    const acs_run_t *runs;   /**< Columns: at least one, none of them empty. */
    const acs_run_t *end;
    uint32_t tiles;          /**< At least one. */
    uint32_t output_step;    /**< Bytes from one pixel's output to the next one's. */
    uint32_t pair_step;      /**< Windows: bytes from one pair's words to the next one's; Winograd: of two tiles. */
    const int32_t *stop;     /**< Windows, Winograd's first point: behind the weights of the active pairs. */
    uint32_t point_bytes;    /**< Winograd: from a point's weights to the next one's. */
    int32_t *sums;           /**< Winograd: [ACS_WINOGRAD_SUMS] memory. */
    uint32_t row_step;       /**< Winograd: bytes from an output row to the next. */
    uint32_t rows;           /**< Windows: rows of tiles below each other, whose outputs follow each other. */
    uint32_t row_pixels;     /**< Set `acs_rv32`, windows: output pixels of a row. */
} acs_tile_t;

/**
 * Computes a row of tiles.
 *
 * acs_tile_column_*: words are [tile][active pair][tap][2 pixels], one behind the other.
 * acs_tile_window_*: a 3x3 window; words are [active pair][image column][ACS_WINDOW_ROWS(stride)], the
 * window's top row first. The number is the stride: the distance of a tile's two windows, and of two rows of tiles.
 */
typedef void acs_tile_function_t(const acs_tile_t *tile);
acs_tile_function_t acs_tile_column_paired, acs_tile_column_wide;
acs_tile_function_t acs_tile_window_1_paired, acs_tile_window_1_wide;
acs_tile_function_t acs_tile_window_2_paired, acs_tile_window_2_wide;

/**
 * Copies what lies in the runs, one behind the other; returns the place behind it.
 *
 * @param from  what the runs count from
 * @param runs  at least one, each of an even number of words
 */
int32_t *acs_copy_runs(int32_t *to, const int32_t *from, const acs_run_t *runs, const acs_run_t *end);

/** Sets words to zero. */
void acs_clear_words(int32_t *words, uint32_t count);

/** Moves rows 2 and 3 of a window of ACS_WINDOW_ROWS(1) to its top. columns: of all pairs. */
void acs_roll(int32_t *words, uint32_t columns);

/** Neighbouring pixels to expand. Read by acs_rows.S: 32 bits each, in this order. */
typedef struct {
    uint32_t channels;  /**< Of a pixel: a multiple of four. */
    uint32_t pixels;
    int32_t offset;     /**< acs_offset() of the zero point. */
    uint32_t pair_step; /**< Bytes from a pair's words to the next one's. */
} acs_fours_t;

/** Expands channels in fours; the words of neighbouring pixels lie so many words apart as the name says. */
typedef void acs_expand_function_t(const int8_t *input, int32_t *words, const acs_fours_t *fours);
acs_expand_function_t acs_expand_fours_1, acs_expand_fours_4, acs_expand_fours_5;

/**
 * Winograd's F(2x2, 3x3) in integers. A tile is 2x2 pixels; from the 4x4 inputs d below it, and a filter g:
 *
 *     V = B d B^T     U = G g G^T     m = sum over the input channels of U * V, point by point
 *     four times the output = A m A^T
 *
 *         | 1  0 -1  0 |        | 2  0  0 |        | 1  1  1  0 |
 *     B = | 0  1  1  0 |    G = | 1  1  1 |    A = | 0  1 -1 -1 |
 *         | 0 -1  1  0 |        | 1 -1  1 |
 *         | 0  1  0 -1 |        | 0  0  2 |
 *
 * G is twice what is usual, so that all is integer: |V| <= 1020 and |U| <= 1143 are 16-bit numbers, and what
 * comes out is divisible by four. Sums may wrap on the way; four times the output must fit 32 bits.
 *
 * Transformed inputs: [two tiles][active pair][16 points][2 tiles]. Weights (ACS_WINOGRAD): [quad][16
 * points][pair of input channels][4 output channels]. Finish: [quad][4
 * output channels]: four times the bias, multiplier, rounding, shift.
 */
#define ACS_WINOGRAD_POINTS 16u
#define ACS_WINOGRAD_SUMS (ACS_WINOGRAD_POINTS * ACS_QUAD * ACS_TILE_PIXELS)

/**
 * Transforms a pair's window.
 *
 * @param columns      of the pair, in a window: two for each tile and two more
 * @param transformed  of the pair, in the first two tiles
 * @param twos         how many times two tiles
 * @param two_bytes    from two tiles to the next two
 */
void acs_winograd_input(const int32_t *columns, int32_t *transformed, uint32_t twos, uint32_t two_bytes);

/** A row of tiles for one quad; words are transformed inputs. An odd last tile's partner is not written. */
acs_tile_function_t acs_winograd_quad;

/** What a set of output channels reads: the active ones of `groups` images that lie one behind the other. */
typedef struct {
    const int8_t *images;
    const acs_list_t *active; /**< Or NULL. */
    uint16_t groups;
    uint32_t channels; /**< Of one image. */
} acs_source_t;

/** Where the words of an image group go: pairs are counted among the active ones of the source. */
typedef struct {
    uint32_t group; /**< Of the source. */
    uint32_t pair;  /**< The pair of its first channel. */
    uint32_t half;  /**< 1 if its first channel is the second one of that pair. */
} acs_stretch_t;

/** Pairs of a source, active or not. */
static inline uint32_t acs_pairs(const acs_source_t *source)
{
    return (source->groups * source->channels + 1u) / 2u;
}

/** Whether a pair is channels 0 and 2, 1 and 3 of every four. */
static inline bool acs_fours(const acs_source_t *source)
{
    return source->channels % 4u == 0;
}

/**
 * Finds the runs of a source. Without any active group there is one run over a pair, two where channels come
 * in fours, whose words the caller leaves zero.
 *
 * @param runs  [active groups, or 1] receives them
 * @param pairs receives the number of active pairs
 * @return      how many runs
 */
uint32_t acs_find_runs(const acs_source_t *source, uint32_t pair_bytes, acs_run_t *runs, uint32_t *pairs);

/** The first active group of a source, or the one behind `last`; i counts them. */
acs_stretch_t acs_next_stretch(const acs_source_t *source, uint16_t i, const acs_stretch_t *last);

/**
 * Expands neighbouring pixels of a row into a window of so many rows, as strides need it.
 *
 * @param input      the first pixel's channels
 * @param words      words of the first pixel in the stretch's pair
 * @param pair_step  words from one pair to the next
 */
void acs_expand_row(const acs_source_t *source, const acs_stretch_t *stretch, int32_t zero_point, uint32_t pixels,
                    const int8_t *input, int32_t *words, uint32_t rows, uint32_t pair_step);

/** The same with the words of neighbouring pixels side by side. */
void acs_expand_line(const acs_source_t *source, const acs_stretch_t *stretch, int32_t zero_point, uint32_t pixels,
                     const int8_t *input, int32_t *words, uint32_t pair_step);

/** Expands one pixel; arguments as above. */
void acs_expand_pixel(const acs_source_t *source, const acs_stretch_t *stretch, int32_t zero_point,
                      const int8_t *input, int32_t *words, uint32_t pair_step);

/** Input pixels under the windows of a 1x1 convolution, in the order of the output. */
typedef struct {
    const int8_t *pixel;  /**< Of a group, the next one. */
    uint32_t step;        /**< Bytes to the one behind it in the row. */
    int32_t to_next_row;  /**< Bytes more behind the last one of a row; less where that has been stepped over. */
    uint32_t width, left; /**< Pixels of a row, from this one on. */
} acs_walk_t;

/** Expands an even number of pixels of a source in fours to [tile][active pair][2 pixels], tiles tile_words apart. */
void acs_expand_tiles(const acs_source_t *source, const acs_stretch_t *stretch, int32_t zero_point, uint32_t pixels,
                      acs_walk_t walk, int32_t *words, uint32_t tile_words);

/**
 * Work: the output channels that read one source. Of the output groups in the list those from the
 * from-th up to the upto-th read it, and only those are in [first, last).
 */
typedef struct {
    const acs_conv_t *layer;
    acs_source_t source;
    uint32_t first, last;      /**< Output channels that read the source: last is the one behind. */
    const acs_list_t *outputs; /**< Output groups to compute, or NULL. */
    uint16_t from, upto;
    int8_t *output;      /**< The whole tensor. */
    uint32_t quad_words; /**< Weights of a quad. */
    acs_scratch_t scratch;
} acs_job_t;

/** acs_take() of a multiple of four bytes, no more: words need not be aligned to eight. */
void *acs_take_words(acs_scratch_t *scratch, uint32_t bytes);

/** Taps of a 3x3 window of neighbours that moves by 1 or 2 pixels and has room for a tile in every row. */
bool acs_is_window(const acs_conv_t *layer);
bool acs_conv_window(const acs_job_t *job);

/** The same of stride 1 and an even output, in fours of input and output channels, by Winograd's way. */
bool acs_conv_winograd(const acs_job_t *job);

/** Everything else: the pixels under every window are laid side by side, a few tiles at a time. */
bool acs_conv_column(const acs_job_t *job);

/**
 * Replaces the finish table of a join by one whose sums to start from hold what the input groups add that are not
 * active, if they add anything: see `closed` in acs_conv_t.
 *
 * @param scratch  the new table is taken from its beginning; what lies behind is overwritten
 */
ACS_MUST_CHECK bool acs_complete_finish(acs_conv_t *layer, const acs_list_t *active, acs_scratch_t *scratch);

/** Words of the weights of one pair of input channels. */
static inline uint32_t acs_pair_words(const acs_conv_t *layer)
{
    if (layer->form == ACS_WINOGRAD) {
        return ACS_WINOGRAD_POINTS * ACS_QUAD;
    }
    return (layer->form == ACS_WIDE ? 4u : 2u) * layer->kernel.height * layer->kernel.width;
}

/** Bytes from one output pixel to the next one of the same group. */
static inline uint32_t acs_output_step(const acs_conv_t *layer)
{
    return (uint32_t)layer->output.channels / layer->output_groups;
}

/** Whether a tile can write where its channels belong: else it writes to a row of its own. */
static inline bool acs_writes_in_place(const acs_conv_t *layer)
{
    return acs_output_step(layer) % ACS_QUAD == 0;
}

/** Bytes of a strip of so many pixels that is added to a residual; 0 without one. */
static inline uint32_t acs_band_bytes(const acs_conv_t *layer, uint32_t pixels)
{
    return layer->residual == NULL ? 0u : (pixels * layer->output.channels + 3u) & ~3u;
}

/** Right shifts of the short requantisation. */
#define ACS_MOST_SHIFT 22

/** Whether each channel of a depthwise convolution shifts right by 1 to ACS_MOST_SHIFT, its bias at most so much. */
static inline bool acs_depthwise_is_short(const acs_depthwise_t *layer, int32_t most_bias)
{
    for (uint32_t c = 0; c < layer->output.channels; c++) {
        const bool right = layer->shift[c] <= -1 && layer->shift[c] >= -ACS_MOST_SHIFT;
        if (!right || layer->bias[c] > most_bias || layer->bias[c] < -most_bias) {
            return false;
        }
    }
    return true;
}

/** Whether a depthwise convolution has 3x3 or 5x5 taps of neighbours and moves by 1 or 2 pixels. */
static inline bool acs_depthwise_is_square(const acs_depthwise_t *layer)
{
    const uint16_t size = layer->kernel.width;
    return layer->kernel.height == size && (size == 3 || size == 5) &&
           layer->dilation.height * layer->dilation.width == 1 && layer->stride.height == layer->stride.width &&
           layer->stride.width <= 2;
}

/** Neighbouring rows of output pixels that are computed from what is expanded. */
typedef struct {
    acs_tile_function_t *function;
    acs_tile_t tile;  /**< Of the first row: words, tiles, pair_step, what Winograd needs. */
    uint32_t odd;     /**< Words from the first tile to one that ends with an odd last pixel; 0: there is none. */
    uint32_t rows;
    uint32_t row_words; /**< From the words of a row to those of the next. */
    uint32_t pixel;   /**< Index of the first row's first pixel. */
    uint32_t pixels;  /**< Of a row; Winograd: of two. */
    uint32_t outputs; /**< Pixels of the strip. */
    int8_t *row;      /**< [4 * pixels, at least 8] for a quad's output; NULL: it is written in place. */
    int8_t *band;     /**< [outputs * channels] to be added to the output; NULL: no residual. */
    int32_t *weights; /**< [active words of a quad] receives its weights; NULL: they are read in flash. */
    const acs_run_t *runs, *end; /**< In flash, of a point. */
    uint32_t points;             /**< 1, or ACS_WINOGRAD_POINTS. */
    uint32_t point_bytes;        /**< Weights of a quad at one point, in flash. */
} acs_strip_t;

/** Computes every quad of a job that has an active channel, and adds the strip to the residual. */
void acs_compute_quads(const acs_job_t *job, const acs_strip_t *strip);

#endif /* ACS_DSP_H */
