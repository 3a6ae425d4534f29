/* SPDX-License-Identifier: Apache-2.0 */
/*
 * QEMU's Xtensa machine "sim", which no chip is like: what only a host can do is asked for with SIMCALL;
 * CCOUNT as tick counter. The machine has no UART.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "port.h"
#include "semihosting.h"
#include "sr.h"

/* Operations, and the emulator's own files. */
enum { SIM_EXIT = 1, SIM_READ = 3, SIM_WRITE = 4 };
enum { STANDARD_INPUT = 0, STANDARD_OUTPUT = 1, STANDARD_ERROR = 2 };

#define INTERRUPT_TIMER0 (1u << 6) /* of the lx106 */

static int32_t simcall(uint32_t operation, uint32_t first, const void *data, size_t bytes)
{
    register uint32_t a2 __asm__("a2") = operation;
    register uint32_t a3 __asm__("a3") = first;
    register const void *a4 __asm__("a4") = data;
    register size_t a5 __asm__("a5") = bytes;

    __asm__ volatile("simcall" : "+r"(a2), "+r"(a3) : "r"(a4), "r"(a5) : "memory");
    return (int32_t)a2;
}

/* Both operations return how many bytes are done, which may be fewer, or -1. */
static bool transfer(uint32_t operation, uint32_t file, const uint8_t *data, size_t bytes)
{
    while (bytes > 0) {
        const int32_t done = simcall(operation, file, data, bytes);
        if (done <= 0) {
            return false;
        }
        data += done;
        bytes -= (size_t)done;
    }
    return true;
}

static bool stream_read(void *context, uint8_t *data, size_t bytes)
{
    (void)context;
    return transfer(SIM_READ, STANDARD_INPUT, data, bytes);
}

static bool stream_write(void *context, const uint8_t *data, size_t bytes)
{
    (void)context;
    return transfer(SIM_WRITE, STANDARD_OUTPUT, data, bytes);
}

const link_transport_t semihosting_stream = {stream_read, stream_write, NULL};

/* An emulator that serves no SIMCALL takes it for an illegal instruction, and then nothing is heard. */
bool semihosting_open(void)
{
    return true;
}

void semihosting_report(const char *line)
{
    (void)!transfer(SIM_WRITE, STANDARD_ERROR, (const uint8_t *)line, strlen(line));
    (void)!transfer(SIM_WRITE, STANDARD_ERROR, (const uint8_t *)"\n", 1);
}

void semihosting_exit(uint32_t code)
{
    for (;;) {
        (void)simcall(SIM_EXIT, code, NULL, 0);
    }
}

static bool no_uart_read(void *context, uint8_t *data, size_t bytes)
{
    (void)context;
    (void)data;
    (void)bytes;
    return false;
}

static bool no_uart_write(void *context, const uint8_t *data, size_t bytes)
{
    (void)context;
    (void)data;
    (void)bytes;
    return false;
}

const link_transport_t port_uart = {no_uart_read, no_uart_write, NULL};

void port_init(void)
{
    port_ticks_restart();
}

/* The timer compares CCOUNT with the last value that it takes; writing that also clears its flag. */
void port_ticks_restart(void)
{
    SR_WRITE(ccount, 0);
    SR_WRITE(ccompare0, UINT32_MAX);
}

uint32_t port_ticks(void)
{
    return SR_READ(ccount);
}

bool port_ticks_wrapped(void)
{
    return (SR_READ(interrupt) & INTERRUPT_TIMER0) != 0;
}
