/* SPDX-License-Identifier: Apache-2.0 */
/*
 * acs_rv32_winograd.S: exact integer Winograd F(2x2, 3x3) for RISC-V cores with 32 bits and multiplication.
 *
 * acs_rv32_winograd_twin.c has the same in C; acs_dsp.h explains the transforms, acs_rv32.h how everything lies.
 */
#if defined(__riscv) && defined(__riscv_mul) && __riscv_xlen == 32 && !defined(__riscv_32e)

#include "acs_rv32_registers.h"

/* Bytes from one column of a window to the next, of the transformed inputs of a channel and four tiles, of those of
   a point, and of the sums of a quad at one point. */
    .equ    COLUMN, 8
    .equ    CHANNEL, 128
    .equ    POINT, 8
    .equ    POINT_SUMS, 64

/* A column of the window, number \column, transformed to r0 .. r3: d0 - d2, d1 + d2, d2 - d1, d1 - d3. */
    .macro transform_column column, r0, r1, r2, r3
    lh      \r0, COLUMN * (\column)(a0)
    lh      t0, COLUMN * (\column) + 2(a0)
    lh      t1, COLUMN * (\column) + 4(a0)
    lh      \r3, COLUMN * (\column) + 6(a0)
    sub     \r0, \r0, t1
    add     \r1, t0, t1
    sub     \r2, t1, t0
    sub     \r3, t0, \r3
    .endm

/* A row of the transformed inputs of a tile from the row's four columns. */
    .macro store_row row, tile, a, b, c, d
    sub     t0, \a, \c
    add     t1, \b, \c
    sub     t2, \c, \b
    sub     t3, \b, \d
    sh      t0, POINT * 4 * \row + 2 * \tile(a1)
    sh      t1, POINT * (4 * \row + 1) + 2 * \tile(a1)
    sh      t2, POINT * (4 * \row + 2) + 2 * \tile(a1)
    sh      t3, POINT * (4 * \row + 3) + 2 * \tile(a1)
    .endm

/* Tiles of even number begin with the columns in s0 .. s7, odd ones with those in s8 .. s11, a4 .. a7. */
    .macro even_tile tile
    transform_column 2 * \tile + 2, s8, s9, s10, s11
    transform_column 2 * \tile + 3, a4, a5, a6, a7
    store_row 0, \tile, s0, s4, s8, a4
    store_row 1, \tile, s1, s5, s9, a5
    store_row 2, \tile, s2, s6, s10, a6
    store_row 3, \tile, s3, s7, s11, a7
    .endm

    .macro odd_tile tile
    transform_column 2 * \tile + 2, s0, s1, s2, s3
    transform_column 2 * \tile + 3, s4, s5, s6, s7
    store_row 0, \tile, s8, a4, s0, s4
    store_row 1, \tile, s9, a5, s1, s5
    store_row 2, \tile, s10, a6, s2, s6
    store_row 3, \tile, s11, a7, s3, s7
    .endm

/* void acs_rv32_winograd_input(const int16_t *columns, int16_t *transformed, uint32_t fours, uint32_t four_bytes) */
    function acs_rv32_winograd_input
    addi    sp, sp, -64
    save_registers 8
    transform_column 0, s0, s1, s2, s3
    transform_column 1, s4, s5, s6, s7
1:
    even_tile 0
    odd_tile 1
    even_tile 2
    odd_tile 3
    addi    a0, a0, 8 * COLUMN
    add     a1, a1, a3
    addi    a2, a2, -1
    bnez    a2, 1b
    restore_registers 8
    addi    sp, sp, 64
    ret
    .size   acs_rv32_winograd_input, . - acs_rv32_winograd_input

/* acs_rv32_tile_t. */
    .equ    NUMBERS, 0
    .equ    WEIGHTS, 4
    .equ    FINISH, 8
    .equ    OUTPUT, 12
    .equ    RUNS, 16
    .equ    END, 20
    .equ    TILES, 24
    .equ    STEP, 28
    .equ    NUMBER_STEP, 32
    .equ    POINT_BYTES, 36
    .equ    SUMS, 40
    .equ    ROW_STEP, 44

