/* SPDX-License-Identifier: Apache-2.0 */
#include "fake.h"

#include <string.h>

/* In the arena: masks, then the output. */
#define OUTPUT_OFFSET 16

/*
 * Loops of two and of a thousand instructions, an instruction that does not exist, and an address where
 * there is nothing. On the host none of them is needed.
 */
#if defined(__arm__)
#define IDLE ".syntax unified\n1: subs %0, %0, #1\n bne 1b\n"
#define IDLE_LONG ".syntax unified\n1: .rept 997\n nop\n .endr\n subs %0, %0, #1\n beq 2f\n b 1b\n 2:\n"
#define UNDEFINED ".short 0xde01"
#define NOWHERE 0xA0000001u
#elif defined(__riscv)
#define IDLE "1: addi %0, %0, -1\n bnez %0, 1b\n"
#define IDLE_LONG "1: .rept 997\n nop\n .endr\n addi %0, %0, -1\n beqz %0, 2f\n j 1b\n 2:\n"
#define UNDEFINED ".word 0"
#define NOWHERE 0xA0000000u
#elif defined(__xtensa__)
#define IDLE "1: addi %0, %0, -1\n bnez %0, 1b\n"
#define IDLE_LONG "1: .rept 997\n nop\n .endr\n addi %0, %0, -1\n beqz %0, 2f\n j 1b\n 2:\n"
#define UNDEFINED "ill"
#define NOWHERE 0xA0000000u
#endif

#if defined(IDLE)
/* By itself: the compiler takes the loop for a few bytes, and would branch across it. */
__attribute__((noinline)) static void idle_long(uint32_t rounds)
{
    __asm__ volatile(IDLE_LONG : "+r"(rounds) : : "cc");
}

static void idle(uint32_t rounds, bool are_long)
{
    if (rounds == 0) {
        return;
    }
    if (are_long) {
        idle_long(rounds);
    } else {
        __asm__ volatile(IDLE : "+r"(rounds) : : "cc");
    }
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Winfinite-recursion"
static uint32_t overflow(uint32_t depth)
{
    volatile uint32_t frame[64];

    frame[depth % 64] = depth;
    return overflow(depth + 1) + frame[(depth + 1) % 64];
}
#pragma GCC diagnostic pop

/* Puts the end of the stack at another place of a frame. */
static uint32_t overflow_earlier(size_t bytes)
{
    volatile uint8_t *space = __builtin_alloca(bytes + 8);

    space[0] = 1;
    return overflow(0) + space[0];
}

static void go_wrong(int8_t how, uint8_t amount)
{
    void (*volatile nowhere)(void) = (void (*)(void))NOWHERE; /* volatile: not as far as a call reaches */

    if (how == FAKE_UNDEFINED) {
        __asm__ volatile(UNDEFINED);
    } else if (how == FAKE_OVERFLOW) {
        (void)overflow_earlier(8u * amount);
    } else if (how == FAKE_WILD_JUMP) {
        nowhere();
    }
}
#else
static void idle(uint32_t rounds, bool are_long)
{
    (void)rounds;
    (void)are_long;
}

static void go_wrong(int8_t how, uint8_t amount)
{
    (void)how;
    (void)amount;
}
#endif

static uint32_t rounds_of(const int8_t *input)
{
    uint32_t rounds = 0;

    for (size_t i = 0; i < 4; i++) {
        rounds |= (uint32_t)(uint8_t)input[i] << (8 * i);
    }
    return rounds;
}

static uint8_t mask_of(acs_mode_t mode, int8_t input, uint8_t given)
{
    switch (mode) {
    case ACS_OPEN:
        return 1;
    case ACS_GIVEN:
        return given;
    case ACS_BUDGET:
        return (uint8_t)input & 1 && (int8_t)given <= 0;
    default:
        return (uint8_t)input & 1;
    }
}

static bool run(void *arena, const int8_t *input, int8_t *output, acs_mode_t mode,
                const acs_observer_t *observer)
{
    uint8_t *masks = arena;
    int8_t *reversed = (int8_t *)arena + OUTPUT_OFFSET;
    int8_t trouble = input[FAKE_INPUT_BYTES - 1];

    if (trouble == FAKE_REFUSE) {
        return false;
    }
    go_wrong(trouble, (uint8_t)input[0]);
    idle(rounds_of(input), trouble == FAKE_LONG_ROUNDS);
    for (size_t i = 0; i < FAKE_MASK_BYTES; i++) {
        masks[i] = mask_of(mode, input[i], masks[i]);
    }
    for (size_t i = 0; i < FAKE_OUTPUT_BYTES; i++) {
        reversed[i] = input[FAKE_INPUT_BYTES - 1 - i];
    }
    if (observer != NULL) {
        observer->tensor(observer->context, 5, input, FAKE_INPUT_BYTES);
        observer->tensor(observer->context, 7, reversed, FAKE_OUTPUT_BYTES);
    }
    memcpy(output, reversed, FAKE_OUTPUT_BYTES);
    return true;
}

static const uint8_t *masks_of(const void *arena)
{
    return arena;
}

const acs_model_t fake_model = {
    .name = "fake",
    .fingerprint = 0x12345678u,
    .arena_bytes = FAKE_ARENA_BYTES,
    .input_bytes = FAKE_INPUT_BYTES,
    .output_bytes = FAKE_OUTPUT_BYTES,
    .mask_bytes = FAKE_MASK_BYTES,
    .tensor_count = 2,
    .run = run,
    .masks = masks_of,
};
