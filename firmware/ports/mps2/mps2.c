/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arm's MPS2 and MPS3 FPGA images, which QEMU emulates: the counters of the FPGA's I/O block (FPGAIO) as
 * tick counter, CMSDK UART 0 (Cortex-M System Design Kit, Technical Reference Manual).
 *
 * The images differ in where both lie and in the clock of both, which are definitions in a board's TOML:
 * PORT_FPGAIO_BASE, PORT_UART_BASE, PORT_CLOCK_HZ.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "port.h"

#define REGISTER(address) (*(volatile uint32_t *)(address))

#define FPGAIO_CLK100HZ REGISTER(PORT_FPGAIO_BASE + 0x14u)
#define FPGAIO_COUNTER REGISTER(PORT_FPGAIO_BASE + 0x18u)
#define FPGAIO_PRESCALE REGISTER(PORT_FPGAIO_BASE + 0x1Cu)

#define UART_DATA REGISTER(PORT_UART_BASE + 0x00u)
#define UART_STATE REGISTER(PORT_UART_BASE + 0x04u)
#define UART_CTRL REGISTER(PORT_UART_BASE + 0x08u)
#define UART_BAUDDIV REGISTER(PORT_UART_BASE + 0x10u)

#define STATE_TX_FULL (1u << 0)
#define STATE_RX_FULL (1u << 1)
#define UART_CTRL_TX (1u << 0)
#define UART_CTRL_RX (1u << 1)

#define BAUD 115200u

/* Hundredths of a second after which the counter of 32 bits starts again from 0, rounded down. */
#define WRAP_CENTISECONDS ((uint32_t)((1ull << 32) / (PORT_CLOCK_HZ / 100u)))

/* Far more polls than a byte needs. */
#define TRANSMIT_POLLS 1000000u

void port_init(void)
{
    FPGAIO_PRESCALE = 0;
    port_ticks_restart();

    UART_BAUDDIV = PORT_CLOCK_HZ / BAUD;
    UART_CTRL = UART_CTRL_TX | UART_CTRL_RX;
}

void port_ticks_restart(void)
{
    FPGAIO_CLK100HZ = 0;
    FPGAIO_COUNTER = 0;
}

uint32_t port_ticks(void)
{
    return FPGAIO_COUNTER;
}

/* The slow counter tells the turns of the fast one apart; near the turn the fast one says on which side. */
bool port_ticks_wrapped(void)
{
    const uint32_t centiseconds = FPGAIO_CLK100HZ;

    return centiseconds > WRAP_CENTISECONDS + 1 ||
           (centiseconds >= WRAP_CENTISECONDS - 1 && FPGAIO_COUNTER < (1u << 31));
}

static bool uart_read(void *context, uint8_t *data, size_t bytes)
{
    (void)context;
    for (size_t i = 0; i < bytes; i++) {
        while ((UART_STATE & STATE_RX_FULL) == 0) {
        }
        data[i] = (uint8_t)UART_DATA;
    }
    return true;
}

static bool uart_write(void *context, const uint8_t *data, size_t bytes)
{
    (void)context;
    for (size_t i = 0; i < bytes; i++) {
        uint32_t polls = TRANSMIT_POLLS;
        while ((UART_STATE & STATE_TX_FULL) != 0) {
            if (--polls == 0) {
                return false;
            }
        }
        UART_DATA = data[i];
    }
    return true;
}

const link_transport_t port_uart = {uart_read, uart_write, NULL};
