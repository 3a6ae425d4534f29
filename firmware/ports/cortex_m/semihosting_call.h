/* SPDX-License-Identifier: Apache-2.0 */
/** semihosting_call.h: a semihosting call of the Cortex-M is BKPT 0xAB. */
#ifndef SEMIHOSTING_CALL_H
#define SEMIHOSTING_CALL_H

#include <stdint.h>

static inline uint32_t semihosting_call(uint32_t operation, const void *argument)
{
    register uint32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;

    __asm__ volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory", "cc");
    return r0;
}

#endif /* SEMIHOSTING_CALL_H */
