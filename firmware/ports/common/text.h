/* SPDX-License-Identifier: Apache-2.0 */
/** text.h: writes text into memory piece by piece, for a line that says why the firmware stopped. */
#ifndef TEXT_H
#define TEXT_H

#include <stdint.h>

/**
 * Copies `text` to `to`, without the 0 at its end.
 *
 * @return where the next piece goes
 */
char *text_put(char *to, const char *text);

/** Writes `label` and eight hexadecimal digits. Returns as text_put(). */
char *text_put_hex(char *to, const char *label, uint32_t value);

#endif /* TEXT_H */
