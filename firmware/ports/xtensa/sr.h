/* SPDX-License-Identifier: Apache-2.0 */
/** sr.h: access to special registers. */
#ifndef SR_H
#define SR_H

#include <stdint.h>

#define SR_WRITE(name, value) \
    __asm__ volatile("wsr." #name " %0\nesync" : : "r"((uint32_t)(value)) : "memory")

#define SR_READ(name) \
    __extension__({ \
        uint32_t sr_value; \
        __asm__ volatile("rsr." #name " %0" : "=r"(sr_value) : : "memory"); \
        sr_value; \
    })

#endif /* SR_H */
