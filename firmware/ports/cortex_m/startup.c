/* SPDX-License-Identifier: Apache-2.0 */
/* Vector table and start-up of every Cortex-M. */
#include <stdint.h>

#include "core.h"
#include "fault.h"

#define SCB_VTOR (*(volatile uint32_t *)0xE000ED08u)
#define SCB_CFSR (*(volatile uint32_t *)0xE000ED28u)

#define MPU_TYPE (*(volatile uint32_t *)0xE000ED90u)
#define MPU_CTRL (*(volatile uint32_t *)0xE000ED94u)
#define MPU_RBAR (*(volatile uint32_t *)0xE000ED9Cu)
#define MPU_RASR (*(volatile uint32_t *)0xE000EDA0u)

#define SCB_CCR (*(volatile uint32_t *)0xE000ED14u)
#define SCB_CLIDR (*(volatile uint32_t *)0xE000ED78u)
#define SCB_CCSIDR (*(volatile uint32_t *)0xE000ED80u)
#define SCB_CSSELR (*(volatile uint32_t *)0xE000ED84u)
#define SCB_ICIALLU (*(volatile uint32_t *)0xE000EF50u)
#define SCB_DCISW (*(volatile uint32_t *)0xE000EF60u)

#define CCR_DC (1u << 16)
#define CCR_IC (1u << 17)
#define CLIDR_INSTRUCTION (1u << 0) /* bits 2:0: 1 instruction, 2 data, 3 both */
#define CLIDR_DATA (1u << 1)

#define TYPE_DREGION (0xFFu << 8)
#define CTRL_ENABLE_OVER_DEFAULT_MAP 5u
#define RBAR_REGION_0 (1u << 4)
#define RASR_NO_ACCESS_8_KB ((1u << 28) | (12u << 1) | 1u)
#define GUARD_BYTES 0x2000u

/* The processor wants the table at a multiple of its size, rounded up to a power of two. */
#define TABLE_ALIGNMENT (PORT_IRQ_COUNT > 112 ? 1024 : 512)

__attribute__((noreturn)) void port_reset(void);

typedef void (*vector_t)(void);

/*
 * The firmware enables no interrupt but SysTick's; another that comes is a fault. PORT_IRQ_COUNT is in the
 * board's TOML: a table that is too short would hand the chip code as addresses.
 */
struct vector_table {
    uint8_t *initial_stack;
    vector_t core[15];
    vector_t irq[PORT_IRQ_COUNT];
};

/* __extension__: C11 has no designator for a range, and how many interrupts there are is the board's to say. */
__extension__ __attribute__((section(".vectors"), used, aligned(TABLE_ALIGNMENT))) const struct vector_table port_vectors = {
    .initial_stack = port_stack_top,
    .core = {port_reset, [1 ... 13] = port_fault_entry, port_systick},
    .irq = {[0 ... PORT_IRQ_COUNT - 1] = port_fault_entry},
};

/*
 * In assembly because nothing may be assumed yet: a boot loader that jumps here may have left its own
 * stack, and code that the compiler writes may use the FPU or Helium, which are off after reset (CPACR:
 * full access to coprocessors 10 and 11, which are both).
 */
__attribute__((naked)) void port_reset(void)
{
    __asm__ volatile("cpsid i\n"
                     "ldr r0, =port_stack_top\n"
                     "msr msp, r0\n"
                     "movs r0, #0\n"
                     "msr control, r0\n"
                     "isb\n"
#if defined(__ARM_FP) || defined(__ARM_FEATURE_MVE)
                     "ldr r0, =0xE000ED88\n"
                     "ldr r1, [r0]\n"
                     "orr r1, r1, #0x00F00000\n"
                     "str r1, [r0]\n"
                     "dsb\n"
                     "isb\n"
#endif
                     "bl core_start\n"
                     ".ltorg\n");
}

/*
 * Cores of ARMv7-M: forbids the 8 KB below the stack, and with them below the RAM. Where nothing is there
 * an access may fault by itself, but not everywhere: QEMU's mps2-an386 ignores it. Cores of ARMv8-M have
 * a register for the stack's end. The Cortex-M0 has neither; nothing lies below its RAM.
 */
static void guard_stack(void)
{
#if defined(__ARM_ARCH_7M__) || defined(__ARM_ARCH_7EM__)
    if ((MPU_TYPE & TYPE_DREGION) == 0) {
        return;
    }
    MPU_CTRL = 0;
    MPU_RBAR = ((uint32_t)(uintptr_t)port_stack_bottom - GUARD_BYTES) | RBAR_REGION_0;
    MPU_RASR = RASR_NO_ACCESS_8_KB;
    MPU_CTRL = CTRL_ENABLE_OVER_DEFAULT_MAP;
    __asm__ volatile("dsb\n isb" : : : "memory");
#elif defined(__ARM_ARCH_8M_MAIN__) || defined(__ARM_ARCH_8_1M_MAIN__)
    __asm__ volatile("msr msplim, %0" : : "r"(port_stack_bottom));
#endif
}

#if defined(__ARM_ARCH_7EM__) || defined(__ARM_ARCH_8_1M_MAIN__)
static void barrier(void)
{
    __asm__ volatile("dsb\n isb" : : : "memory");
}

/* What the data cache holds after a reset is nobody's: each line, by set and way (ARMv7-M B2.2, B3.2). */
static void forget_data_cache(void)
{
    SCB_CSSELR = 0; /* the data cache of level 1 */
    barrier();
    const uint32_t size = SCB_CCSIDR;
    const uint32_t set_shift = (size & 7u) + 4, last_set = (size >> 13) & 0x7FFFu, last_way = (size >> 3) & 0x3FFu;
    const uint32_t way_shift = last_way == 0 ? 0 : (uint32_t)__builtin_clz(last_way);

    for (uint32_t set = 0; set <= last_set; set++) {
        for (uint32_t way = 0; way <= last_way; way++) {
            SCB_DCISW = set << set_shift | way << way_shift;
        }
    }
}

/* A Cortex-M7 has caches of either kind, or none; a boot loader may have them on already. */
static void enable_caches(void)
{
    const uint32_t there = SCB_CLIDR, on = SCB_CCR;

    if ((there & CLIDR_INSTRUCTION) != 0 && (on & CCR_IC) == 0) {
        SCB_ICIALLU = 0;
        barrier();
        SCB_CCR |= CCR_IC;
    }
    if ((there & CLIDR_DATA) != 0 && (on & CCR_DC) == 0) {
        forget_data_cache();
        barrier();
        SCB_CCR |= CCR_DC;
    }
    barrier();
}
#else
static void enable_caches(void)
{
}
#endif

/* A Cortex-M0 has no VTOR, its table is where it starts from, and it keeps no fault flags. */
void core_init(void)
{
#if !defined(__ARM_ARCH_6M__)
    SCB_VTOR = (uint32_t)(uintptr_t)&port_vectors;
    /* Fault flags stay until they are cleared; the fault handler relies on a clean start. */
    SCB_CFSR = UINT32_MAX;
#endif
    guard_stack();
    enable_caches();
}
