/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Cortex-M's SysTick (ARMv6-M B3.3, ARMv7-M B3.3, ARMv8-M B14) as tick counter: a tick is a cycle of
 * the core. Every Cortex-M has one, with 24 bits; its interrupt, the only one that the firmware lets
 * through, counts how often they have run out, so that there are 32. That is some 30 cycles in 16 million.
 */
#include "fault.h"
#include "port.h"
#include "setup.h"

#define SYST_CSR REGISTER(0xE000E010u)
#define SYST_RVR REGISTER(0xE000E014u)
#define SYST_CVR REGISTER(0xE000E018u)
#define NVIC_ICER(i) REGISTER(0xE000E180u + 4u * (i))
#define SCB_ICSR REGISTER(0xE000ED04u)

#define CSR_ENABLE_INTERRUPT_CORE_CLOCK 7u
#define ICSR_PENDSTCLR (1u << 25)
#define ICSR_PENDSTSET (1u << 26)

#define TURN_BITS 24
#define TURN_MASK ((1u << TURN_BITS) - 1u)

static volatile uint32_t turns;

/* The vector of the exception SysTick. */
void port_systick(void)
{
    turns = turns + 1;
}

static void forbid_interrupts(void)
{
    __asm__ volatile("cpsid i" : : : "memory");
}

static void allow_interrupts(void)
{
    __asm__ volatile("cpsie i\n isb" : : : "memory");
}

void ticks_start(void)
{
    for (uint32_t i = 0; i < (PORT_IRQ_COUNT + 31u) / 32u; i++) {
        NVIC_ICER(i) = UINT32_MAX; /* what a boot loader may have left on */
    }
    SYST_RVR = TURN_MASK;
    SYST_CSR = CSR_ENABLE_INTERRUPT_CORE_CLOCK;
    port_ticks_restart();
}

void port_ticks_restart(void)
{
    forbid_interrupts();
    turns = 0;
    SYST_CVR = 0; /* any value clears it, without an interrupt */
    SCB_ICSR = ICSR_PENDSTCLR;
    allow_interrupts();
}

/* The counter has 0 when a turn ends. One that ended and is not counted yet is pending. */
static uint64_t elapsed(void)
{
    forbid_interrupts();
    uint32_t now = SYST_CVR;
    uint32_t ended = turns;
    if ((SCB_ICSR & ICSR_PENDSTSET) != 0) {
        now = SYST_CVR; /* it may have ended after the reading above */
        ended++;
    }
    allow_interrupts();
    return ((uint64_t)ended << TURN_BITS) | ((0u - now) & TURN_MASK);
}

uint32_t port_ticks(void)
{
    return (uint32_t)elapsed();
}

bool port_ticks_wrapped(void)
{
    return elapsed() >> 32 != 0;
}
