/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arithmetic that the compiler calls and its library for the lx106 lacks, because that chip has it in ROM
 * ("Routines for integer arithmetic", GCC Internals).
 */
#include <stdint.h>

int64_t __muldi3(int64_t a, int64_t b);
uint32_t __udivsi3(uint32_t dividend, uint32_t divisor);
uint32_t __umodsi3(uint32_t dividend, uint32_t divisor);
int32_t __divsi3(int32_t dividend, int32_t divisor);

/* 32 bits times 32 bits out of four products of 16 bits times 16 bits. */
static uint64_t multiply(uint32_t a, uint32_t b)
{
    const uint32_t a_low = a & 0xFFFFu, a_high = a >> 16;
    const uint32_t b_low = b & 0xFFFFu, b_high = b >> 16;
    const uint32_t low = a_low * b_low;
    const uint32_t middle = a_high * b_low + (low >> 16); /* below 2^32 */
    const uint32_t other = a_low * b_high + (middle & 0xFFFFu);
    const uint32_t high = a_high * b_high + (middle >> 16) + (other >> 16);

    return ((uint64_t)high << 32) | (other << 16) | (low & 0xFFFFu);
}

int64_t __muldi3(int64_t a, int64_t b)
{
    const uint32_t a_low = (uint32_t)a, a_high = (uint32_t)((uint64_t)a >> 32);
    const uint32_t b_low = (uint32_t)b, b_high = (uint32_t)((uint64_t)b >> 32);
    const uint64_t crossed = (uint64_t)(a_low * b_high + a_high * b_low) << 32;

    return (int64_t)(multiply(a_low, b_low) + crossed);
}

/* Long division, bit by bit; of a division by 0 nothing is expected. */
static uint32_t divide(uint32_t dividend, uint32_t divisor, uint32_t *remainder)
{
    uint32_t quotient = 0, rest = 0;

    for (int bit = 31; bit >= 0; bit--) {
        const uint32_t carry = rest >> 31;
        rest = (rest << 1) | ((dividend >> bit) & 1u);
        if (carry != 0 || rest >= divisor) {
            rest -= divisor;
            quotient |= 1u << bit;
        }
    }
    *remainder = rest;
    return quotient;
}

uint32_t __udivsi3(uint32_t dividend, uint32_t divisor)
{
    uint32_t remainder;

    return divide(dividend, divisor, &remainder);
}

uint32_t __umodsi3(uint32_t dividend, uint32_t divisor)
{
    uint32_t remainder;

    (void)divide(dividend, divisor, &remainder);
    return remainder;
}

int32_t __divsi3(int32_t dividend, int32_t divisor)
{
    const uint32_t size = dividend < 0 ? 0u - (uint32_t)dividend : (uint32_t)dividend;
    const uint32_t by = divisor < 0 ? 0u - (uint32_t)divisor : (uint32_t)divisor;
    const uint32_t quotient = __udivsi3(size, by);

    return (int32_t)((dividend < 0) != (divisor < 0) ? 0u - quotient : quotient);
}
