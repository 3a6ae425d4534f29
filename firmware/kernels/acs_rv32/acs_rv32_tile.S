/* SPDX-License-Identifier: Apache-2.0 */
/*
 * acs_rv32_tile.S: four output channels by four pixels, for RISC-V cores with 32 bits and multiplication.
 *
 * acs_rv32_tile_twin.c has the same in C. acs_rv32.h says how numbers, weights and the table `finish` lie.
 */
#if defined(__riscv) && defined(__riscv_mul) && __riscv_xlen == 32 && !defined(__riscv_32e)

#include "acs_rv32_registers.h"

/* Registers of a tile: a0 numbers, a1 weights, a6 where the run's weights end, a7 numbers' step from channel to
   channel, t0 .. t3 numbers, t4 t6 weights, t5 a product, ra the acs_rv32_tile_t. The rest lies on the stack. */

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

/* The frame: locals below the saved registers. */
    .equ    first_, 0
    .equ    output_, 4
    .equ    tiles_, 8
    .equ    next_, 12
    .equ    SAVED, 16
    .equ    FRAME, 80

    .macro multiply_add sum, weight, number
    mul     t5, \weight, \number
    add     \sum, \sum, t5
    .endm

/* One tap of one channel: weights at \at, the numbers of four pixels. */
    .macro tap at, x0, x1, x2, x3
    lb      t4, \at(a1)
    lb      t6, \at + 1(a1)
    multiply_add c0p0, t4, \x0
    multiply_add c0p1, t4, \x1
    multiply_add c0p2, t4, \x2
    multiply_add c0p3, t4, \x3
    lb      t4, \at + 2(a1)
    multiply_add c1p0, t6, \x0
    multiply_add c1p1, t6, \x1
    multiply_add c1p2, t6, \x2
    multiply_add c1p3, t6, \x3
    lb      t6, \at + 3(a1)
    multiply_add c2p0, t4, \x0
    multiply_add c2p1, t4, \x1
    multiply_add c2p2, t4, \x2
    multiply_add c2p3, t4, \x3
    multiply_add c3p0, t6, \x0
    multiply_add c3p1, t6, \x1
    multiply_add c3p2, t6, \x2
    multiply_add c3p3, t6, \x3
    .endm

/* A row of a 3x3 window; columns are 8 bytes apart. Numbers that taps share are loaded once. */
    .macro window_row_1 row
    lh      t0, 2 * \row(a0)
    lh      t1, 2 * \row + 8(a0)
    lh      t2, 2 * \row + 16(a0)
    lh      t3, 2 * \row + 24(a0)
    tap     12 * \row, t0, t1, t2, t3
    lh      t0, 2 * \row + 32(a0)
    tap     12 * \row + 4, t1, t2, t3, t0
    lh      t1, 2 * \row + 40(a0)
    tap     12 * \row + 8, t2, t3, t0, t1
    .endm

    .macro window_row_2 row
    lh      t0, 2 * \row(a0)
    lh      t1, 2 * \row + 16(a0)
    lh      t2, 2 * \row + 32(a0)
    lh      t3, 2 * \row + 48(a0)
    tap     12 * \row, t0, t1, t2, t3
    lh      t0, 2 * \row + 64(a0)
    tap     12 * \row + 8, t1, t2, t3, t0
    lh      t0, 2 * \row + 8(a0)
    lh      t1, 2 * \row + 24(a0)
    lh      t2, 2 * \row + 40(a0)
    lh      t3, 2 * \row + 56(a0)
    tap     12 * \row + 4, t0, t1, t2, t3
    .endm

/* The channels of a run, one a turn. */
    .macro window_loop stride
3:
    window_row_\stride 0
    window_row_\stride 1
    window_row_\stride 2
    add     a0, a0, a7
    addi    a1, a1, 36
    bne     a1, a6, 3b
    .endm

    .macro column_step step
    lh      t0, 8 * \step(a0)
    lh      t1, 8 * \step + 2(a0)
    lh      t2, 8 * \step + 4(a0)
    lh      t3, 8 * \step + 6(a0)
    tap     4 * \step, t0, t1, t2, t3
    .endm

/* Columns: four steps a turn, then what is left. */
    .macro column_loop unused
    addi    a7, a6, -15
    bgeu    a1, a7, 5f
3:
    column_step 0
    column_step 1
    column_step 2
    column_step 3
    addi    a0, a0, 32
    addi    a1, a1, 16
    bltu    a1, a7, 3b
5:
    beq     a1, a6, 7f
6:
    column_step 0
    addi    a0, a0, 8
    addi    a1, a1, 4
    bne     a1, a6, 6b
7:
    .endm

/* The sums of a channel's pixels to int8. a1: the table, 12 bytes for a channel; a0 a6 a7 t6: the pixels' outputs. */
    .macro finish_channel channel, p0, p1, p2, p3
    lw      t0, 16 + 12 * \channel(a1)
    lw      t1, 20 + 12 * \channel(a1)
    lw      t2, 24 + 12 * \channel(a1)
    slli    \p0, \p0, 2
    finish  \p0
    sb      \p0, \channel(a0)
    slli    \p1, \p1, 2
    finish  \p1
    sb      \p1, \channel(a6)
    slli    \p2, \p2, 2
    finish  \p2
    sb      \p2, \channel(a7)
    slli    \p3, \p3, 2
    finish  \p3
    sb      \p3, \channel(t6)
    .endm

