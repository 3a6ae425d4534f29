/* SPDX-License-Identifier: Apache-2.0 */
#ifndef APP_MODEL_H
#define APP_MODEL_H

#include "fake.h"

#define APP_MODEL fake_model
#define APP_ARENA_BYTES FAKE_ARENA_BYTES
#define APP_INPUT_BYTES FAKE_INPUT_BYTES
#define APP_OUTPUT_BYTES FAKE_OUTPUT_BYTES

#endif /* APP_MODEL_H */
