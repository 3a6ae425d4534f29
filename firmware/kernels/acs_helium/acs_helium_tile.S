/* SPDX-License-Identifier: Apache-2.0 */
/*
 * acs_helium_tile.S: rows of tiles with Helium's instructions; acs_helium.h says what they compute,
 * acs_helium_twin.c does the same in C.
 *
 * Sums: r0 r2 r4 r6 of the pair's first channel, r8 r10 r12 lr of the second one, four pixels each: all the even
 * registers, the only ones that VMLADAVA adds to. Everything else is in odd registers and on the stack.
 */
#if defined(__ARM_FEATURE_MVE) && defined(__thumb2__)

    .syntax unified
    .thumb
    .text

/* The stack: what finishes the pair, in the order of the registers that it is loaded to; ... */
#define FINISH 0      /* multiplier, shift; multiplier, shift */
#define ONE 16
#define ZERO_POINT 20
#define AT 24         /* the tile's output */
#define OUTPUT_STEP 28
#define STARTS 32     /* four times the first channel's, four times the second one's */
/* ... and an acs_helium_t. */
#define GIVEN 64
#define ROWS (GIVEN + 0)
#define WEIGHTS (GIVEN + 12)
#define BLOCKS (GIVEN + 16)
#define ALL_STARTS (GIVEN + 20)
#define ALL_FINISH (GIVEN + 24)
#define OUTPUT (GIVEN + 28)
#define PAIRS (GIVEN + 32)
#define SPAN (GIVEN + 36)
#define COUNT (GIVEN + 40)
#define STEP (GIVEN + 44)
#define TILE_STEP (GIVEN + 48)
#define PAIR_BYTES (GIVEN + 52)
#define GIVEN_ZERO_POINT (GIVEN + 56)
#define GIVEN_OUTPUT_STEP (GIVEN + 60)
#define PLACES (GIVEN + 64)
#define END (GIVEN + 80)
#define FRAME (GIVEN + 84)

.macro enter name
    .global \name
    .type \name, %function
    .thumb_func