/* The frame: locals below the saved registers. */
    .equ    inputs_, 0
    .equ    output_, 4
    .equ    tiles_, 8
    .equ    next_, 12
    .equ    pv_, 16
    .equ    pw_, 20
    .equ    last_, 24
    .equ    SAVED, 28
    .equ    FRAME, 80

    .macro multiply_add sum, weight, number
    mul     t5, \weight, \number
    add     \sum, \sum, t5
    .endm

    .macro multiply sum, weight, number
    mul     \sum, \weight, \number
    .endm

/* A channel at one point: a1 weights of four output channels, a0 inputs of four tiles. */
    .macro channel_step step, how
    lh      t0, CHANNEL * \step(a0)
    lh      t1, CHANNEL * \step + 2(a0)
    lh      t2, CHANNEL * \step + 4(a0)
    lh      t3, CHANNEL * \step + 6(a0)
    lh      t4, 8 * \step(a1)
    lh      t6, 8 * \step + 2(a1)
    \how    c0p0, t4, t0
    \how    c0p1, t4, t1
    \how    c0p2, t4, t2
    \how    c0p3, t4, t3
    lh      t4, 8 * \step + 4(a1)
    \how    c1p0, t6, t0
    \how    c1p1, t6, t1
    \how    c1p2, t6, t2
    \how    c1p3, t6, t3
    lh      t6, 8 * \step + 6(a1)
    \how    c2p0, t4, t0
    \how    c2p1, t4, t1
    \how    c2p2, t4, t2
    \how    c2p3, t4, t3
    \how    c3p0, t6, t0
    \how    c3p1, t6, t1
    \how    c3p2, t6, t2
    \how    c3p3, t6, t3
    .endm

/* Four channels; first: how the first of them counts. */
    .macro four_channels first
    channel_step 0, \first
    channel_step 1, multiply_add
    channel_step 2, multiply_add
    channel_step 3, multiply_add
    addi    a0, a0, 4 * CHANNEL
    addi    a1, a1, 4 * 8
    .endm

/* The next run from the list at t1: its weights from a1 to a6. */
    .macro next_run
    lw      t0, pw_(sp)
    lw      a1, 0(t1)
    lw      a6, 4(t1)
    addi    t1, t1, 8
    sw      t1, next_(sp)
    add     a1, a1, t0
    add     a6, a6, t0
    .endm

/* Column j of the sums at the points: `upper` = m0 + m1 + m2, `lower` = m1 - m2 - m3. a2: four times the bias,
   which point (1, 1) takes in. */
    .macro fold_column column, upper, lower
    lw      \upper, POINT_SUMS * \column(a0)
    lw      \lower, POINT_SUMS * (4 + \column)(a0)
    lw      t5, POINT_SUMS * (8 + \column)(a0)
    lw      t6, POINT_SUMS * (12 + \column)(a0)
    .if \column == 1
    add     \lower, \lower, a2
    .endif
    add     \upper, \upper, \lower
    sub     \lower, \lower, t5
    add     \upper, \upper, t5
    sub     \lower, \lower, t6
    .endm

/* void acs_rv32_winograd_quad(const acs_rv32_tile_t *tile) */
    function acs_rv32_winograd_quad
    addi    sp, sp, -FRAME
    save_registers SAVED
    mv      ra, a0
    lw      t0, NUMBERS(ra)
    lw      t1, OUTPUT(ra)
    lw      t2, TILES(ra)
    lw      a7, SUMS(ra)
    sw      t0, inputs_(sp)
    sw      t1, output_(sp)
    sw      t2, tiles_(sp)
    addi    t0, a7, 16 * POINT_SUMS
    sw      t0, last_(sp)
1:                                      /* four tiles */
    lw      t0, inputs_(sp)
    lw      t1, WEIGHTS(ra)
    lw      a7, SUMS(ra)
    sw      t0, pv_(sp)
    sw      t1, pw_(sp)
