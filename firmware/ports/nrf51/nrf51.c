/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nRF51 (nRF51 Series Reference Manual 3.0): TIMER0 as tick counter, UART at 115200 8N1 on the pins that
 * the board's TOML names: PORT_UART_TX_PIN, PORT_UART_RX_PIN.
 *
 * TIMER0 is the only timer of 32 bits, and runs at the clock of the core, so on a board a tick is a cycle.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "port.h"

#define REGISTER(address) (*(volatile uint32_t *)(address))

#define CLOCK_HFCLKSTART REGISTER(0x40000000u)
#define CLOCK_HFCLKSTARTED REGISTER(0x40000100u)

#define TIMER0_START REGISTER(0x40008000u)
#define TIMER0_CLEAR REGISTER(0x4000800Cu)
#define TIMER0_CAPTURE0 REGISTER(0x40008040u)
#define TIMER0_COMPARE1 REGISTER(0x40008144u)
#define TIMER0_BITMODE REGISTER(0x40008508u)
#define TIMER0_PRESCALER REGISTER(0x40008510u)
#define TIMER0_CC0 REGISTER(0x40008540u)
#define TIMER0_CC1 REGISTER(0x40008544u)

#define BITMODE_32 3u

#define UART_STARTRX REGISTER(0x40002000u)
#define UART_STARTTX REGISTER(0x40002008u)
#define UART_RXDRDY REGISTER(0x40002108u)
#define UART_TXDRDY REGISTER(0x4000211Cu)
#define UART_ENABLE REGISTER(0x40002500u)
#define UART_PSELTXD REGISTER(0x4000250Cu)
#define UART_PSELRXD REGISTER(0x40002514u)
#define UART_RXD REGISTER(0x40002518u)
#define UART_TXD REGISTER(0x4000251Cu)
#define UART_BAUDRATE REGISTER(0x40002524u)

#define ENABLE_UART 4u
#define BAUD_115200 0x01D7E000u

#define GPIO_OUTSET REGISTER(0x50000508u)
#define GPIO_PIN_CNF(pin) REGISTER(0x50000700u + 4u * (pin))

#define PIN_OUTPUT 3u            /* output, input buffer disconnected */
#define PIN_INPUT_PULL_UP 0x0Cu  /* an open RX pin reads as an idle line */

/* Far more polls than an oscillator or a byte needs; an emulator without a clock never says "started". */
#define CLOCK_POLLS 20000u
#define TRANSMIT_POLLS 1000000u

static bool wait_for(const volatile uint32_t *event, uint32_t polls)
{
    while (polls-- > 0) {
        if (*event != 0) {
            return true;
        }
    }
    return false;
}

/* The crystal: the internal oscillator, with which the chip starts, may be too far off for the UART. */
static void use_crystal(void)
{
    CLOCK_HFCLKSTARTED = 0;
    CLOCK_HFCLKSTART = 1;
    (void)wait_for(&CLOCK_HFCLKSTARTED, CLOCK_POLLS);
}

static void start_timer(void)
{
    TIMER0_BITMODE = BITMODE_32;
    TIMER0_PRESCALER = 0;
    TIMER0_CC1 = UINT32_MAX;
    port_ticks_restart();
    TIMER0_START = 1;
}

static void start_uart(void)
{
    GPIO_OUTSET = 1u << PORT_UART_TX_PIN;
    GPIO_PIN_CNF(PORT_UART_TX_PIN) = PIN_OUTPUT;
    GPIO_PIN_CNF(PORT_UART_RX_PIN) = PIN_INPUT_PULL_UP;
    UART_PSELTXD = PORT_UART_TX_PIN;
    UART_PSELRXD = PORT_UART_RX_PIN;
    UART_BAUDRATE = BAUD_115200;
    UART_ENABLE = ENABLE_UART;
    UART_RXDRDY = 0;
    UART_STARTRX = 1;
    UART_STARTTX = 1;
}

void port_init(void)
{
    use_crystal();
    start_timer();
    start_uart();
}

void port_ticks_restart(void)
{
    TIMER0_CLEAR = 1;
    TIMER0_COMPARE1 = 0;
}

uint32_t port_ticks(void)
{
    TIMER0_CAPTURE0 = 1;
    return TIMER0_CC0;
}

/* The timer notes when it reaches its last value, one tick before it starts again from 0. */
bool port_ticks_wrapped(void)
{
    return TIMER0_COMPARE1 != 0;
}

static bool uart_read(void *context, uint8_t *data, size_t bytes)
{
    (void)context;
    for (size_t i = 0; i < bytes; i++) {
        while (UART_RXDRDY == 0) {
        }
        UART_RXDRDY = 0; /* before the byte is taken: that may bring the next one up, which sets it again */
        data[i] = (uint8_t)UART_RXD;
    }
    return true;
}

static bool uart_write(void *context, const uint8_t *data, size_t bytes)
{
    (void)context;
    for (size_t i = 0; i < bytes; i++) {
        UART_TXDRDY = 0;
        UART_TXD = data[i];
        if (!wait_for(&UART_TXDRDY, TRANSMIT_POLLS)) {
            return false;
        }
    }
    return true;
}

const link_transport_t port_uart = {uart_read, uart_write, NULL};
