/* SPDX-License-Identifier: Apache-2.0 */
/*
 * USART of the STM32F1, F2, F4 and L1, with one status and one data register (RM0090, 30.6).
 */
#include "port.h"
#include "port_setup.h"
#include "setup.h"

#define USART_AT_SR (PORT_UART_BASE + 0x00u)
#define USART_SR REGISTER(USART_AT_SR)
#define USART_DR REGISTER(PORT_UART_BASE + 0x04u)
#define USART_BRR REGISTER(PORT_UART_BASE + 0x08u)
#define USART_CR1 REGISTER(PORT_UART_BASE + 0x0Cu)
#define USART_CR2 REGISTER(PORT_UART_BASE + 0x10u)
#define USART_CR3 REGISTER(PORT_UART_BASE + 0x14u)

#define FLAG_RXNE (1u << 5)
#define FLAG_TXE (1u << 7)
#define CR1_RE (1u << 2)
#define CR1_TE (1u << 3)
#define CR1_UE (1u << 13)

void uart_start(uint32_t hertz)
{
    USART_CR1 = 0;
    USART_CR2 = 0;
    USART_CR3 = 0;
    USART_BRR = (hertz + BAUD / 2) / BAUD;
    USART_CR1 = CR1_UE | CR1_TE | CR1_RE;
}

static bool uart_read(void *context, uint8_t *data, size_t bytes)
{
    (void)context;
    for (size_t i = 0; i < bytes; i++) {
        while ((USART_SR & FLAG_RXNE) == 0) {
        }
        data[i] = (uint8_t)USART_DR;
    }
    return true;
}

static bool uart_write(void *context, const uint8_t *data, size_t bytes)
{
    (void)context;
    for (size_t i = 0; i < bytes; i++) {
        if (!setup_wait(USART_AT_SR, FLAG_TXE, FLAG_TXE, TRANSMIT_POLLS)) {
            return false;
        }
        USART_DR = data[i];
    }
    return true;
}

const link_transport_t port_uart = {uart_read, uart_write, NULL};
