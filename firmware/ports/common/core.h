/* SPDX-License-Identifier: Apache-2.0 */
/**
 * core.h: the start-up that all cores share, and what it needs of a core.
 *
 * After reset the folder of the core (ports/cortex_m, ports/riscv, ports/xtensa) sets up a stack, in
 * assembly because nothing may be assumed yet, and calls core_start().
 */
#ifndef CORE_H
#define CORE_H

#include <stdbool.h>
#include <stdint.h>

/* From firmware.ld. */
extern uint8_t port_code_start[], port_code_end[];
extern uint8_t port_stack_bottom[], port_stack_top[];

/** Stack that a fault handler and all that it calls must find; it takes a new stack where less is left. */
#define CORE_HANDLER_STACK_BYTES 256

/**
 * Whether a fault left a stack that its handler could go on with; else it has begun a new one at the top.
 *
 * @param stack  the stack pointer that was interrupted
 * @param bytes  what the core itself has put there
 */
static inline bool core_has_stack(uintptr_t stack, uintptr_t bytes)
{
    return stack >= (uintptr_t)port_stack_bottom + CORE_HANDLER_STACK_BYTES &&
           stack <= (uintptr_t)port_stack_top - bytes;
}

/** Text of a number, for assembly. */
#define CORE_TEXT(number) CORE_TO_TEXT(number)
#define CORE_TO_TEXT(number) #number

/** Initialises memory, core, and chip, runs main(), and exits. */
__attribute__((noreturn)) void core_start(void);

/**
 * Of the core: lets faults reach its handler, and makes an overflow of the stack a fault. Runs before
 * variables have their values, and must not use any.
 */
void core_init(void);

#endif /* CORE_H */
