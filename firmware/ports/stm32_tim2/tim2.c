/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TIM2 of an STM32F2, F4 or F7 as tick counter, TIM5 as its carry (reference manual RM0090, 18): for boards
 * whose emulator counts instructions with them. Both are timers of 32 bits and lie at the same place.
 */
#include "port.h"
#include "setup.h"

typedef struct {
    uint32_t CR1, CR2, SMCR, DIER, SR, EGR, CCMR1, CCMR2, CCER, CNT, PSC, ARR;
} timer_t;

#define TIM2 ((volatile timer_t *)0x40000000u)
#define TIM5 ((volatile timer_t *)0x40000C00u)

#define CR1_CEN (1u << 0)
#define EGR_UG (1u << 0)

#define RCC_APB1ENR REGISTER(0x40023840u)
#define APB1ENR_TIM2 (1u << 0)
#define APB1ENR_TIM5 (1u << 3)

#define CARRY_PRESCALER 0x10000u

/* Counts every `prescaler`-th clock, upwards. */
static void start_timer(volatile timer_t *timer, uint32_t prescaler)
{
    timer->CR1 = 0;
    timer->DIER = 0;
    timer->PSC = prescaler - 1;
    timer->ARR = UINT32_MAX;
    timer->EGR = EGR_UG; /* the prescaler takes effect */
    timer->CR1 = CR1_CEN;
}

void ticks_start(void)
{
    RCC_APB1ENR |= APB1ENR_TIM2 | APB1ENR_TIM5;
    (void)RCC_APB1ENR; /* erratum: a peripheral answers two clocks after it is enabled */
    (void)RCC_APB1ENR;
    start_timer(TIM2, 1);
    start_timer(TIM5, CARRY_PRESCALER);
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
