/* SPDX-License-Identifier: Apache-2.0 */
/*
 * acs_rv32_registers.h: names and macros of the assembly of this set. For acs_rv32_*.S only.
 */
#ifndef ACS_RV32_REGISTERS_H
#define ACS_RV32_REGISTERS_H

/* Sums by channel of the quad, and by pixel or tile. */
#define c0p0 s0
#define c0p1 s1
#define c0p2 s2
#define c0p3 s3
#define c1p0 s4
#define c1p1 s5
#define c1p2 s6
#define c1p3 s7
#define c2p0 s8
#define c2p1 s9
#define c2p2 s10
#define c2p3 s11
#define c3p0 a2
#define c3p1 a3
#define c3p2 a4
#define c3p3 a5

    .macro function name
    .section .text.\name, "ax", @progbits
    .globl  \name
    .type   \name, @function
    .balign 4
\name:
    .endm

    .macro save_registers at
    sw      ra, \at(sp)
    sw      s0, \at + 4(sp)
    sw      s1, \at + 8(sp)
    sw      s2, \at + 12(sp)
    sw      s3, \at + 16(sp)
    sw      s4, \at + 20(sp)
    sw      s5, \at + 24(sp)
    sw      s6, \at + 28(sp)
    sw      s7, \at + 32(sp)
    sw      s8, \at + 36(sp)
    sw      s9, \at + 40(sp)
    sw      s10, \at + 44(sp)
    sw      s11, \at + 48(sp)
    .endm

    .macro restore_registers at
    lw      ra, \at(sp)
    lw      s0, \at + 4(sp)
    lw      s1, \at + 8(sp)
    lw      s2, \at + 12(sp)
    lw      s3, \at + 16(sp)
    lw      s4, \at + 20(sp)
    lw      s5, \at + 24(sp)
    lw      s6, \at + 28(sp)
    lw      s7, \at + 32(sp)
    lw      s8, \at + 36(sp)
    lw      s9, \at + 40(sp)
    lw      s10, \at + 44(sp)
    lw      s11, \at + 48(sp)
    .endm

/* Four times a sum to int8. t0 multiplier, t1 rounding, t2 shift, t3 -128, t4 127; t5 is lost. */
    .macro finish value
    mulh    \value, \value, t0
    srai    t5, \value, 31
    add     \value, \value, t5
    add     \value, \value, t5
    add     \value, \value, t1
    sra     \value, \value, t2
    bge     \value, t3, 8f
    mv      \value, t3
8:
    bge     t4, \value, 9f
    mv      \value, t4
9:
    .endm

#endif /* ACS_RV32_REGISTERS_H */
