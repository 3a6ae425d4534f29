/* SPDX-License-Identifier: Apache-2.0 */
/**
 * semihosting.h: asks the debugger or emulator to do what only a host can.
 *
 * A call is an instruction that traps: BKPT 0xAB on a Cortex-M, EBREAK between two shifts on RISC-V
 * (semihosting_call.h of the core). Where nobody listens for it the core takes an exception, whose
 * handler (fault.c) lets the call return SEMIHOSTING_NOBODY. So the same binary runs in the emulator and
 * on a bare board. Where a debugger has turned on halting debug the trap would halt the core instead, so no
 * call is made there; but a Cortex-M0 cannot see that. If it is halted there, let it continue behind the
 * instruction, or detach the debugger and power-cycle the board.
 */
#ifndef SEMIHOSTING_H
#define SEMIHOSTING_H

#include <stdbool.h>
#include <stdint.h>

#include "link.h"

#ifdef __cplusplus
extern "C" {
#endif

/** What a call returns where nobody answers. */
#define SEMIHOSTING_NOBODY UINT32_MAX

/**
 * Opens the host's standard input and output.
 *
 * @return false if nobody answers, or nobody may be asked; no other function here may then be called
 */
LINK_MUST_CHECK bool semihosting_open(void);

/** The host's standard input and output; valid once semihosting_open() has returned true. */
extern const link_transport_t semihosting_stream;

/** Writes a line to the host's console, which is not the stream. */
void semihosting_report(const char *line);

/** Ends the emulator with an exit code. */
__attribute__((noreturn)) void semihosting_exit(uint32_t code);

#ifdef __cplusplus
}
#endif

#endif /* SEMIHOSTING_H */
