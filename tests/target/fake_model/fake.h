/* SPDX-License-Identifier: Apache-2.0 */
/**
 * fake.h: a model for tests of everything that surrounds a model.
 *
 * The output is the input backwards. The masks are bit 0 of the first four bytes of the input, or all 1
 * in mode ACS_OPEN; in mode ACS_BUDGET a raised threshold makes a 0. The observer sees tensor 5, the input,
 * and tensor 7, the output. Before all this the model idles for as many rounds of two instructions as the
 * first four bytes say, little endian. The last byte asks for trouble, or for long rounds.
 */
#ifndef FAKE_H
#define FAKE_H

#include "acs.h"

#define FAKE_ARENA_BYTES 64
#define FAKE_INPUT_BYTES 16
#define FAKE_OUTPUT_BYTES 16
#define FAKE_MASK_BYTES 4

/** What the last byte of the input may ask for. */
enum {
    FAKE_REFUSE = 101,    /**< run() returns false. */
    FAKE_UNDEFINED = 102, /**< An undefined instruction. */
    FAKE_OVERFLOW = 103,  /**< The stack overflows, first byte times 8 bytes earlier. */
    FAKE_WILD_JUMP = 104, /**< A jump to where there is no memory. */
    FAKE_LONG_ROUNDS = 105 /**< Rounds of a thousand instructions, which emulate faster. */
};

extern const acs_model_t fake_model;

#endif /* FAKE_H */
