/* SPDX-License-Identifier: Apache-2.0 */
/*
 * acs_rows.S: moves words and makes them, for Arm cores with DSP instructions and an FPU.
 *
 * acs_rows_twin.c has the same in C; acs_dsp.h says how everything lies.
 */
#if defined(__ARM_FEATURE_DSP) && defined(__ARM_FP) && defined(__thumb2__)

    .syntax unified
    .thumb

    .macro function name
    .section .text.\name, "ax", %progbits
    .global \name
    .type   \name, %function
    .balign 8
    .thumb_func
\name:
    .endm

/* Words of a pixel whose four channels are in the register, r10 is free. r1: of the first pair; r11: of the second. */
    .macro store_pixel four, step
    sxtab16 r10, r4, \four
    sxtab16 \four, r4, \four, ror #8
    str     r10, [r1], #4 * \step
    str     \four, [r11], #4 * \step
    .endm

/* void name(const int8_t *input, int32_t *words, const acs_fours_t *fours). r12 pixels, lr: where r1 ends. */
    .macro expand_function name, step
    function \name
    push    {r4-r11, lr}
    ldm     r2, {r2, r3, r4, r5}
    add     r6, r0, r2
    vmov    s0, r6
    .if \step == 5
    add     r3, r3, r3, lsl #2
    .endif
    .if \step == 4
    lsl     r3, r3, #4
    .else
    lsl     r3, r3, #2
    .endif
1:                                      /* four channels */
    mov     r12, r0
    add     r11, r1, r5
    add     lr, r1, r3
    sub     lr, lr, #4 * 3 * \step
    cmp     r1, lr
    bhs     3f
    .balign 4
2:                                      /* of four pixels */
    ldr     r6, [r12]
    ldr     r7, [r12, r2]
    add     r12, r12, r2, lsl #1
    ldr     r8, [r12]
    ldr     r9, [r12, r2]
    add     r12, r12, r2, lsl #1
    store_pixel r6, \step
    store_pixel r7, \step
    store_pixel r8, \step
    store_pixel r9, \step
    cmp     r1, lr
    blo     2b
3:
    add     lr, lr, #4 * 3 * \step
    cmp     r1, lr
    bhs     5f
4:                                      /* of a pixel */
    ldr     r6, [r12]
    add     r12, r12, r2
    store_pixel r6, \step
    cmp     r1, lr
    blo     4b
5:
    vmov    r6, s0
    add     r0, r0, #4
    sub     r1, r11, r3
    add     r1, r1, r5
    cmp     r0, r6
    bne     1b
    pop     {r4-r11, pc}
    .size   \name, . - \name
    .endm

    expand_function acs_expand_fours_1, 1
    expand_function acs_expand_fours_4, 4
    expand_function acs_expand_fours_5, 5

    .macro roll_column
    ldrd    r2, r3, [r0, #8]
    strd    r2, r3, [r0], #16
    .endm

/* void acs_roll(int32_t *words, uint32_t columns): four columns a turn, then one. */
    function acs_roll
    subs    r1, r1, #4
    blo     2f
    .balign 4
1:
    roll_column
    roll_column
    roll_column
    roll_column
    subs    r1, r1, #4
    bhs     1b
2:
    adds    r1, r1, #4
    beq     4f
3:
    roll_column
    subs    r1, r1, #1
    bne     3b
4:
    bx      lr
    .size   acs_roll, . - acs_roll

/* void acs_clear_words(int32_t *words, uint32_t count): 32 words a turn, then one. */
    function acs_clear_words
    push    {r4-r9, lr}
    .irp    word, r2, r3, r4, r5, r6, r7, r8, r9
    mov     \word, #0
    .endr
    subs    r1, r1, #32
    blo     2f
    .balign 4
1:
    .rept 4
    stm     r0!, {r2-r9}
    .endr
    subs    r1, r1, #32
    bhs     1b
2:
    adds    r1, r1, #32
    beq     4f
3:
    str     r2, [r0], #4
    subs    r1, r1, #1
    bne     3b
4:
    pop     {r4-r9, pc}
    .size   acs_clear_words, . - acs_clear_words

/* int32_t *acs_copy_runs(int32_t *to, const int32_t *from, const acs_run_t *runs, const acs_run_t *end): 32 words a
   turn, then eight, then two. */
    function acs_copy_runs
    push    {r4-r11, lr}
1:                                      /* a run, from r12 up to lr */
    ldrd    r12, lr, [r2], #8
    add     r12, r12, r1
    add     lr, lr, r1
    sub     lr, lr, #124
    cmp     r12, lr
    bhs     3f
    .balign 4
2:
    .rept 4
    ldm     r12!, {r4-r11}
    stm     r0!, {r4-r11}
    .endr
    cmp     r12, lr
    blo     2b
3:
    add     lr, lr, #96                 /* the last word but seven */
    cmp     r12, lr
    bhs     5f
4:
    ldm     r12!, {r4-r11}
    stm     r0!, {r4-r11}
    cmp     r12, lr
    blo     4b
5:
    add     lr, lr, #28
    cmp     r12, lr
    beq     7f
6:
    ldrd    r4, r5, [r12], #8
    strd    r4, r5, [r0], #8
    cmp     r12, lr
    bne     6b
7:
    cmp     r2, r3
    bne     1b
    pop     {r4-r11, pc}
    .size   acs_copy_runs, . - acs_copy_runs

#endif
