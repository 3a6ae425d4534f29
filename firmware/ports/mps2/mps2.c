/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arm MPS2 with the AN385, AN386 or AN500 image, which QEMU emulates: CMSDK timer 0 as tick counter,
 * CMSDK UART 0 (Cortex-M System Design Kit, Technical Reference Manual).
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "port.h"

#define REGISTER(address) (*(volatile uint32_t *)(address))

#define TIMER0_CTRL REGISTER(0x40000000u)
#define TIMER0_VALUE REGISTER(0x40000004u)
#define TIMER0_RELOAD REGISTER(0x40000008u)
#define TIMER0_INTSTATUS REGISTER(0x4000000Cu)

#define CTRL_ENABLE (1u << 0)
#define CTRL_INTERRUPT (1u << 3)
#define INTSTATUS_UNDERFLOW (1u << 0)

#define UART0_DATA REGISTER(0x40004000u)
#define UART0_STATE REGISTER(0x40004004u)
#define UART0_CTRL REGISTER(0x40004008u)
#define UART0_BAUDDIV REGISTER(0x40004010u)

#define STATE_TX_FULL (1u << 0)
#define STATE_RX_FULL (1u << 1)
#define UART_CTRL_TX (1u << 0)
#define UART_CTRL_RX (1u << 1)

#define CLOCK_HZ 25000000u
#define BAUD 115200u

/* Far more polls than a byte needs. */
#define TRANSMIT_POLLS 1000000u

/* The interrupt stays off in the NVIC; with CTRL_INTERRUPT the timer notes that it has wrapped. */
void port_init(void)
{
    TIMER0_CTRL = 0;
    TIMER0_RELOAD = UINT32_MAX;
    TIMER0_VALUE = UINT32_MAX;
    TIMER0_CTRL = CTRL_ENABLE | CTRL_INTERRUPT;

    UART0_BAUDDIV = CLOCK_HZ / BAUD;
    UART0_CTRL = UART_CTRL_TX | UART_CTRL_RX;
}

void port_ticks_restart(void)
{
    TIMER0_VALUE = UINT32_MAX;
    TIMER0_INTSTATUS = INTSTATUS_UNDERFLOW;
}

/* The timer counts down. */
uint32_t port_ticks(void)
{
    return UINT32_MAX - TIMER0_VALUE;
}

bool port_ticks_wrapped(void)
{
    return (TIMER0_INTSTATUS & INTSTATUS_UNDERFLOW) != 0;
}

static bool uart_read(void *context, uint8_t *data, size_t bytes)
{
    (void)context;
    for (size_t i = 0; i < bytes; i++) {
        while ((UART0_STATE & STATE_RX_FULL) == 0) {
        }
        data[i] = (uint8_t)UART0_DATA;
    }
    return true;
}

static bool uart_write(void *context, const uint8_t *data, size_t bytes)
{
    (void)context;
    for (size_t i = 0; i < bytes; i++) {
        uint32_t polls = TRANSMIT_POLLS;
        while ((UART0_STATE & STATE_TX_FULL) != 0) {
            if (--polls == 0) {
                return false;
            }
        }
        UART0_DATA = data[i];
    }
    return true;
}

const link_transport_t port_uart = {uart_read, uart_write, NULL};
