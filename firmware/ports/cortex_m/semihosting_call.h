/* SPDX-License-Identifier: Apache-2.0 */
/** semihosting_call.h: a semihosting call of the Cortex-M is BKPT 0xAB. */
#ifndef SEMIHOSTING_CALL_H
#define SEMIHOSTING_CALL_H

#include <stdbool.h>
#include <stdint.h>

/**
 * Whether a call cannot halt the core for good. It would where halting debug is on (DHCSR.C_DEBUGEN, ARMv7-M C1.6.2):
 * programs that flash turn it on, and some leave it so until the board loses its power. A Cortex-M0 does not show its
 * program the register; what flashes one has to turn it off.
 */
static inline bool semihosting_may_call(void)
{
#if defined(__ARM_ARCH_6M__)
    return true;
#else
    return (*(volatile uint32_t *)0xE000EDF0u & 1u) == 0;
#endif
}

static inline uint32_t semihosting_call(uint32_t operation, const void *argument)
{
    register uint32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;

    __asm__ volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory", "cc");
    return r0;
}

#endif /* SEMIHOSTING_CALL_H */
