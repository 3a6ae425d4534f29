/* SPDX-License-Identifier: Apache-2.0 */
/* Hooks for Unicorn (UC_HOOK_CODE, UC_HOOK_MEM_READ) whose user data is a meter. */
#include "meter.h"

void unicorn_on_code(void *engine, uint64_t address, uint32_t size, void *meter);
void unicorn_on_read(void *engine, int type, uint64_t address, int size, int64_t value, void *meter);

void unicorn_on_code(void *engine, uint64_t address, uint32_t size, void *meter)
{
    (void)engine;
    (void)size;
    meter_instruction(meter, (uint32_t)address);
}

void unicorn_on_read(void *engine, int type, uint64_t address, int size, int64_t value, void *meter)
{
    (void)engine;
    (void)type;
    (void)value;
    meter_read(meter, (uint32_t)address, (uint32_t)size);
}
