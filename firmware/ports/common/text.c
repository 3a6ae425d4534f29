/* SPDX-License-Identifier: Apache-2.0 */
#include "text.h"

char *text_put(char *to, const char *text)
{
    while (*text != '\0') {
        *to++ = *text++;
    }
    return to;
}

char *text_put_hex(char *to, const char *label, uint32_t value)
{
    to = text_put(to, label);
    for (int shift = 28; shift >= 0; shift -= 4) {
        *to++ = "0123456789abcdef"[(value >> shift) & 15u];
    }
    return to;
}
