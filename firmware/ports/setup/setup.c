/* SPDX-License-Identifier: Apache-2.0 */
#include "setup.h"

#include "port.h"
#include "port_setup.h"

/* Far more polls than an oscillator needs; an emulator without one never says "ready". */
#define STEP_POLLS 20000u

static const setup_step_t clock_steps[] = {PORT_CLOCK_STEPS};
static const setup_step_t uart_steps[] = {PORT_UART_STEPS};

bool setup_wait(uintptr_t address, uint32_t mask, uint32_t value, uint32_t polls)
{
    while (polls-- > 0) {
        if ((REGISTER(address) & mask) == value) {
            return true;
        }
    }
    return false;
}

/* Stops at the first wait that is in vain, and returns false. */
static bool take(const setup_step_t *steps, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const setup_step_t step = steps[i];
        if ((step.clear | step.set) != 0) {
            REGISTER(step.address) = (REGISTER(step.address) & ~step.clear) | step.set;
            /* A peripheral answers some clocks after it is switched on, about as long as this takes. */
            (void)REGISTER(step.address);
        }
        if (!setup_wait(step.address, step.mask, step.value, STEP_POLLS)) {
            return false;
        }
    }
    return true;
}

void port_init(void)
{
    const bool is_fast = take(clock_steps, sizeof clock_steps / sizeof clock_steps[0]);

    (void)take(uart_steps, sizeof uart_steps / sizeof uart_steps[0]);
    uart_start(is_fast ? PORT_UART_HZ : PORT_UART_HZ_AT_RESET);
    ticks_start();
}
