/* SPDX-License-Identifier: Apache-2.0 */
/**
 * acs.h: what a generated model is, and how an application calls it.
 *
 * A model is a constant. It owns no memory: the caller gives one arena, whose size the model states
 * and whose layout was planned when the model was generated. Nothing is allocated, nothing global is
 * written, so two threads may run the same model at the same time, each in its own arena.
 *
 *     #include "demo.h"
 *
 *     static ACS_ALIGNED uint8_t arena[DEMO_ARENA_BYTES];
 *
 *     int8_t scores[DEMO_OUTPUT_BYTES];
 *     if (!demo_run(arena, image, scores, ACS_SKIP, NULL)) { ... }   // skips what the gates close
 *     const uint8_t *open = demo_masks(arena);                      // 1 = this group was computed
 */
#ifndef ACS_H
#define ACS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Alignment that every arena needs, in bytes. */
#define ACS_ARENA_ALIGNMENT 8

/** Gives a variable that alignment. (GNU's own spelling, for C++ takes alignas in fewer places.) */
#if defined(__GNUC__)
#define ACS_ALIGNED __attribute__((aligned(ACS_ARENA_ALIGNMENT)))
#elif defined(__cplusplus)
#define ACS_ALIGNED alignas(ACS_ARENA_ALIGNMENT)
#else
#define ACS_ALIGNED _Alignas(ACS_ARENA_ALIGNMENT)
#endif

/** Warns where a result is ignored, if the compiler can. */
#if defined(__GNUC__)
#define ACS_MUST_CHECK __attribute__((warn_unused_result))
#else
#define ACS_MUST_CHECK
#endif

/** In `masks`: the gate decided nothing, for all that its mask closes or opens feeds only what others closed. */
#define ACS_UNDECIDED 2

/** How a run honours the decisions of the gates. */
typedef enum {
    ACS_SKIP = 0,     /**< The product: closed groups are not computed. */
    ACS_MULTIPLY = 1, /**< Everything is computed, closed groups are then zeroed. Same bits as ACS_SKIP. */
    ACS_OPEN = 2,     /**< Every gate is forced open: the dense network. */
    ACS_GIVEN = 3,    /**< As ACS_SKIP, but by the masks that the caller wrote: see acs_model_t::run. */
    ACS_BUDGET = 4    /**< As ACS_SKIP, with thresholds that the caller moved: see acs_model_t::run. */
} acs_mode_t;

/**
 * Sees every tensor of a run as soon as it is complete; for tests, tensor dumps and profiling.
 *
 * In mode ACS_SKIP the closed groups of a gated tensor hold whatever lay there before.
 */
typedef struct {
    /**
     * @param context  the pointer stored beside this function
     * @param index    index of the tensor in plan.json
     * @param data     the tensor in the arena, in the layout that plan.json states; valid in this call
     * @param bytes    its size
     */
    void (*tensor)(void *context, uint16_t index, const int8_t *data, size_t bytes);
    void *context;
} acs_observer_t;

/** A generated model: a constant that describes itself and can be run. */
typedef struct {
    const char *name;         /**< The C name of the model. */
    uint32_t fingerprint;     /**< CRC-32 of the model.acsq that it was generated from. */
    uint32_t arena_bytes;     /**< Size of the arena that `run` needs. */
    uint32_t input_bytes;     /**< Size of one input, int8, NHWC. */
    uint32_t output_bytes;    /**< Size of one output, int8. */
    uint32_t mask_bytes;      /**< Gated groups over all gates: one byte (0 or 1) each. */
    uint32_t tensor_count;    /**< Tensors that an observer sees in one run. */

    /**
     * Runs the model once.
     *
     * @param arena     arena_bytes bytes, aligned to ACS_ARENA_ALIGNMENT
     * @param input     input_bytes bytes
     * @param output    output_bytes bytes
     * @param mode      how masks are honoured
     * @param observer  sees every tensor, or NULL
     * Arena, input and output may not overlap.
     *
     * Before a run in mode ACS_GIVEN the caller writes its own masks, mask_bytes bytes of 1 (open) or 0
     * in the order of `masks`, to the start of the arena; anything but 1 is closed, ACS_UNDECIDED too. The gates
     * are computed, but decide nothing.
     *
     * Before a run in mode ACS_BUDGET it writes there, for each group, by how much the threshold of its
     * gate is raised: an int8, in steps of two of the gate's int8 logits. More than 0 closes groups and saves
     * time, less than 0 opens some; 0 everywhere is ACS_SKIP. The same for all groups will often do:
     *
     *     memset(arena, 8, DEMO_MASK_BYTES);
     *     if (!demo_run(arena, image, scores, ACS_BUDGET, NULL)) { ... }
     *
     * @return true, or false if arena, input or output is NULL or the arena is misaligned. (A kernel
     *         that refuses its parameters gives false too; a generated model never makes one refuse.)
     *         After false, output and masks hold nothing of use.
     */
    bool (*run)(void *arena, const int8_t *input, int8_t *output, acs_mode_t mode,
                const acs_observer_t *observer);

    /**
     * The decisions of the last run in this arena.
     *
     * @return mask_bytes bytes, gate after gate in the order of plan.json: 1 open, 0 closed; ACS_UNDECIDED in
     *         every group of a gate that was not asked, as what it gates was of no use for this input. In mode
     *         ACS_OPEN they are all 1, and in mode ACS_MULTIPLY every gate decides.
     */
    const uint8_t *(*masks)(const void *arena);
} acs_model_t;

#ifdef __cplusplus
}
#endif

#endif /* ACS_H */
