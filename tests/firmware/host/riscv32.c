/* SPDX-License-Identifier: Apache-2.0 */
/*
 * riscv32.c: what picolibc leaves open on QEMU's riscv32 `virt`: the host's standard input and output, and exit.
 * Both go over semihosting; the call itself is the firmware's.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "semihosting_call.h"

/* Operations of Arm's semihosting specification. */
enum { SYS_OPEN = 0x01, SYS_WRITE = 0x05, SYS_READ = 0x06, SYS_EXIT_EXTENDED = 0x20 };

#define OPEN_READ 1u  /* "rb" */
#define OPEN_WRITE 5u /* "wb" */
#define APPLICATION_EXIT 0x20026u
#define BLOCK 4096u

typedef struct {
    uint32_t handle;
    uint32_t begin, end; /* what is waiting */
    unsigned char bytes[BLOCK];
} block_t;

static block_t input, output;

static uint32_t address(const void *pointer)
{
    return (uint32_t)(uintptr_t)pointer;
}

static uint32_t open_console(uint32_t mode)
{
    static const char name[] = ":tt";
    const uint32_t argument[] = {address(name), mode, sizeof name - 1};
    return semihosting_call(SYS_OPEN, argument);
}

static int get(FILE *file)
{
    (void)file;
    if (input.begin == input.end) {
        if (input.handle == 0) {
            input.handle = open_console(OPEN_READ);
        }
        const uint32_t argument[] = {input.handle, address(input.bytes), BLOCK};
        const uint32_t left = semihosting_call(SYS_READ, argument);
        if (left >= BLOCK) {
            return EOF;
        }
        input.begin = 0;
        input.end = BLOCK - left;
    }
    return input.bytes[input.begin++];
}

static int flush(FILE *file)
{
    (void)file;
    if (output.handle == 0) {
        output.handle = open_console(OPEN_WRITE);
    }
    while (output.begin < output.end) {
        const uint32_t waiting = output.end - output.begin;
        const uint32_t argument[] = {output.handle, address(output.bytes) + output.begin, waiting};
        const uint32_t left = semihosting_call(SYS_WRITE, argument);
        if (left >= waiting) {
            return EOF;
        }
        output.begin += waiting - left;
    }
    output.begin = output.end = 0;
    return 0;
}

static int put(char byte, FILE *file)
{
    if (output.end == BLOCK && flush(file) == EOF) {
        return EOF;
    }
    output.bytes[output.end++] = (unsigned char)byte;
    return (unsigned char)byte;
}

static FILE reading = FDEV_SETUP_STREAM(NULL, get, NULL, _FDEV_SETUP_READ);
static FILE writing = FDEV_SETUP_STREAM(put, NULL, flush, _FDEV_SETUP_WRITE);
FILE *const stdin = &reading;
FILE *const stdout = &writing;
FILE *const stderr = &writing;

void _exit(int code)
{
    const uint32_t argument[] = {APPLICATION_EXIT, (uint32_t)code};
    (void)flush(stdout);
    for (;;) {
        semihosting_call(SYS_EXIT_EXTENDED, argument);
    }
}
