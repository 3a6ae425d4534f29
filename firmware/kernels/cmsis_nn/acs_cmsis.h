/* SPDX-License-Identifier: Apache-2.0 */
/**
 * acs_cmsis.h: shared by the kernels of this set, which stand on CMSIS-NN. Internal, for C only.
 *
 * CMSIS-NN 4.0 knows no groups (its arm_convolve_s8 accepts them and returns wrong numbers), newer
 * releases do it with larger scratch. Group-major layout makes that unimportant: one plain call is one
 * group, and skipping a group is not making its call.
 */
#ifndef ACS_CMSIS_H
#define ACS_CMSIS_H

#include "acs_layers.h"
#include "arm_nnfunctions.h"

/** A shape as CMSIS-NN wants it, with other channels. */
static inline cmsis_nn_dims acs_dims(acs_shape_t shape, uint32_t channels)
{
    return (cmsis_nn_dims){.n = 1, .h = shape.height, .w = shape.width, .c = (int32_t)channels};
}

static inline cmsis_nn_tile acs_tile(acs_pair_t pair)
{
    return (cmsis_nn_tile){.w = pair.width, .h = pair.height};
}

static inline cmsis_nn_context acs_context(acs_scratch_t scratch)
{
    return (cmsis_nn_context){.buf = scratch.data, .size = (int32_t)scratch.bytes};
}

/** Bytes of an image of `channels` channels. */
static inline uint32_t acs_image_bytes(acs_shape_t shape, uint32_t channels)
{
    return (uint32_t)shape.height * shape.width * channels;
}

#endif /* ACS_CMSIS_H */