\name:
    push {r4-r11, lr}
    vpush {d8-d15}
    sub sp, #FRAME
    add r11, sp, #GIVEN
    ldmia r0!, {r1-r10}
    stmia r11!, {r1-r10}
    ldmia r0, {r1-r10}
    stmia r11, {r1-r10}
    movs r1, #1
    str r1, [sp, #ONE]
    str r5, [sp, #ZERO_POINT]
    str r6, [sp, #OUTPUT_STEP]
.endm

.macro leave
    add sp, #FRAME
    vpop {d8-d15}
    pop {r4-r11, pc}
.endm

/* What the stack holds of the pair. */
.macro begin_pair
    ldr r0, [sp, #ALL_STARTS]
    ldrd r2, r4, [r0], #8
    str r0, [sp, #ALL_STARTS]
    vdup.32 q6, r2
    vdup.32 q7, r4
    vstrw.32 q6, [sp, #STARTS]
    vstrw.32 q7, [sp, #STARTS + 16]
    ldr r0, [sp, #ALL_FINISH]
    vldrw.32 q6, [r0], #16
    str r0, [sp, #ALL_FINISH]
    vstrw.32 q6, [sp, #FINISH]
    ldr r0, [sp, #OUTPUT]
    ldr r2, [sp, #SPAN]
    str r0, [sp, #AT]
    adds r2, r0
    str r2, [sp, #END]
    adds r0, #2
    str r0, [sp, #OUTPUT]
.endm

/* On to the next pair, if there is one. */
.macro end_pair loop
    ldr r0, [sp, #PAIRS]
    subs r0, #1
    str r0, [sp, #PAIRS]
    bne.w \loop
.endm

/* The next pair's weights of every block. words: of a block in the table. */
.macro move_blocks words
    ldr r0, [sp, #BLOCKS]
    ldr r2, [sp, #COUNT]
    .if \words > 1
    lsls r2, #2
    .endif
    ldr r4, [sp, #PAIR_BYTES]
    dlstp.32 lr, r2
8:
    vldrw.32 q6, [r0]
    vadd.i32 q6, q6, r4
    vstrw.32 q6, [r0], #16
    letp lr, 8b
.endm

/* Eight sums to eight bytes of output; then to the next tile, if there is one. */
.macro finish_tile loop
    vmov q6[2], q6[0], r0, r4
    vmov q6[3], q6[1], r2, r6
    vmov q7[2], q7[0], r8, r12
    vmov q7[3], q7[1], r10, lr
    ldm.w sp, {r0, r2, r4, r6, r8, r10, r12, lr}
    vqrdmulh.s32 q6, q6, r0
    vqrdmulh.s32 q7, q7, r4
    vqdmlah.s32 q6, q6, r8          /* h + (h >> 31) */
    vqdmlah.s32 q7, q7, r8
    vrshl.s32 q6, r2
    vrshl.s32 q7, r6
    vqmovnb.s32 q6, q6
    vqmovnt.s32 q6, q7
    vldrw.32 q7, [sp, #PLACES]
    vqadd.s16 q6, q6, r10
    ldr r0, [sp, #END]
    vqmovnb.s16 q6, q6
    vstrb.16 q6, [r12, q7]
    add r12, lr
    str r12, [sp, #AT]
    cmp r12, r0
    bne.w \loop
.endm

/* A pixel's two products; pixels beyond the tile have none. */
.macro multiply pixel, x, w0, w1
    .if \pixel == 0
    vmladava.s8 r0, \x, \w0
    vmladava.s8 r8, \x, \w1
    .elseif \pixel == 1
    vmladava.s8 r2, \x, \w0
    vmladava.s8 r10, \x, \w1
    .elseif \pixel == 2
    vmladava.s8 r4, \x, \w0
    vmladava.s8 r12, \x, \w1
    .elseif \pixel == 3
    vmladava.s8 r6, \x, \w0
    vmladava.s8 lr, \x, \w1
    .endif
.endm

/* Up to four channels: a row of a window is one vector, its weights are in w0 and w1. */
.macro resident_row row, w0, w1, distance
    vldrb.8 q6, [\row]
    vldrb.8 q7, [\row, #\distance]
    multiply 0, q6, \w0, \w1
    vldrb.8 q6, [\row, #2 * \distance]
    multiply 1, q7, \w0, \w1
    vldrb.8 q7, [\row, #3 * \distance]
    multiply 2, q6, \w0, \w1
    multiply 3, q7, \w0, \w1
    adds \row, #4 * \distance
.endm

.macro resident pitch, stride
enter acs_helium_\pitch\()_\stride
1:
    begin_pair
    ldr r5, [sp, #WEIGHTS]
    add r9, sp, #STARTS
    vldrb.8 q0, [r5], #16
    vldrb.8 q1, [r5], #16
    vldrb.8 q2, [r5], #16
    vldrb.8 q3, [r5], #16
    vldrb.8 q4, [r5], #16
    vldrb.8 q5, [r5], #16
    str r5, [sp, #WEIGHTS]
    ldrd r1, r3, [sp, #ROWS]
    ldr r7, [sp, #ROWS + 8]
2:
    ldm.w r9, {r0, r2, r4, r6, r8, r10, r12, lr}
    resident_row r1, q0, q1, \pitch*\stride
    resident_row r3, q2, q3, \pitch*\stride
    resident_row r7, q4, q5, \pitch*\stride
    finish_tile 2b
    end_pair 1b
    leave
    .size acs_helium_\pitch\()_\stride, . - acs_helium_\pitch\()_\stride
.endm

    resident 1, 1
    resident 2, 1
    resident 3, 1
    resident 4, 1
    resident 1, 2
    resident 2, 2
    resident 3, 2
    resident 4, 2

/* The column of pitch 16 that tap 0 of pixel `pixel` reads, tap 1 of the pixel before it (stride 1), and so on. */
.macro column x, row, at, stride
    vldrw.32 \x, [\row, #16 * (\at)]
    .if \stride == 1
    multiply \at, \x, q0, q1
    multiply \at-1, \x, q2, q3
    multiply \at-2, \x, q4, q5
    .elseif \at & 1
    multiply (\at-1)/2, \x, q2, q3
    .else
    multiply \at/2, \x, q0, q1
    multiply \at/2-1, \x, q4, q5
    .endif
.endm

/* Weights of two or four units in one vector: q7 holds where they begin. */
.macro gather unit, to, at
    .if \unit == 8
    vldrd.64 \to, [q7, #\at]
    .else
    vldrw.32 \to, [q7, #\at]
    .endif
.endm

/* A block's row: three taps, 16 channels each. */
.macro row_16 row, stride
    vldrb.8 q0, [r5], #16
    vldrb.8 q1, [r5], #16
    vldrb.8 q2, [r5], #16
    vldrb.8 q3, [r5], #16
    vldrb.8 q4, [r5], #16
    vldrb.8 q5, [r5], #16
    columns_16 \row, \stride
.endm

/* The same of 16 channels in units. at: of the row in a unit's weights. */
.macro row_of_units unit, row, stride, at
    vldrw.32 q7, [r5]
    gather \unit, q0, \at
    gather \unit, q1, \at+\unit
    gather \unit, q2, \at+2*\unit
    gather \unit, q3, \at+3*\unit
    gather \unit, q4, \at+4*\unit
    gather \unit, q5, \at+5*\unit
    columns_16 \row, \stride
.endm

.macro columns_16 row, stride
    column q6, \row, 0, \stride
    column q7, \row, 1, \stride
    column q6, \row, 2, \stride
    column q7, \row, 3, \stride
    column q6, \row, 4, \stride
    column q7, \row, 5, \stride
    .if \stride == 2
    column q6, \row, 6, \stride
    column q7, \row, 7, \stride
    column q6, \row, 8, \stride
    .endif
.endm

/* Two columns of pitch 8: taps 0 and 1 of pixel `at`; tap 2 of the one two columns before it, in the first half. */
.macro columns_8 x, row, at, stride
    vldrw.32 \x, [\row, #8 * \stride * (\at)]
    multiply \at, \x, q0, q1
    multiply \at-2/\stride, \x, q2, q3
.endm

.macro row_8 row, stride
    vldrb.8 q0, [r5], #16
    vldrb.8 q1, [r5], #16
    vldrb.8 q2, [r5], #16
    vldrb.8 q3, [r5], #16
    columns_8 q6, \row, 0, \stride
    columns_8 q7, \row, 1, \stride
    columns_8 q6, \row, 2, \stride
    columns_8 q7, \row, 3, \stride
    columns_8 q6, \row, 4, \stride
    .if \stride == 1
    columns_8 q7, \row, 5, \stride
    .endif
.endm

.macro streamed pitch, stride
enter acs_helium_\pitch\()_\stride
1:
    begin_pair
    add r9, sp, #STARTS
    ldr r11, [sp, #WEIGHTS]
    ldrd r1, r3, [sp, #ROWS]
    ldr r7, [sp, #ROWS + 8]
2:
    ldm.w r9, {r0, r2, r4, r6, r8, r10, r12, lr}
    mov r5, r11
    row_\pitch r1, \stride
    row_\pitch r3, \stride
    row_\pitch r7, \stride
    adds r1, #4 * \pitch * \stride
    adds r3, #4 * \pitch * \stride
    adds r7, #4 * \pitch * \stride
    finish_tile 2b
    str r5, [sp, #WEIGHTS]
    end_pair 1b
    leave
    .size acs_helium_\pitch\()_\stride, . - acs_helium_\pitch\()_\stride
.endm

    streamed 8, 1
    streamed 8, 2
    streamed 16, 1
    streamed 16, 2

.macro blocks stride
enter acs_helium_blocks_16_\stride
1:
    begin_pair
    ldrd r1, r3, [sp, #ROWS]
    ldr r7, [sp, #ROWS + 8]
2:
    add r9, sp, #STARTS
    ldm.w r9, {r0, r2, r4, r6, r8, r10, r12, lr}
    ldr r9, [sp, #BLOCKS]
    ldr r11, [sp, #STEP]
    ldr r5, [r9], #4
3:
    row_16 r1, \stride
    row_16 r3, \stride
    row_16 r7, \stride
    ldr r5, [r9], #4
    add r1, r11
    add r3, r11
    add r7, r11
    cmp r5, #0
    bne.w 3b
    ldr r11, [sp, #TILE_STEP]
    add r1, r11
    add r3, r11
    add r7, r11
    finish_tile 2b
    move_blocks 1
    end_pair 1b
    leave
    .size acs_helium_blocks_16_\stride, . - acs_helium_blocks_16_\stride
.endm

    blocks 1
    blocks 2

.macro blocks_of_units unit, stride
enter acs_helium_blocks_\unit\()_\stride
1:
    begin_pair
    ldrd r1, r3, [sp, #ROWS]
    ldr r7, [sp, #ROWS + 8]
2:
    add r9, sp, #STARTS
    ldm.w r9, {r0, r2, r4, r6, r8, r10, r12, lr}
    ldr r9, [sp, #COUNT]
    ldr r11, [sp, #STEP]
    ldr r5, [sp, #BLOCKS]
3:
    row_of_units \unit, r1, \stride, 0
    row_of_units \unit, r3, \stride, 6*\unit
    row_of_units \unit, r7, \stride, 12*\unit
    adds r5, #16
    add r1, r11
    add r3, r11
    add r7, r11
    subs r9, #1
    bne.w 3b
    ldr r11, [sp, #TILE_STEP]
    add r1, r11
    add r3, r11
    add r7, r11
    finish_tile 2b
    move_blocks 4
    end_pair 1b
    leave
    .size acs_helium_blocks_\unit\()_\stride, . - acs_helium_blocks_\unit\()_\stride
.endm

    blocks_of_units 8, 1
    blocks_of_units 8, 2
    blocks_of_units 4, 1
    blocks_of_units 4, 2

enter acs_helium_points_16
1:
    begin_pair
    ldr r1, [sp, #ROWS]
    ldr r11, [sp, #STEP]
    add r3, r1, r11
    add r7, r3, r11
    add r9, r7, r11
2:
    add r11, sp, #STARTS
    ldm.w r11, {r0, r2, r4, r6, r8, r10, r12, lr}
    ldr r11, [sp, #BLOCKS]
    ldr r5, [r11], #4
3:
    vldrb.8 q0, [r5]
    vldrb.8 q1, [r5, #16]
    vldrb.8 q2, [r1], #16
    vldrb.8 q3, [r3], #16
    multiply 0, q2, q0, q1
    vldrb.8 q4, [r7], #16
    multiply 1, q3, q0, q1
    vldrb.8 q5, [r9], #16
    multiply 2, q4, q0, q1
    ldr r5, [r11], #4
    multiply 3, q5, q0, q1
    cmp r5, #0
    bne 3b
    ldr r11, [sp, #TILE_STEP]
    add r1, r11
    add r3, r11
    add r7, r11
    add r9, r11
    finish_tile 2b
    move_blocks 1
    end_pair 1b
    leave
    .size acs_helium_points_16, . - acs_helium_points_16

.macro points_of_units unit
enter acs_helium_points_\unit
1:
    begin_pair
    ldr r1, [sp, #ROWS]
    ldr r11, [sp, #STEP]
    add r3, r1, r11
    add r7, r3, r11
    add r9, r7, r11
2:
    add r11, sp, #STARTS
    ldm.w r11, {r0, r2, r4, r6, r8, r10, r12, lr}
    ldr r11, [sp, #COUNT]
    ldr r5, [sp, #BLOCKS]
3:
    vldrw.32 q7, [r5], #16
    vldrb.8 q2, [r1], #16
    gather \unit, q0, 0
    gather \unit, q1, \unit
    vldrb.8 q3, [r3], #16
    multiply 0, q2, q0, q1
    vldrb.8 q4, [r7], #16
    multiply 1, q3, q0, q1
    vldrb.8 q5, [r9], #16
    multiply 2, q4, q0, q1
    subs r11, #1
    multiply 3, q5, q0, q1
    bne 3b
    ldr r11, [sp, #TILE_STEP]
    add r1, r11
    add r3, r11
    add r7, r11
    add r9, r11
    finish_tile 2b
    move_blocks 4
    end_pair 1b
    leave
    .size acs_helium_points_\unit, . - acs_helium_points_\unit
.endm

    points_of_units 8
    points_of_units 4

    .global acs_helium_copy
    .type acs_helium_copy, %function
    .thumb_func
/* r0: bytes; r1: from; r2: to. */
acs_helium_copy:
    push {r4, lr}
    wlstp.8 lr, r0, 2f
1:
    vldrb.8 q0, [r1], #16
    vstrb.8 q0, [r2], #16
    letp lr, 1b
2:
    pop {r4, pc}
    .size acs_helium_copy, . - acs_helium_copy

    .global acs_helium_copy_channels
    .type acs_helium_copy_channels, %function
    .thumb_func
/* r0: pixels; r1: channels; r2, r3: from; on the stack: to. */
acs_helium_copy_channels:
    push {r4, lr}
    vctp.8 r1
    ldrd r1, r4, [sp, #8]
    wls lr, r0, 2f
1:
    vpstt
    vldrbt.8 q0, [r2]
    vstrbt.8 q0, [r1]
    add r2, r3
    add r1, r4
    le lr, 1b
2:
    pop {r4, pc}
    .size acs_helium_copy_channels, . - acs_helium_copy_channels

#endif
