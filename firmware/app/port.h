/* SPDX-License-Identifier: Apache-2.0 */
/**
 * port.h: what the firmware needs from a chip.
 *
 * A port is made of folders in firmware/ports. ports/common starts everything: it calls port_init(), then
 * main(); it also implements port_link() and port_exit(). The folder of the core (ports/cortex_m, ...) has
 * its start-up and faults, that of the chip implements the rest.
 */
#ifndef PORT_H
#define PORT_H

#include "link.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Exit codes of the emulator. A fault exits with PORT_EXIT_FAULT + the number of its exception, so a
 * HardFault (3) of a Cortex-M with 103, an illegal instruction (2) of RISC-V with 102.
 */
enum {
    PORT_EXIT_OK = 0,
    PORT_EXIT_MISBUILT = 2, /**< app_model.h does not fit the model. */
    PORT_EXIT_FAULT = 100
};

/** Sets up clocks, the tick counter and the UART. Never waits for anything without a bound. */
void port_init(void);

/** Sets the tick counter to 0. */
void port_ticks_restart(void);

/**
 * Ticks since port_ticks_restart(), modulo 2^32.
 *
 * On a board a tick is one clock of the counter (`ticks.hertz` in the board's TOML); in the emulator a
 * fixed number of ticks is one instruction (`emulator.instructions_per_tick`).
 */
uint32_t port_ticks(void);

/** Has the counter passed 2^32 since port_ticks_restart()? May say so up to 2^16 ticks too early. */
bool port_ticks_wrapped(void);

/** The UART to the host; port_link() chooses it where nobody answers semihosting. */
extern const link_transport_t port_uart;

/** The stream to the host. The first call decides for semihosting or the UART. */
const link_transport_t *port_link(void);

/**
 * Stops for good: ends the emulator with `code`, or tells the host and halts where there is none.
 *
 * @param code    PORT_EXIT_...
 * @param reason  one line, or NULL where nothing went wrong
 */
__attribute__((noreturn)) void port_exit(uint32_t code, const char *reason);

#ifdef __cplusplus
}
#endif

#endif /* PORT_H */
