/* SPDX-License-Identifier: Apache-2.0 */
#include "fault.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core.h"
#include "port.h"
#include "semihosting.h"
#include "text.h"

#define SCB_ICSR (*(volatile uint32_t *)0xE000ED04u)
#define SCB_CFSR (*(volatile uint32_t *)0xE000ED28u)
#define SCB_HFSR (*(volatile uint32_t *)0xE000ED2Cu)
#define SCB_DFSR (*(volatile uint32_t *)0xE000ED30u)
#define SCB_MMFAR (*(volatile uint32_t *)0xE000ED34u)
#define SCB_BFAR (*(volatile uint32_t *)0xE000ED38u)

#define ICSR_VECTACTIVE 0x1FFu
#define CFSR_MMARVALID (1u << 7)
#define CFSR_BFARVALID (1u << 15)
#define CFSR_STKOF (1u << 20) /* ARMv8-M, by MSPLIM; reserved elsewhere */
#define HFSR_DEBUGEVT (1u << 31)
#define DFSR_BKPT (1u << 1)

#define EXCEPTION_HARD_FAULT 3u
#define BKPT_SEMIHOSTING 0xBEABu
#define BKPT_BYTES 2u

/* What the processor pushes when it takes an exception. */
typedef struct {
    uint32_t r0, r1, r2, r3, r12, lr, pc, xpsr;
} exception_frame_t;

void port_fault(exception_frame_t *frame);

/*
 * Calls port_fault() with the frame. Where the stack has overflowed, or nearly, it begins anew at the
 * top: the handler needs a stack itself, and would lock up the processor if it had none.
 */
__attribute__((naked)) void port_fault_entry(void)
{
    __asm__ volatile("mov r0, sp\n"
                     "ldr r1, =port_stack_bottom + " CORE_TEXT(CORE_HANDLER_STACK_BYTES) "\n"
                     "cmp r0, r1\n"
                     "bhs 1f\n"
                     "ldr r1, =port_stack_top\n"
                     "mov sp, r1\n"
                     "1: ldr r1, =port_fault\n"
                     "bx r1\n"
                     ".ltorg\n");
}

/* SysTick's vector: unexpected too, where no folder of the port (systick) counts with it. */
void port_systick(void) __attribute__((weak, alias("port_fault_entry")));

/* Why a fault was taken. A Cortex-M0 does not say: it has none of these registers. */
#if defined(__ARM_ARCH_6M__)
static uint32_t fault_status(void)
{
    return 0;
}

static void clear_debug_event(void)
{
}

static char *put_fault_status(char *to)
{
    return to;
}
#else
static uint32_t fault_status(void)
{
    return SCB_CFSR;
}

static void clear_debug_event(void)
{
    SCB_HFSR = HFSR_DEBUGEVT;
    SCB_DFSR = DFSR_BKPT;
}

static char *put_fault_status(char *to)
{
    uint32_t cfsr = SCB_CFSR;

    to = text_put_hex(to, ", CFSR 0x", cfsr);
    to = text_put_hex(to, ", HFSR 0x", SCB_HFSR);
    if ((cfsr & CFSR_MMARVALID) != 0) {
        to = text_put_hex(to, ", address 0x", SCB_MMFAR);
    } else if ((cfsr & CFSR_BFARVALID) != 0) {
        to = text_put_hex(to, ", address 0x", SCB_BFAR);
    }
    return to;
}
#endif

/* The counterpart of the comparison in port_fault_entry(): is the interrupted stack still there? */
static bool has_stack(const exception_frame_t *frame)
{
    return (fault_status() & CFSR_STKOF) == 0 && core_has_stack((uintptr_t)frame, sizeof *frame);
}

/* pc is looked at last: elsewhere it may not be readable, and a fault in here is the end. */
static bool is_unanswered_semihosting(const exception_frame_t *frame, uint32_t exception)
{
    return exception == EXCEPTION_HARD_FAULT && fault_status() == 0 &&
           frame->pc >= (uintptr_t)port_code_start && frame->pc < (uintptr_t)port_code_end &&
           *(const uint16_t *)(uintptr_t)frame->pc == BKPT_SEMIHOSTING;
}

static char *put_exception(char *to, uint32_t exception)
{
    static const char *const names[] = {"NMI", "HardFault", "MemManage", "BusFault", "UsageFault"};
    uint32_t index = exception - 2; /* reset, 1, is none of ours; it wraps round */

    return index < sizeof names / sizeof names[0] ? text_put(to, names[index])
                                                  : text_put_hex(to, "exception 0x", exception);
}

void port_fault(exception_frame_t *frame)
{
    static char line[128];
    uint32_t exception = SCB_ICSR & ICSR_VECTACTIVE;
    char *end = line;

    if (!has_stack(frame)) {
        end = text_put(end, "stack overflow");
    } else if (is_unanswered_semihosting(frame, exception)) {
        frame->r0 = SEMIHOSTING_NOBODY;
        frame->pc += BKPT_BYTES;
        clear_debug_event();
        return;
    } else {
        end = put_exception(end, exception);
        end = text_put_hex(end, " at pc 0x", frame->pc);
    }
    *put_fault_status(end) = '\0';
    port_exit(PORT_EXIT_FAULT + exception, line);
}
