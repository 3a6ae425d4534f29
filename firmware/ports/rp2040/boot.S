/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The RP2040's second boot stage (RP2040 datasheet, 2.8.1.3): the boot ROM reads the first 256 bytes of the
 * flash into RAM, checks their sum and jumps to them. They set the flash's interface (SSI, 4.10) so that
 * the flash can be read as memory, with the command that every chip knows, 03h, at a quarter of the
 * core's clock, and start the firmware, whose vectors lie behind them at the next multiple of 512.
 *
 * The last word is the sum of the 252 bytes before it: CRC-32 with the polynomial 0x04C11DB7, from the
 * highest bit to the lowest, beginning with all ones. It must be computed anew if an instruction changes.
 */
    .syntax unified
    .cpu cortex-m0plus
    .thumb
    .section .boot, "ax", %progbits
    .balign 256
boot:
    ldr r3, =0x18000000 /* SSI */
    movs r0, #0
    str r0, [r3, #0x08] /* SSIENR: off */
    movs r0, #4
    str r0, [r3, #0x14] /* BAUDR: a quarter of the clock; even */
    ldr r0, =0x001F0300 /* CTRLR0: one data line, frames of 32 bits, first write then read */
    str r0, [r3, #0x00]
    movs r0, #0
    str r0, [r3, #0x04] /* CTRLR1: one frame */
    ldr r0, =0x03000218 /* SPI_CTRLR0: command 03h, 8 bits of it, 24 of the address */
    ldr r1, =0x180000F4
    str r0, [r1]
    movs r0, #1
    str r0, [r3, #0x08] /* SSIENR: on */
    ldr r0, =0x10000200 /* the vectors */
    ldr r1, =0xE000ED08 /* VTOR */
    str r0, [r1]
    ldr r1, [r0]
    msr msp, r1
    ldr r0, [r0, #4]
    bx r0
    .ltorg
    .org boot + 252
    .word 0x035a40bc
