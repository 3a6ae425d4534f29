/* SPDX-License-Identifier: Apache-2.0 */
/**
 * setup.h: brings up a chip of which the board's TOML says all: registers, bits, clocks.
 *
 * setup.c implements port_init() with what is declared here; port_setup.h, which acsgen writes from the
 * TOML, holds the numbers. A folder for the UART and one for the counter go beside this one.
 */
#ifndef SETUP_H
#define SETUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** A register of the chip. */
#define REGISTER(address) (*(volatile uint32_t *)(address))

/** The link's speed, in bits a second. */
#define BAUD 115200u

/** Far more polls than a byte of output needs. */
#define TRANSMIT_POLLS 1000000u

/** Clears bits of a register, sets others, then waits until the bits of `mask` are `value`. */
typedef struct {
    uintptr_t address;
    uint32_t clear, set;
    uint32_t mask, value; /* a mask of 0: no wait */
} setup_step_t;

/** Polls a register at most `polls` times. Returns whether the bits of `mask` became `value`. */
bool setup_wait(uintptr_t address, uint32_t mask, uint32_t value, uint32_t polls);

/** Of the folder of the UART: 8 bits, no parity, BAUD. Its clock and pins are on; `hertz` is its clock. */
void uart_start(uint32_t hertz);

/** Of the folder of the counter. */
void ticks_start(void);

#endif /* SETUP_H */