/* void name(const acs_rv32_tile_t *tile). tile_bytes: from tile to tile; 0: numbers lie behind each other. */
    .macro tile_function name, tile_bytes, loop, argument
    function \name
    addi    sp, sp, -FRAME
    save_registers SAVED
    mv      ra, a0
    lw      t0, NUMBERS(ra)
    lw      t2, OUTPUT(ra)
    lw      t3, TILES(ra)
    sw      t0, first_(sp)
    sw      t2, output_(sp)
    sw      t3, tiles_(sp)
1:
    lw      t0, FINISH(ra)
    lw      c0p0, 0(t0)
    lw      c1p0, 4(t0)
    lw      c2p0, 8(t0)
    lw      c3p0, 12(t0)
    lw      t1, RUNS(ra)
    lw      a0, first_(sp)
    lw      a7, NUMBER_STEP(ra)
    copy_sums
2:
    lw      t0, WEIGHTS(ra)
    lw      a1, 0(t1)
    lw      a6, 4(t1)
    addi    t1, t1, 8
    sw      t1, next_(sp)
    add     a1, a1, t0
    add     a6, a6, t0
    \loop   \argument
    lw      t1, next_(sp)
    lw      t0, END(ra)
    bne     t1, t0, 2b

    .if \tile_bytes == 0
    sw      a0, first_(sp)
    .else
    lw      t0, first_(sp)
    addi    t0, t0, \tile_bytes
    sw      t0, first_(sp)
    .endif
    lw      a1, FINISH(ra)
    lw      t1, STEP(ra)
    lw      a0, output_(sp)
    li      t3, -128
    li      t4, 127
    add     a6, a0, t1
    add     a7, a6, t1
    add     t6, a7, t1
    add     t1, t6, t1
    sw      t1, output_(sp)
    finish_channel 0, c0p0, c0p1, c0p2, c0p3
    finish_channel 1, c1p0, c1p1, c1p2, c1p3
    finish_channel 2, c2p0, c2p1, c2p2, c2p3
    finish_channel 3, c3p0, c3p1, c3p2, c3p3
    lw      t0, tiles_(sp)
    addi    t0, t0, -1
    sw      t0, tiles_(sp)
    bnez    t0, 1b
    restore_registers SAVED
    addi    sp, sp, FRAME
    ret
    .size   \name, . - \name
    .endm

    .macro copy_sums
    mv      c0p1, c0p0
    mv      c0p2, c0p0
    mv      c0p3, c0p0
    mv      c1p1, c1p0
    mv      c1p2, c1p0
    mv      c1p3, c1p0
    mv      c2p1, c2p0
    mv      c2p2, c2p0
    mv      c2p3, c2p0
    mv      c3p1, c3p0
    mv      c3p2, c3p0
    mv      c3p3, c3p0
    .endm

    tile_function acs_rv32_window_1, 32, window_loop, 1
    tile_function acs_rv32_window_2, 64, window_loop, 2
    tile_function acs_rv32_column, 0, column_loop

/* One pixel: a0 numbers, a1 weights, a2 .. a5 sums, a6 where a run ends, a7 runs, t0 a number, t1 .. t4 weights. */
    .macro line_step step
    lh      t0, 2 * \step(a0)
    lb      t1, 4 * \step(a1)
    lb      t2, 4 * \step + 1(a1)
    lb      t3, 4 * \step + 2(a1)
    lb      t4, 4 * \step + 3(a1)
    mul     t1, t1, t0
    mul     t2, t2, t0
    mul     t3, t3, t0
    mul     t4, t4, t0
    add     a2, a2, t1
    add     a3, a3, t2
    add     a4, a4, t3
    add     a5, a5, t4
    .endm

    .macro finish_line channel, sum
    lw      t0, 16 + 12 * \channel(a7)
    lw      t1, 20 + 12 * \channel(a7)
    lw      t2, 24 + 12 * \channel(a7)
    slli    \sum, \sum, 2
    finish  \sum
    sb      \sum, \channel(t6)
    .endm

    function acs_rv32_line
    addi    sp, sp, -16
    sw      s0, 0(sp)
    sw      s1, 4(sp)
    sw      s2, 8(sp)
    lw      t6, FINISH(a0)
    lw      a2, 0(t6)
    lw      a3, 4(t6)
    lw      a4, 8(t6)
    lw      a5, 12(t6)
    lw      s0, WEIGHTS(a0)
    lw      s1, END(a0)
    lw      s2, OUTPUT(a0)
    lw      a7, RUNS(a0)
    lw      a0, NUMBERS(a0)
1:
    lw      a1, 0(a7)
    lw      a6, 4(a7)
    addi    a7, a7, 8
    add     a1, a1, s0
    add     a6, a6, s0
    addi    t5, a6, -15
    bgeu    a1, t5, 3f
2:
    line_step 0
    line_step 1
    line_step 2
    line_step 3
    addi    a0, a0, 8
    addi    a1, a1, 16
    bltu    a1, t5, 2b
3:
    beq     a1, a6, 5f
4:
    line_step 0
    addi    a0, a0, 2
    addi    a1, a1, 4
    bne     a1, a6, 4b
5:
    bne     a7, s1, 1b
    mv      a7, t6
    mv      t6, s2
    li      t3, -128
    li      t4, 127
    finish_line 0, a2
    finish_line 1, a3
    finish_line 2, a4
    finish_line 3, a5
    lw      s0, 0(sp)
    lw      s1, 4(sp)
    lw      s2, 8(sp)
    addi    sp, sp, 16
    ret
    .size   acs_rv32_line, . - acs_rv32_line

#endif
