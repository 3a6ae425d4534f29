/* SPDX-License-Identifier: Apache-2.0 */
/**
 * semihosting_call.h: a semihosting call of RISC-V is EBREAK between two shifts that do nothing, all three
 * of 32 bits and within 16 bytes ("RISC-V Semihosting", RISC-V International).
 */
#ifndef SEMIHOSTING_CALL_H
#define SEMIHOSTING_CALL_H

#include <stdbool.h>
#include <stdint.h>

/** Whether a call cannot halt the core for good. Of these boards none has a debugger. */
static inline bool semihosting_may_call(void)
{
    return true;
}

static inline uint32_t semihosting_call(uint32_t operation, const void *argument)
{
    register uint32_t a0 __asm__("a0") = operation;
    register const void *a1 __asm__("a1") = argument;

    __asm__ volatile(".option push\n"
                     ".option norvc\n"
                     ".balign 16\n"
                     "slli zero, zero, 0x1f\n"
                     "ebreak\n"
                     "srai zero, zero, 7\n"
                     ".option pop\n"
                     : "+r"(a0) : "r"(a1) : "memory");
    return a0;
}

#endif /* SEMIHOSTING_CALL_H */
