/* SPDX-License-Identifier: Apache-2.0 */
/*
 * acs_tile.S: four output channels by two pixels, for Arm cores with DSP instructions and an FPU.
 *
 * acs_tile_twin.c has the same in C. acs_dsp.h says how words, weights and the table `finish` lie. An inner
 * loop and what finishes its sums take less than 1 KB together, to stay in a small instruction cache.
 *
 * Registers of a tile: r0 words, r1 weights, r2 .. r9 sums, r10 r11 weights, r12 lr words of the two
 * pixels. What an inner loop does not need lies in single-precision registers, one cycle away.
 */
#if defined(__ARM_FEATURE_DSP) && defined(__ARM_FP) && defined(__thumb2__)

    .syntax unified
    .thumb

/* Sums by channel of the quad and pixel of the tile. In paired form c1 and c3 hold P, c0 and c2 hold E. */
c0p0 .req r2
c0p1 .req r3
c1p0 .req r4
c1p1 .req r5
c2p0 .req r6
c2p1 .req r7
c3p0 .req r8
c3p1 .req r9

/* acs_tile_t, loaded with one instruction; then the run that comes next, where a loop of four
   turns ends, the part of the table `finish` behind the sums to start from, the place behind a row's last tile, the
   rows left, the first tile of this one. */
first_  .req s0
weights_ .req s1
finish_ .req s2
output_ .req s3
runs_   .req s4
end_    .req s5
tiles_  .req s6
step_   .req s7
pair_   .req s8
stop_   .req s9
next_   .req s10
fours_  .req s11
scales_ .req s12
last_   .req s13
rows_   .req s14
row_    .req s15

/* Bytes of a tap's weights. */
    .equ    TAP_paired, 8
    .equ    TAP_wide, 16

/* Bytes from one column of a window to the next, by stride: ACS_WINDOW_ROWS() words. */
    .equ    COLUMN_1, 16
    .equ    COLUMN_2, 20

/* A weight's products with the words of both pixels, added to what is there; or to what the first pixel's sum starts
   from, at a tile's first tap. */
    .macro add_both sum, weight, a, b
    smlad   \sum\()p0, \weight, \a, \sum\()p0
    smlad   \sum\()p1, \weight, \b, \sum\()p1
    .endm

    .macro add_first sum, weight, a, b
    smlad   \sum\()p1, \weight, \b, \sum\()p0
    smlad   \sum\()p0, \weight, \a, \sum\()p0
    .endm

/* One tap of one pair of channels: a and b hold the words of the two pixels. Weights move on. */
    .macro tap_paired a, b, add=add_both
    \add    c1, r10, \a, \b
    \add    c3, r11, \a, \b
    sxtb16  r10, r10
    sxtb16  r11, r11
    \add    c0, r10, \a, \b
    \add    c2, r11, \a, \b
    .endm

    .macro tap_wide a, b, add=add_both
    \add    c0, r10, \a, \b
    \add    c1, r11, \a, \b
    ldrd    r10, r11, [r1], #8
    \add    c2, r10, \a, \b
    \add    c3, r11, \a, \b
    .endm

