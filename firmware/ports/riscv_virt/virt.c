/* SPDX-License-Identifier: Apache-2.0 */
/*
 * QEMU's machine "virt", which no chip is like: its NS16550A as UART; the core's counter of retired
 * instructions as tick counter, so that a tick is an instruction.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "csr.h"
#include "port.h"

#define UART_DATA (*(volatile uint8_t *)0x10000000u)
#define UART_FIFO_CONTROL (*(volatile uint8_t *)0x10000002u)
#define UART_LINE_STATUS (*(volatile uint8_t *)0x10000005u)

#define FIFO_ENABLE (1u << 0)
#define STATUS_RECEIVED (1u << 0)
#define STATUS_SENT (1u << 5)

/* Far more polls than a byte needs. */
#define TRANSMIT_POLLS 1000000u

static uint64_t start;

static uint64_t retired(void)
{
    for (;;) {
        const uint32_t high = CSR_READ(minstreth);
        const uint32_t low = CSR_READ(minstret);
        if (high == CSR_READ(minstreth)) {
            return ((uint64_t)high << 32) | low;
        }
    }
}

void port_init(void)
{
    UART_FIFO_CONTROL = FIFO_ENABLE;
    port_ticks_restart();
}

void port_ticks_restart(void)
{
    start = retired();
}

/* The lower word alone: the difference of two readings is the instructions between them. */
uint32_t port_ticks(void)
{
    return CSR_READ(minstret) - (uint32_t)start;
}

bool port_ticks_wrapped(void)
{
    return retired() - start > UINT32_MAX;
}

static bool uart_read(void *context, uint8_t *data, size_t bytes)
{
    (void)context;
    for (size_t i = 0; i < bytes; i++) {
        while ((UART_LINE_STATUS & STATUS_RECEIVED) == 0) {
        }
        data[i] = UART_DATA;
    }
    return true;
}

static bool uart_write(void *context, const uint8_t *data, size_t bytes)
{
    (void)context;
    for (size_t i = 0; i < bytes; i++) {
        uint32_t polls = TRANSMIT_POLLS;
        while ((UART_LINE_STATUS & STATUS_SENT) == 0) {
            if (--polls == 0) {
                return false;
            }
        }
        UART_DATA = data[i];
    }
    return true;
}

const link_transport_t port_uart = {uart_read, uart_write, NULL};
