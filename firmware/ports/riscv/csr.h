/* SPDX-License-Identifier: Apache-2.0 */
/**
 * csr.h: access to control and status registers.
 *
 * The extension that holds these instructions, Zicsr, is named around each of them and not in the board's
 * -march: the C library's variants are found by that name, and there is none for it.
 */
#ifndef CSR_H
#define CSR_H

#include <stdint.h>

/** A line of assembly in which the instructions on such registers are known. */
#define CSR_ASM(line) ".option push\n.option arch, +zicsr\n" line "\n.option pop\n"

#define CSR_WRITE(name, value) __asm__ volatile(CSR_ASM("csrw " #name ", %0") : : "r"(value) : "memory")

#define CSR_READ(name) \
    __extension__({ \
        uint32_t csr_value; \
        __asm__ volatile(CSR_ASM("csrr %0, " #name) : "=r"(csr_value) : : "memory"); \
        csr_value; \
    })

#endif /* CSR_H */