/* Tap 0 of a 3x3 window's row; of two windows next to each other, then two columns apart. */
    .macro window_tap_1 form, row, add=add_both
    ldrd    r10, r11, [r1], #8
    ldr     r12, [r0, #4 * \row]
    ldr     lr, [r0, #4 * \row + COLUMN_1]
    tap_\form r12, lr, \add
    .endm

    .macro window_tap_2 form, row, add=add_both
    ldr     r10, [r1, #TAP_\form * 3 * \row]
    ldr     r11, [r1, #TAP_\form * 3 * \row + 4]
    ldr     r12, [r0, #4 * \row]
    ldr     lr, [r0, #4 * \row + 2 * COLUMN_2]
    tap_in_place_\form r12, lr, 3 * \row, \add
    .endm

/* The other two. Words that two taps share are loaded once. */
    .macro window_rest_1 form, row
    ldrd    r10, r11, [r1], #8
    ldr     r12, [r0, #4 * \row + 2 * COLUMN_1]
    tap_\form lr, r12
    ldrd    r10, r11, [r1], #8
    ldr     lr, [r0, #4 * \row + 3 * COLUMN_1]
    tap_\form r12, lr
    .endm

/* Tap 1 comes last, since taps 0 and 2 share a word. Neighbouring loads pipeline, which pairs of words do not: with so
   many loads that is worth more than the fewer instructions. */
    .macro window_rest_2 form, row
    ldr     r10, [r1, #TAP_\form * (3 * \row + 2)]
    ldr     r11, [r1, #TAP_\form * (3 * \row + 2) + 4]
    ldr     r12, [r0, #4 * \row + 4 * COLUMN_2]
    tap_in_place_\form lr, r12, 3 * \row + 2
    ldr     r10, [r1, #TAP_\form * (3 * \row + 1)]
    ldr     r11, [r1, #TAP_\form * (3 * \row + 1) + 4]
    ldr     r12, [r0, #4 * \row + COLUMN_2]
    ldr     lr, [r0, #4 * \row + 3 * COLUMN_2]
    tap_in_place_\form r12, lr, 3 * \row + 1
    .endm

/* Taps whose weights lie at r1, which does not move on. */
    .macro tap_in_place_paired a, b, tap, add=add_both
    tap_paired \a, \b, \add
    .endm

    .macro tap_in_place_wide a, b, tap, add=add_both
    \add    c0, r10, \a, \b
    \add    c1, r11, \a, \b
    ldr     r10, [r1, #TAP_wide * (\tap) + 8]
    ldr     r11, [r1, #TAP_wide * (\tap) + 12]
    \add    c2, r10, \a, \b
    \add    c3, r11, \a, \b
    .endm

/* Windows: all active pairs, whose weights lie one behind the other; one pair a turn. The first tap of all is by
   itself. */
    .macro window_loop form, stride
    vmov    r1, weights_
    window_tap_\stride \form, 0, add_first
    b       4f
    .balign 4
3:
    window_tap_\stride \form, 0
4:
    window_rest_\stride \form, 0
    window_tap_\stride \form, 1
    window_rest_\stride \form, 1
    window_tap_\stride \form, 2
    window_rest_\stride \form, 2
    vmov    r10, pair_
    vmov    r11, stop_
    .if \stride == 2
    add     r1, r1, #9 * TAP_\form
    .endif
    add     r0, r0, r10
    cmp     r1, r11
    bne.w   3b
    .endm

    .macro column_step form
    ldrd    r10, r11, [r1], #8
    ldrd    r12, lr, [r0], #8
    tap_\form r12, lr
    .endm

/* Columns: run after run, four taps a turn, then what is left. The next tile's words lie behind. */
    .macro column_loop form, tap_bytes
    mov     c0p1, c0p0
    mov     c1p1, c1p0
    mov     c2p1, c2p0
    mov     c3p1, c3p0
    vmov    r12, runs_
2:
    ldrd    r10, r11, [r12], #8
    vmov    r1, weights_
    vmov    next_, r12
    add     r11, r11, r1
    add     r1, r1, r10
    vmov    stop_, r11
    sub     r11, r11, #3 * \tap_bytes
    vmov    fours_, r11
    cmp     r1, r11
    bhs.w   5f
    .balign 4
3:
    column_step \form
    column_step \form
    column_step \form
    column_step \form
    vmov    r10, fours_
    cmp     r1, r10
    blo.w   3b
5:
    vmov    r10, stop_
    cmp     r1, r10
    beq.w   7f
6:
    column_step \form
    vmov    r10, stop_
    cmp     r1, r10
    bne.w   6b
7:
    vmov    r12, next_
    vmov    lr, end_
    cmp     r12, lr
    bne.w   2b
    vmov    first_, r0
    .endm

/* Twice the sums. */
    .macro double_even
    lsls    c0p0, c0p0, #1
    lsls    c0p1, c0p1, #1
    lsls    c2p0, c2p0, #1
    lsls    c2p1, c2p1, #1
    .endm

    .macro double_paired
    sub     c1p0, c1p0, c0p0
    sub     c1p1, c1p1, c0p1
    sub     c3p0, c3p0, c2p0
    sub     c3p1, c3p1, c2p1
    double_even
    asr     c1p0, c1p0, #7
    asr     c1p1, c1p1, #7
    asr     c3p0, c3p0, #7
    asr     c3p1, c3p1, #7
    .endm

    .macro double_wide
    double_even
    lsl     c1p0, c1p0, #1
    lsl     c1p1, c1p1, #1
    lsl     c3p0, c3p0, #1
    lsl     c3p1, c3p1, #1
    .endm

/* Doubled sums of one channel to int8. A sum's sign is its product's, but for -1 * 2^30, which rounds to 0 and
   gives the same number either way. */
    .macro finish_channel a, b
    ldm     r0!, {r10, r11, r12}
    add     r1, r11, \a, asr #31
    add     lr, r11, \b, asr #31
    smmlar  \a, \a, r10, r1
    smmlar  \b, \b, r10, lr
    asr     \a, \a, r12
    asr     \b, \b, r12
    ssat    \a, #8, \a
    ssat    \b, #8, \b
    .endm

    .equ    TILE_ROWS, 52               /* of acs_tile_t */

/* void name(const acs_tile_t *tile). tile_bytes: from tile to tile; 0: the loop moves on by itself. argument: of
   windows the stride. */
    .macro tile_function name, form, tile_bytes, loop, argument
    .section .text.\name, "ax", %progbits
    .global \name
    .type   \name, %function
    .balign 8
    .thumb_func
\name:
    push    {r4-r11, lr}
    vldm    r0, {s0-s9}
    vmov    r12, finish_
    add     r12, r12, #16
    vmov    scales_, r12
    .if \tile_bytes != 0
    vldr    rows_, [r0, #TILE_ROWS]
    vmov    r0, first_
0:                                      /* a row */
    vmov    r1, tiles_
    mov     r2, #\tile_bytes
    mla     r1, r1, r2, r0
    vmov    row_, r0
    vmov    last_, r1
    .else
    vmov    r0, first_
    .endif
1:                                      /* a tile */
    vmov    r12, finish_
    ldm     r12, {r2, r4, r6, r8}
    \loop   \form, \argument
    double_\form
    vmov    r0, scales_
    finish_channel c0p0, c0p1
    finish_channel c1p0, c1p1
    finish_channel c2p0, c2p1
    finish_channel c3p0, c3p1
    vmov    r1, output_
    vmov    lr, step_
    bfi     c0p0, c1p0, #8, #8
    bfi     c0p1, c1p1, #8, #8
    bfi     c2p0, c3p0, #8, #8
    bfi     c2p1, c3p1, #8, #8
    pkhbt   c0p0, c0p0, c2p0, lsl #16
    pkhbt   c0p1, c0p1, c2p1, lsl #16
    str     c0p0, [r1]
    str     c0p1, [r1, lr]
    add     r1, r1, lr, lsl #1
    vmov    output_, r1
    vmov    r0, first_
    .if \tile_bytes != 0
    vmov    r2, last_
    add     r0, r0, #\tile_bytes
    vmov    first_, r0
    cmp     r0, r2
    .else
    vmov    r2, tiles_
    subs    r2, r2, #1
    vmov    tiles_, r2
    .endif
    bne.w   1b
    .if \tile_bytes != 0
    vmov    r1, rows_
    vmov    r0, row_
    subs    r1, r1, #1
    add     r0, r0, #4 * \argument
    vmov    rows_, r1
    vmov    first_, r0
    bne.w   0b
    .endif
    pop     {r4-r11, pc}
    .size   \name, . - \name
    .endm

    tile_function acs_tile_column_paired, paired, 0, column_loop, TAP_paired
    tile_function acs_tile_column_wide, wide, 0, column_loop, TAP_wide
    tile_function acs_tile_window_1_paired, paired, 2 * COLUMN_1, window_loop, 1
    tile_function acs_tile_window_1_wide, wide, 2 * COLUMN_1, window_loop, 1
    tile_function acs_tile_window_2_paired, paired, 4 * COLUMN_2, window_loop, 2
    tile_function acs_tile_window_2_wide, wide, 4 * COLUMN_2, window_loop, 2

#endif
