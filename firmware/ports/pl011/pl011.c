/* SPDX-License-Identifier: Apache-2.0 */
/* Arm's PrimeCell UART PL011 (DDI 0183), as the RP2040 has it (RP2040 datasheet, 4.2). */
#include "port.h"
#include "port_setup.h"
#include "setup.h"

#define UART_DR REGISTER(PORT_UART_BASE + 0x00u)
#define UART_AT_FR (PORT_UART_BASE + 0x18u)
#define UART_FR REGISTER(UART_AT_FR)
#define UART_IBRD REGISTER(PORT_UART_BASE + 0x24u)
#define UART_FBRD REGISTER(PORT_UART_BASE + 0x28u)
#define UART_LCR_H REGISTER(PORT_UART_BASE + 0x2Cu)
#define UART_CR REGISTER(PORT_UART_BASE + 0x30u)

#define FR_RX_EMPTY (1u << 4)
#define FR_TX_FULL (1u << 5)
#define LCR_H_FIFO_8_BITS 0x70u
#define CR_ENABLE_TX_RX 0x301u

/* The divisor is hertz / (16 * BAUD) in 64ths; writing LCR_H makes it take effect. */
void uart_start(uint32_t hertz)
{
    const uint32_t divisor = (8u * hertz / BAUD + 1) / 2;

    UART_CR = 0;
    UART_IBRD = divisor >> 6;
    UART_FBRD = divisor & 63u;
    UART_LCR_H = LCR_H_FIFO_8_BITS;
    UART_CR = CR_ENABLE_TX_RX;
}

static bool uart_read(void *context, uint8_t *data, size_t bytes)
{
    (void)context;
    for (size_t i = 0; i < bytes; i++) {
        while ((UART_FR & FR_RX_EMPTY) != 0) {
        }
        data[i] = (uint8_t)UART_DR;
    }
    return true;
}

static bool uart_write(void *context, const uint8_t *data, size_t bytes)
{
    (void)context;
    for (size_t i = 0; i < bytes; i++) {
        if (!setup_wait(UART_AT_FR, FR_TX_FULL, 0, TRANSMIT_POLLS)) {
            return false;
        }
        UART_DR = data[i];
    }
    return true;
}

const link_transport_t port_uart = {uart_read, uart_write, NULL};
