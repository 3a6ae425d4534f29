/* SPDX-License-Identifier: Apache-2.0 */
/* Start-up and traps of RISC-V with 32 bits, in machine mode (Privileged Architecture 1.12). */
#include <stddef.h>
#include <stdint.h>

#include "core.h"
#include "csr.h"
#include "port.h"
#include "text.h"

#define CAUSE_BREAKPOINT 3
#define SLLI_ZERO_ZERO_31 0x01F01013 /* stands before the EBREAK of a semihosting call */

/* Entry of physical memory protection: a region of a power of two, no access, in machine mode as well. */
#define PMP_NAPOT 0x18u
#define PMP_LOCKED 0x80u
#define GUARD_BYTES 0x2000u

__attribute__((noreturn)) void port_reset(void);
void port_trap_entry(void);
void port_fault(uintptr_t stack);

/* Lies where the flash begins. */
__attribute__((naked, section(".vectors"), used)) void port_reset(void)
{
    __asm__ volatile(CSR_ASM("csrci mstatus, 8") /* no interrupt */
                     "la sp, port_stack_top\n"
                     "j core_start\n");
}

/*
 * Every trap ends here. One of them is no fault: a semihosting call that nobody serves. It returns -1,
 * SEMIHOSTING_NOBODY, and all registers but its result, a0, must be what they were. Elsewhere a0 and t0
 * are lost, which port_fault() does not look at. Where the stack has overflowed, or nearly, it begins anew.
 */
__attribute__((naked, aligned(4))) void port_trap_entry(void)
{
    __asm__ volatile(
        CSR_ASM("csrw mscratch, t0")
        CSR_ASM("csrr t0, mcause")
        "addi t0, t0, -" CORE_TEXT(CAUSE_BREAKPOINT) "\n"
        "bnez t0, 1f\n"
        CSR_ASM("csrr t0, mepc")
        "lw t0, -4(t0)\n"
        "li a0, " CORE_TEXT(SLLI_ZERO_ZERO_31) "\n"
        "bne t0, a0, 1f\n"
        CSR_ASM("csrr t0, mepc")
        "addi t0, t0, 4\n" /* behind the EBREAK */
        CSR_ASM("csrw mepc, t0")
        "li a0, -1\n"
        CSR_ASM("csrr t0, mscratch")
        "mret\n"
        "1: mv a0, sp\n"
        "la t0, port_stack_bottom + " CORE_TEXT(CORE_HANDLER_STACK_BYTES) "\n"
        "bgeu sp, t0, 2f\n"
        "la sp, port_stack_top\n"
        "2: j port_fault\n");
}

static char *put_cause(char *to, uint32_t cause)
{
    static const char *const names[] = {
        "misaligned jump", "jump to nowhere", "illegal instruction", "breakpoint",
        "misaligned load", "load from nowhere", "misaligned store", "store to nowhere"};

    return cause < sizeof names / sizeof names[0] ? text_put(to, names[cause])
                                                  : text_put_hex(to, "trap 0x", cause);
}

/* stack: the stack pointer that was interrupted. */
void port_fault(uintptr_t stack)
{
    static char line[128];
    const uint32_t cause = CSR_READ(mcause);
    char *end = line;

    if (!core_has_stack(stack, 0)) {
        end = text_put(end, "stack overflow");
    } else {
        end = put_cause(end, cause);
        end = text_put_hex(end, " at pc 0x", CSR_READ(mepc));
    }
    end = text_put_hex(end, ", mcause 0x", cause);
    end = text_put_hex(end, ", mtval 0x", CSR_READ(mtval));
    *end = '\0';
    port_exit(PORT_EXIT_FAULT + cause, line);
}

/* An access to the 8 KB below the stack, and with them below the RAM, faults. */
void core_init(void)
{
    CSR_WRITE(mtvec, (uintptr_t)port_trap_entry);
    CSR_WRITE(pmpaddr0, (((uintptr_t)port_stack_bottom - GUARD_BYTES) >> 2) | ((GUARD_BYTES >> 3) - 1));
    CSR_WRITE(pmpcfg0, PMP_NAPOT | PMP_LOCKED);
}
