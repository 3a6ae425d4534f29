/* SPDX-License-Identifier: Apache-2.0 */
/* Vectors, start-up and faults of an Xtensa LX without register windows (the call0 ABI), as the lx106. */
#include <stdint.h>

#include "core.h"
#include "port.h"
#include "sr.h"
#include "text.h"

void port_fault(uintptr_t stack);

/*
 * The vectors lie where the flash begins, at the distances from VECBASE that the core is made with, and
 * all lead to one place. Exceptions are taken as from a user's program (PS.UM), interrupts are not.
 * Where the stack has overflowed, or nearly, the handler begins a new one at the top.
 */
__asm__(".section .vectors, \"ax\"\n"
        ".org 0x10\n j port_trap_entry\n" /* debug */
        ".org 0x20\n j port_trap_entry\n" /* non-maskable interrupt */
        ".org 0x30\n j port_trap_entry\n" /* kernel exception */
        ".org 0x50\n j port_trap_entry\n" /* user exception */
        ".org 0x70\n j port_trap_entry\n" /* double exception */
        ".org 0x80\n"
        ".literal_position\n"
        ".align 4\n"
        "port_trap_entry:\n"
        "mov a2, sp\n"
        "movi a3, port_stack_bottom + " CORE_TEXT(CORE_HANDLER_STACK_BYTES) "\n"
        "bgeu sp, a3, 1f\n"
        "movi sp, port_stack_top\n"
        "1: movi a3, port_fault\n"
        "jx a3\n"
        ".align 4\n"
        ".global port_reset\n"
        "port_reset:\n"
        "movi sp, port_stack_top\n"
        "movi a2, 0x2f\n" /* PS: UM, INTLEVEL 15 */
        "wsr.ps a2\n"
        "rsync\n"
        "movi a2, port_code_start\n"
        "wsr.vecbase a2\n"
        "isync\n"
        "movi a2, core_start\n"
        "jx a2\n"
        ".previous\n");

static char *put_cause(char *to, uint32_t cause)
{
    switch (cause) {
    case 0:
        return text_put(to, "illegal instruction");
    case 2:
    case 14:
        return text_put(to, "jump to nowhere");
    case 3:
    case 15:
        return text_put(to, "access to nowhere");
    default:
        return text_put_hex(to, "exception 0x", cause);
    }
}

/* stack: the stack pointer that was interrupted. */
void port_fault(uintptr_t stack)
{
    static char line[128];
    const uint32_t cause = SR_READ(exccause);
    char *end = line;

    if (!core_has_stack(stack, 0)) {
        end = text_put(end, "stack overflow");
    } else {
        end = put_cause(end, cause);
        end = text_put_hex(end, " at pc 0x", SR_READ(epc1));
    }
    end = text_put_hex(end, ", EXCCAUSE 0x", cause);
    end = text_put_hex(end, ", EXCVADDR 0x", SR_READ(excvaddr));
    *end = '\0';
    port_exit(PORT_EXIT_FAULT + cause, line);
}

/* VECBASE is set already, and below the RAM there is nothing, which an access finds out. */
void core_init(void)
{
}