2:                                      /* a point: channels of a run come in fours */
    lw      t1, RUNS(ra)
    lw      a0, pv_(sp)
    next_run
    four_channels multiply
    beq     a1, a6, 4f
3:
    four_channels multiply_add
    bne     a1, a6, 3b
4:
    lw      t1, next_(sp)
    lw      t0, END(ra)
    beq     t1, t0, 5f
    next_run
    j       3b
5:
    lw      t0, pv_(sp)
    lw      t1, pw_(sp)
    lw      t2, POINT_BYTES(ra)
    lw      t3, last_(sp)
    addi    t0, t0, POINT
    add     t1, t1, t2
    sw      t0, pv_(sp)
    sw      t1, pw_(sp)
    sw      c0p0, 0(a7)
    sw      c0p1, 4(a7)
    sw      c0p2, 8(a7)
    sw      c0p3, 12(a7)
    sw      c1p0, 16(a7)
    sw      c1p1, 20(a7)
    sw      c1p2, 24(a7)
    sw      c1p3, 28(a7)
    sw      c2p0, 32(a7)
    sw      c2p1, 36(a7)
    sw      c2p2, 40(a7)
    sw      c2p3, 44(a7)
    sw      c3p0, 48(a7)
    sw      c3p1, 52(a7)
    sw      c3p2, 56(a7)
    sw      c3p3, 60(a7)
    addi    a7, a7, POINT_SUMS
    bne     a7, t3, 2b

/* a0 sums, a1 output, s8 a pixel's step, s9 a row's, s10 a tile's, a4 tiles, a5 table, a6 quad's channels left,
   a7 output of the channel, a2 and t0 t1 t2: the channel's constants, t3 t4 the ends of int8. */
    lw      s8, STEP(ra)
    lw      s9, ROW_STEP(ra)
    slli    s10, s8, 1
    lw      a0, SUMS(ra)
    lw      a5, FINISH(ra)
    lw      a7, output_(sp)
    li      a6, 4
    li      t3, -128
    li      t4, 127
    lw      s11, tiles_(sp)
    li      a4, 4
    bgeu    s11, a4, 6f
    mv      a4, s11
6:
    slli    s11, a4, 2
    add     s11, s11, a0                /* where a channel's sums end */
7:                                      /* a channel */
    lw      a2, 0(a5)
    lw      t0, 4(a5)
    lw      t1, 8(a5)
    lw      t2, 12(a5)
    mv      a1, a7
6:                                      /* a tile */
    fold_column 0, s0, s2
    fold_column 1, s1, s3
    add     s0, s0, s1
    add     s2, s2, s3
    fold_column 2, s4, s5
    add     s0, s0, s4
    add     s2, s2, s5
    sub     s1, s1, s4
    sub     s3, s3, s5
    fold_column 3, s4, s5
    sub     s1, s1, s4
    sub     s3, s3, s5
    finish  s0
    finish  s1
    finish  s2
    finish  s3
    add     s4, a1, s8
    add     s5, a1, s9
    add     s6, s4, s9
    sb      s0, 0(a1)
    sb      s1, 0(s4)
    sb      s2, 0(s5)
    sb      s3, 0(s6)
    addi    a0, a0, 4
    add     a1, a1, s10
    bne     a0, s11, 6b
    slli    t5, a4, 2
    sub     a0, a0, t5
    addi    a0, a0, 16
    addi    s11, s11, 16
    addi    a5, a5, 16
    addi    a7, a7, 1
    addi    a6, a6, -1
    bnez    a6, 7b

    lw      t0, tiles_(sp)
    sub     t0, t0, a4
    beqz    t0, 8f
    sw      t0, tiles_(sp)
    lw      t1, inputs_(sp)
    lw      t2, NUMBER_STEP(ra)
    add     t1, t1, t2
    sw      t1, inputs_(sp)
    lw      t2, output_(sp)
    slli    s10, s10, 2
    add     t2, t2, s10
    sw      t2, output_(sp)
    j       1b
8:
    restore_registers SAVED
    addi    sp, sp, FRAME
    ret
    .size   acs_rv32_winograd_quad, . - acs_rv32_winograd_quad

#endif
