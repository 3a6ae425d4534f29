/* SPDX-License-Identifier: Apache-2.0 */
/*
 * STM32F4 (reference manual RM0090): 16 MHz from the internal oscillator, TIM2 as tick counter, TIM5 as
 * its carry, USART1 on PA9 (TX) and PA10 (RX) at 115200 8N1.
 *
 * The internal oscillator is what the chip starts with, needs no crystal, and lets the flash be read
 * without wait states; TIM2 runs at the clock of the core, so on a board a tick is a cycle.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "port.h"

#define REGISTER(address) (*(volatile uint32_t *)(address))

#define RCC_CR REGISTER(0x40023800u)
#define RCC_CFGR REGISTER(0x40023808u)
#define RCC_AHB1ENR REGISTER(0x40023830u)
#define RCC_APB1ENR REGISTER(0x40023840u)
#define RCC_APB2ENR REGISTER(0x40023844u)

#define CR_HSION (1u << 0)
#define CR_HSIRDY (1u << 1)
#define CFGR_SWS (3u << 2)
#define AHB1ENR_GPIOA (1u << 0)
#define APB1ENR_TIM2 (1u << 0)
#define APB1ENR_TIM5 (1u << 3)
#define APB2ENR_USART1 (1u << 4)

#define GPIOA_MODER REGISTER(0x40020000u)
#define GPIOA_OTYPER REGISTER(0x40020004u)
#define GPIOA_PUPDR REGISTER(0x4002000Cu)
#define GPIOA_AFRH REGISTER(0x40020024u)

typedef struct {
    uint32_t CR1, CR2, SMCR, DIER, SR, EGR, CCMR1, CCMR2, CCER, CNT, PSC, ARR;
} timer_t;

#define TIM2 ((volatile timer_t *)0x40000000u)
#define TIM5 ((volatile timer_t *)0x40000C00u)

#define CR1_CEN (1u << 0)
#define EGR_UG (1u << 0)

#define CARRY_PRESCALER 0x10000u

#define USART1_SR REGISTER(0x40011000u)
#define USART1_DR REGISTER(0x40011004u)
#define USART1_BRR REGISTER(0x40011008u)
#define USART1_CR1 REGISTER(0x4001100Cu)
#define USART1_CR2 REGISTER(0x40011010u)
#define USART1_CR3 REGISTER(0x40011014u)

#define USART_SR_RXNE (1u << 5)
#define USART_SR_TXE (1u << 7)
#define USART_CR1_RE (1u << 2)
#define USART_CR1_TE (1u << 3)
#define USART_CR1_UE (1u << 13)

#define CLOCK_HZ 16000000u
#define BAUD 115200u

/* Far more polls than an oscillator or a byte needs; an emulator without an RCC never says "ready". */
#define CLOCK_POLLS 10000u
#define TRANSMIT_POLLS 1000000u

static bool wait_until(const volatile uint32_t *flags, uint32_t mask, uint32_t value, uint32_t polls)
{
    while (polls-- > 0) {
        if ((*flags & mask) == value) {
            return true;
        }
    }
    return false;
}

/* A boot loader may have left the PLL on. After a reset this changes nothing. */
static void use_internal_oscillator(void)
{
    RCC_CR |= CR_HSION;
    (void)wait_until(&RCC_CR, CR_HSIRDY, CR_HSIRDY, CLOCK_POLLS);
    RCC_CFGR = 0; /* system clock: HSI; no prescaler on any bus */
    (void)wait_until(&RCC_CFGR, CFGR_SWS, 0, CLOCK_POLLS);
}

static void start_peripheral_clocks(void)
{
    RCC_AHB1ENR |= AHB1ENR_GPIOA;
    RCC_APB1ENR |= APB1ENR_TIM2 | APB1ENR_TIM5;
    RCC_APB2ENR |= APB2ENR_USART1;
    (void)RCC_APB2ENR; /* erratum: a peripheral answers two clocks after it is enabled */
    (void)RCC_APB2ENR;
}

static void start_uart(void)
{
    const uint32_t pins = (3u << 18) | (3u << 20); /* PA9 and PA10, two bits each */
    const uint32_t pull_up = (1u << 18) | (1u << 20);
    const uint32_t alternate = (2u << 18) | (2u << 20);

    GPIOA_AFRH = (GPIOA_AFRH & ~0x00000FF0u) | 0x00000770u; /* function 7 is USART1 */
    GPIOA_OTYPER &= ~((1u << 9) | (1u << 10));
    GPIOA_PUPDR = (GPIOA_PUPDR & ~pins) | pull_up; /* an open RX pin reads as an idle line */
    GPIOA_MODER = (GPIOA_MODER & ~pins) | alternate;

    USART1_CR1 = 0;
    USART1_CR2 = 0;
    USART1_CR3 = 0;
    USART1_BRR = (CLOCK_HZ + BAUD / 2) / BAUD;
    USART1_CR1 = USART_CR1_UE | USART_CR1_TE | USART_CR1_RE;
}

/* A timer of 32 bits that counts every `prescaler`-th clock, upwards. */
static void start_timer(volatile timer_t *timer, uint32_t prescaler)
{
    timer->CR1 = 0;
    timer->DIER = 0;
    timer->PSC = prescaler - 1;
    timer->ARR = UINT32_MAX;
    timer->EGR = EGR_UG; /* the prescaler takes effect */
    timer->CR1 = CR1_CEN;
}

void port_init(void)
{
    use_internal_oscillator();
    start_peripheral_clocks();
    start_timer(TIM2, 1);
    start_timer(TIM5, CARRY_PRESCALER);
    start_uart();
}

void port_ticks_restart(void)
{
    TIM5->EGR = EGR_UG;
    TIM2->EGR = EGR_UG;
}

uint32_t port_ticks(void)
{
    return TIM2->CNT;
}

/*
 * Not TIM2's overflow flag: in QEMU 7.2 it stayed clear in runs that did overflow. QEMU does not restart
 * the prescaler, so there this speaks up to one count of TIM5 too early; never too late.
 */
bool port_ticks_wrapped(void)
{
    return TIM5->CNT >= (1ull << 32) / CARRY_PRESCALER;
}

static bool uart_read(void *context, uint8_t *data, size_t bytes)
{
    (void)context;
    for (size_t i = 0; i < bytes; i++) {
        while ((USART1_SR & USART_SR_RXNE) == 0) {
        }
        data[i] = (uint8_t)USART1_DR;
    }
    return true;
}

static bool uart_write(void *context, const uint8_t *data, size_t bytes)
{
    (void)context;
    for (size_t i = 0; i < bytes; i++) {
        if (!wait_until(&USART1_SR, USART_SR_TXE, USART_SR_TXE, TRANSMIT_POLLS)) {
            return false;
        }
        USART1_DR = data[i];
    }
    return true;
}

const link_transport_t port_uart = {uart_read, uart_write, NULL};
