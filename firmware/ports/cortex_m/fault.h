/* SPDX-License-Identifier: Apache-2.0 */
/**
 * fault.h: every exception that the firmware does not expect ends here.
 *
 * One of them is no fault: BKPT 0xAB, a semihosting call, with no debugger and no emulator that serves
 * it. The processor then escalates the debug event to a HardFault. The handler looks at the instruction
 * that was stopped at, and if it is that BKPT, puts -1 into the caller's r0, steps over it and returns.
 * HFSR is not asked what happened: the chip says "debug event", QEMU says "forced"; CFSR (no fault)
 * and the instruction say the same on both.
 *
 * Anything else stops the firmware with PORT_EXIT_FAULT + the exception's number and one line that
 * names the exception, the address of the instruction, the fault status registers CFSR and HFSR (a
 * Cortex-M0 has none), and, where the processor knows it, the address of the access that failed. The
 * stack lies at the bottom of the RAM with forbidden memory below, or its end stands in MSPLIM, so a
 * stack that overflows faults and is told as such; so is any other exception that comes when fewer than
 * 256 bytes of stack are left, which the handler needs itself.
 */
#ifndef FAULT_H
#define FAULT_H

/** The vector of every exception but reset and SysTick; called by the processor only. */
void port_fault_entry(void);

/** The vector of SysTick: port_fault_entry(), unless the port has its own. */
void port_systick(void);

#endif /* FAULT_H */
