/* SPDX-License-Identifier: Apache-2.0 */
/*
 * acs_winograd.S: exact integer Winograd F(2x2, 3x3) for Arm cores with DSP instructions and an FPU.
 *
 * acs_winograd_twin.c has the same in C; acs_dsp.h says how everything lies.
 */
#if defined(__ARM_FEATURE_DSP) && defined(__ARM_FP) && defined(__thumb2__)

    .syntax unified
    .thumb

/* Bytes from one column of a window to the next, of the transformed inputs of a pair of channels and two tiles,
   and of the sums of a quad at one point. */
    .equ    COLUMN, 16
    .equ    PAIR, 128
    .equ    POINT, 32

/* One row of a transformed input, from the row's four columns in r10 r11 r12 lr; row counts from 0. */
    .macro store_row row, tile
    ssub16  r10, r10, r12
    str     r10, [r1, #32 * \row + 4 * \tile]
    sadd16  r10, r11, r12
    str     r10, [r1, #32 * \row + 8 + 4 * \tile]
    ssub16  r12, r12, r11
    str     r12, [r1, #32 * \row + 16 + 4 * \tile]
    ssub16  r11, r11, lr
    str     r11, [r1, #32 * \row + 24 + 4 * \tile]
    .endm

    .macro load_row row, tile
    ldr     r10, [r0, #2 * COLUMN * \tile + 4 * \row]
    ldr     r11, [r0, #2 * COLUMN * \tile + COLUMN + 4 * \row]
    ldr     r12, [r0, #2 * COLUMN * \tile + 2 * COLUMN + 4 * \row]
    ldr     lr, [r0, #2 * COLUMN * \tile + 3 * COLUMN + 4 * \row]
    .endm

/* r0: the tile's columns; r1: where its transform goes. Rows 1 and 2 stay in r2 .. r9. Single loads pipeline, pairs
   would not. */
    .macro transform_tile tile
    ldr     r2, [r0, #2 * COLUMN * \tile + 4]
    ldr     r3, [r0, #2 * COLUMN * \tile + 8]
    ldr     r4, [r0, #2 * COLUMN * \tile + COLUMN + 4]
    ldr     r5, [r0, #2 * COLUMN * \tile + COLUMN + 8]
    ldr     r6, [r0, #2 * COLUMN * \tile + 2 * COLUMN + 4]
    ldr     r7, [r0, #2 * COLUMN * \tile + 2 * COLUMN + 8]
    ldr     r8, [r0, #2 * COLUMN * \tile + 3 * COLUMN + 4]
    ldr     r9, [r0, #2 * COLUMN * \tile + 3 * COLUMN + 8]
    load_row 0, \tile
    ssub16  r10, r10, r3
    ssub16  r11, r11, r5
    ssub16  r12, r12, r7
    ssub16  lr, lr, r9
    store_row 0, \tile
    sadd16  r10, r2, r3
    sadd16  r11, r4, r5
    sadd16  r12, r6, r7
    sadd16  lr, r8, r9
    store_row 1, \tile
    ssub16  r10, r3, r2
    ssub16  r11, r5, r4
    ssub16  r12, r7, r6
    ssub16  lr, r9, r8
    store_row 2, \tile
    load_row 3, \tile
    ssub16  r10, r2, r10
    ssub16  r11, r4, r11
    ssub16  r12, r6, r12
    ssub16  lr, r8, lr
    store_row 3, \tile
    .endm

/* void acs_winograd_input(const int32_t *columns, int32_t *transformed, uint32_t twos, uint32_t two_bytes) */
    .section .text.acs_winograd_input, "ax", %progbits
    .global acs_winograd_input
    .type   acs_winograd_input, %function
    .balign 8
    .thumb_func
acs_winograd_input:
    push    {r4-r11, lr}
    vmov    s0, r2
    vmov    s1, r3
    .balign 4
1:
    transform_tile 0
    transform_tile 1
    vmov    r10, s0
    vmov    r11, s1
    add     r0, r0, #4 * COLUMN
    add     r1, r1, r11
    subs    r10, r10, #1
    vmov    s0, r10
    bne.w   1b
    pop     {r4-r11, pc}
    .size   acs_winograd_input, . - acs_winograd_input

/* acs_tile_t, and what the loops need. Not of it: runs and end. */
inputs_  .req s0
weights_ .req s1
finish_  .req s2
output_  .req s3
ends_    .req s4                        /* where the weights of this point end */
back_    .req s5                        /* from behind the last pair's inputs to the first one's at the next point */
tiles_   .req s6
step_    .req s7
two_     .req s8
stop_    .req s9
point_   .req s10
sums_    .req s11
row_     .req s12
gap_     .req s13                       /* from a point's weights to the next one's */
last_    .req s14                       /* behind the sums */
now_     .req s15                       /* the sums at this point, then the finish of this channel */

/* A pair of channels at one point: r10 r11 weights of four output channels, r12 lr inputs of two tiles. */
    .macro multiply_pair
    ldrd    r10, r11, [r1], #8
    ldrd    r12, lr, [r0], #PAIR
    smlad   r2, r10, r12, r2
    smlad   r3, r10, lr, r3
    smlad   r4, r11, r12, r4
    smlad   r5, r11, lr, r5
    ldrd    r10, r11, [r1], #8
    smlad   r6, r10, r12, r6
    smlad   r7, r10, lr, r7
    smlad   r8, r11, r12, r8
    smlad   r9, r11, lr, r9
    .endm

/* The same by loads that pipeline, which takes two instructions more and a cycle less. at: how many pairs behind r0
   and r1, which do not move on. */
    .macro multiply_pair_at at
    ldr     r10, [r1, #16 * \at]
    ldr     r11, [r1, #16 * \at + 4]
    ldr     r12, [r0, #PAIR * \at]
    ldr     lr, [r0, #PAIR * \at + 4]
    smlad   r2, r10, r12, r2
    smlad   r3, r10, lr, r3
    smlad   r4, r11, r12, r4
    smlad   r5, r11, lr, r5
    ldrd    r10, r11, [r1, #16 * \at + 8]
    smlad   r6, r10, r12, r6
    smlad   r7, r10, lr, r7
    smlad   r8, r11, r12, r8
    smlad   r9, r11, lr, r9
    .endm

/* The same without sums before. */
    .macro multiply_first_pair
    ldrd    r10, r11, [r1], #8
    ldrd    r12, lr, [r0], #PAIR
    smuad   r2, r10, r12
    smuad   r3, r10, lr
    smuad   r4, r11, r12
    smuad   r5, r11, lr
    ldrd    r10, r11, [r1], #8
    smuad   r6, r10, r12
    smuad   r7, r10, lr
    smuad   r8, r11, r12
    smuad   r9, r11, lr
    .endm

/* Column j of the sums at the points: `upper` = m0 + m1 + m2, `lower` = m1 - m2 - m3. r8: four times the bias,
   which point (1, 1) takes in. */
    .macro fold_column column, upper, lower
    ldr     \upper, [r0, #POINT * \column]
    ldr     \lower, [r0, #POINT * (4 + \column)]
    ldr     r12, [r0, #POINT * (8 + \column)]
    ldr     lr, [r0, #POINT * (12 + \column)]
    .if \column == 1
    add     \lower, \lower, r8
    .endif
    add     \upper, \upper, \lower
    sub     \lower, \lower, r12
    add     \upper, \upper, r12
    sub     \lower, \lower, lr
    .endm

/* Twice the sum, from four times it, to int8; r9 multiplier, r10 rounding, r11 shift. */
    .macro finish_four
    asr     r4, r4, #1
    asr     r5, r5, #1
    asr     r6, r6, #1
    asr     r7, r7, #1
    add     r2, r10, r4, asr #31
    add     r3, r10, r5, asr #31
    add     r12, r10, r6, asr #31
    add     lr, r10, r7, asr #31
    smmlar  r4, r4, r9, r2
    smmlar  r5, r5, r9, r3
    smmlar  r6, r6, r9, r12
    smmlar  r7, r7, r9, lr
    asr     r4, r4, r11
    asr     r5, r5, r11
    asr     r6, r6, r11
    asr     r7, r7, r11
    ssat    r4, #8, r4
    ssat    r5, #8, r5
    ssat    r6, #8, r6
    ssat    r7, #8, r7
    .endm

/* A tile's four outputs of one channel. r0: its sums; r1: its output; r2: the step afterwards. */
    .macro output_tile
    fold_column 0, r4, r6
    fold_column 1, r5, r7
    add     r4, r4, r5
    add     r6, r6, r7
    fold_column 2, r2, r3
    add     r4, r4, r2
    add     r6, r6, r3
    sub     r5, r5, r2
    sub     r7, r7, r3
    fold_column 3, r2, r3
    sub     r5, r5, r2
    sub     r7, r7, r3
    finish_four
    vmov    r2, step_
    vmov    r3, row_
    add     r3, r3, r1
    strb    r4, [r1]
    strb    r5, [r1, r2]
    strb    r6, [r3]
    strb    r7, [r3, r2]
    .endm

/* void acs_winograd_quad(const acs_tile_t *tile) */
    .section .text.acs_winograd_quad, "ax", %progbits
    .global acs_winograd_quad
    .type   acs_winograd_quad, %function
    .balign 8
    .thumb_func
acs_winograd_quad:
    push    {r4-r11, lr}
    vldm    r0, {s0-s12}
    vmov    r1, weights_
    vmov    r2, stop_
    vmov    r3, point_
    vmov    r4, sums_
    sub     r2, r2, r1
    sub     r3, r3, r2
    lsl     r2, r2, #3                  /* 16 bytes of weights for every PAIR of inputs */
    sub     r2, r2, #8
    add     r4, r4, #16 * POINT
    vmov    gap_, r3
    vmov    back_, r2
    vmov    last_, r4
1:                                      /* two tiles */
    vmov    r0, inputs_
    vmov    r1, weights_
    vmov    r11, sums_
    vmov    r10, stop_
    vmov    now_, r11
    vmov    ends_, r10
    .balign 4
2:                                      /* a point: active pairs are even, as channels come in fours */
    multiply_first_pair
    multiply_pair
    vmov    r10, ends_
    subs    r10, r10, r1
    beq.w   6f
    tst     r10, #32
    beq.w   4f
    multiply_pair
    multiply_pair
    vmov    r10, ends_
    cmp     r1, r10
    beq.w   6f
    .balign 4
4:
    multiply_pair_at 0
    multiply_pair_at 1
    add     r0, r0, #2 * PAIR
    add     r1, r1, #32
    multiply_pair
    multiply_pair
    vmov    r10, ends_
    cmp     r1, r10
    bne.w   4b
6:
    vmov    r12, now_
    vmov    r10, back_
    vmov    r11, gap_
    vmov    lr, point_
    stm     r12!, {r2-r9}
    sub     r0, r0, r10
    add     r1, r1, r11
    vmov    r10, ends_
    vmov    r11, last_
    add     r10, r10, lr
    vmov    now_, r12
    vmov    ends_, r10
    cmp     r12, r11
    bne.w   2b

    vmov    r0, sums_
    vmov    r12, finish_
    vmov    r1, output_
    vmov    now_, r12
8:                                      /* a channel */
    vmov    r12, now_
    ldm     r12!, {r8, r9, r10, r11}
    vmov    now_, r12
9:                                      /* a tile: the code of one stays with the loop above in a small cache */
    output_tile
    vmov    r12, output_
    vmov    lr, tiles_
    cmp     r1, r12
    bne.w   10f
    cmp     lr, #1
    add     r0, r0, #4
    beq.w   10f
    add     r1, r1, r2, lsl #1
    b.w     9b
10:
    vmov    r12, sums_
    vmov    r1, output_
    add     r0, r0, #4
    add     r1, r1, #1
    add     r12, r12, #POINT
    vmov    output_, r1
    cmp     r0, r12
    bne.w   8b

    add     r1, r1, r2, lsl #2          /* r2 is the step still */
    sub     r1, r1, #4
    vmov    r0, inputs_
    vmov    r10, two_
    vmov    r11, tiles_
    vmov    output_, r1
    add     r0, r0, r10
    subs    r11, r11, #2
    vmov    inputs_, r0
    vmov    tiles_, r11
    bgt.w   1b
    pop     {r4-r11, pc}
    .size   acs_winograd_quad, . - acs_winograd_quad

#endif
