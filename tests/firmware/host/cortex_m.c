/* SPDX-License-Identifier: Apache-2.0 */
/* cortex_m.c: starts newlib's semihosting program on QEMU's MPS boards, where all memory takes writes. */
#include <stdint.h>

/* In the first bank of RAM of them all; crt0 moves the stack. */
#define RAM_END 0x20008000u

/* crt0: memory, the host's standard input and output, main(), exit(). */
void _start(void);

/* Full access to the FPU and Helium, which are off after reset. */
static void reset(void)
{
    *(volatile uint32_t *)0xE000ED88u |= 0xFu << 20;
    __asm__ volatile("dsb\n isb");
    _start();
}

/* A lockup stops QEMU with an error: there is nothing at an odd address of nowhere. */
static void fault(void)
{
    __asm__ volatile("udf #0");
}

struct vectors {
    uintptr_t stack;
    void (*entry[15])(void);
};

__attribute__((section(".vectors"), used)) const struct vectors vectors = {
    RAM_END, {reset, fault, fault, fault, fault, fault}};
