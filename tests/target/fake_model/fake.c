/* SPDX-License-Identifier: Apache-2.0 */
#include "fake.h"

#include <string.h>

/* In the arena: masks, then the output. */
#define OUTPUT_OFFSET 16

#if defined(__arm__)
/* Two or a thousand instructions a round. */
static void idle(uint32_t rounds, bool are_long)
{
    if (rounds == 0) {
        return;
    }
    if (are_long) {
        __asm__ volatile("1: .rept 998\n nop\n .endr\n subs %0, %0, #1\n bne.w 1b\n"
                         : "+r"(rounds) : : "cc");
    } else {
        __asm__ volatile("1: subs %0, %0, #1\n bne 1b\n" : "+r"(rounds) : : "cc");
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
    if (how == FAKE_UNDEFINED) {
        __asm__ volatile("udf #1");
    } else if (how == FAKE_OVERFLOW) {
        (void)overflow_earlier(8u * amount);
    } else if (how == FAKE_WILD_JUMP) {
        ((void (*)(void))0xA0000001u)();
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
        masks[i] = mode == ACS_OPEN ? 1 : (uint8_t)input[i] & 1;
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
