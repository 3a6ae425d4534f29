/* SPDX-License-Identifier: Apache-2.0 */
/*
 * acs_rv32_rows.S: one channel by four pixels, for RISC-V cores with 32 bits and multiplication.
 *
 * acs_rv32_rows_twin.c has the same in C; acs_rv32.h explains acs_rv32_depth_t.
 */
#if defined(__riscv) && defined(__riscv_mul) && __riscv_xlen == 32 && !defined(__riscv_32e)

#include "acs_rv32_registers.h"

/* acs_rv32_depth_t. */
    .equ    NUMBERS, 0
    .equ    WEIGHTS, 4
    .equ    FINISH, 8
    .equ    OUTPUT, 12
    .equ    TILES, 16
    .equ    STEP, 20

/* Registers: a0 numbers, a1 weights, a2 .. a5 sums, a6 output, a7 its step, s0 .. s3 numbers, s4 tiles, s5 bias,
   t6 a weight, t5 a product; t0 .. t4 as the macro `finish` wants them. */

/* A tap: the weight at \at, the numbers of four pixels. */
    .macro depth_tap at, x0, x1, x2, x3
    lb      t6, \at(a1)
    mul     t5, t6, \x0
    add     a2, a2, t5
    mul     t5, t6, \x1
    add     a3, a3, t5
    mul     t5, t6, \x2
    add     a4, a4, t5
    mul     t5, t6, \x3
    add     a5, a5, t5
    .endm

/* A kernel row; columns are \bytes apart. Numbers that taps share are loaded once. */
    .macro depth_row_1 size, bytes, row
    lh      s0, 2 * \row(a0)
    lh      s1, 2 * \row + \bytes(a0)
    lh      s2, 2 * \row + 2 * \bytes(a0)
    lh      s3, 2 * \row + 3 * \bytes(a0)
    depth_tap \size * \row, s0, s1, s2, s3
    lh      s0, 2 * \row + 4 * \bytes(a0)
    depth_tap \size * \row + 1, s1, s2, s3, s0
    lh      s1, 2 * \row + 5 * \bytes(a0)
    depth_tap \size * \row + 2, s2, s3, s0, s1
    .if \size == 5
    lh      s2, 2 * \row + 6 * \bytes(a0)
    depth_tap \size * \row + 3, s3, s0, s1, s2
    lh      s3, 2 * \row + 7 * \bytes(a0)
    depth_tap \size * \row + 4, s0, s1, s2, s3
    .endif
    .endm

    .macro depth_row_2 size, bytes, row
    lh      s0, 2 * \row(a0)
    lh      s1, 2 * \row + 2 * \bytes(a0)
    lh      s2, 2 * \row + 4 * \bytes(a0)
    lh      s3, 2 * \row + 6 * \bytes(a0)
    depth_tap \size * \row, s0, s1, s2, s3
    lh      s0, 2 * \row + 8 * \bytes(a0)
    depth_tap \size * \row + 2, s1, s2, s3, s0
    .if \size == 5
    lh      s1, 2 * \row + 10 * \bytes(a0)
    depth_tap \size * \row + 4, s2, s3, s0, s1
    .endif
    lh      s0, 2 * \row + \bytes(a0)
    lh      s1, 2 * \row + 3 * \bytes(a0)
    lh      s2, 2 * \row + 5 * \bytes(a0)
    lh      s3, 2 * \row + 7 * \bytes(a0)
    depth_tap \size * \row + 1, s0, s1, s2, s3
    .if \size == 5
    lh      s0, 2 * \row + 9 * \bytes(a0)
    depth_tap \size * \row + 3, s1, s2, s3, s0
    .endif
    .endm

    .macro finish_pixel sum
    slli    \sum, \sum, 2
    finish  \sum
    sb      \sum, 0(a6)
    add     a6, a6, a7
    .endm

/* void name(const acs_rv32_depth_t *row). bytes: of a column. */
    .macro depth_function name, size, stride, bytes
    function \name
    addi    sp, sp, -32
    sw      s0, 0(sp)
    sw      s1, 4(sp)
    sw      s2, 8(sp)
    sw      s3, 12(sp)
    sw      s4, 16(sp)
    sw      s5, 20(sp)
    lw      a1, WEIGHTS(a0)
    lw      a2, FINISH(a0)
    lw      a6, OUTPUT(a0)
    lw      s4, TILES(a0)
    lw      a7, STEP(a0)
    lw      a0, NUMBERS(a0)
    lw      s5, 0(a2)
    lw      t0, 4(a2)
    lw      t1, 8(a2)
    lw      t2, 12(a2)
    li      t3, -128
    li      t4, 127
1:
    mv      a2, s5
    mv      a3, s5
    mv      a4, s5
    mv      a5, s5
    depth_row_\stride \size, \bytes, 0
    depth_row_\stride \size, \bytes, 1
    depth_row_\stride \size, \bytes, 2
    .if \size == 5
    depth_row_\stride \size, \bytes, 3
    depth_row_\stride \size, \bytes, 4
    .endif
    finish_pixel a2
    finish_pixel a3
    finish_pixel a4
    finish_pixel a5
    addi    a0, a0, 4 * \stride * \bytes
    addi    s4, s4, -1
    bnez    s4, 1b
    lw      s0, 0(sp)
    lw      s1, 4(sp)
    lw      s2, 8(sp)
    lw      s3, 12(sp)
    lw      s4, 16(sp)
    lw      s5, 20(sp)
    addi    sp, sp, 32
    ret
    .size   \name, . - \name
    .endm

    depth_function acs_rv32_depthwise_3_1, 3, 1, 8
    depth_function acs_rv32_depthwise_3_2, 3, 2, 8
    depth_function acs_rv32_depthwise_5_1, 5, 1, 16
    depth_function acs_rv32_depthwise_5_2, 5, 2, 16

#endif
