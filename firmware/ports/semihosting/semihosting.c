/* SPDX-License-Identifier: Apache-2.0 */
/* The operations are the same on every core; only the instruction that asks for one is not. */
#include "semihosting.h"

#include <stddef.h>

#include "semihosting_call.h"

/* Operations and constants of Arm's semihosting specification. */
enum {
    SYS_OPEN = 0x01,
    SYS_WRITE0 = 0x04,
    SYS_WRITE = 0x05,
    SYS_READ = 0x06,
    SYS_EXIT_EXTENDED = 0x20
};

#define OPEN_READ 1u   /* "rb" */
#define OPEN_WRITE 5u  /* "wb" */
#define STOPPED_APPLICATION_EXIT 0x20026u

static uint32_t handle_in;
static uint32_t handle_out;

static uint32_t address(const void *pointer)
{
    return (uint32_t)(uintptr_t)pointer;
}

/* ":tt" is the console: standard input opened for reading, standard output opened for writing. */
static uint32_t open_console(uint32_t mode)
{
    static const char name[] = ":tt";
    const uint32_t argument[] = {address(name), mode, sizeof name - 1};

    return semihosting_call(SYS_OPEN, argument);
}

/* SYS_READ and SYS_WRITE both return how many bytes are left to do, and both may fall short. */
static bool transfer(uint32_t operation, uint32_t handle, const uint8_t *data, size_t bytes)
{
    while (bytes > 0) {
        const uint32_t argument[] = {handle, address(data), (uint32_t)bytes};
        size_t left = semihosting_call(operation, argument);
        if (left >= bytes) {
            return false;
        }
        data += bytes - left;
        bytes = left;
    }
    return true;
}

static bool stream_read(void *context, uint8_t *data, size_t bytes)
{
    (void)context;
    return transfer(SYS_READ, handle_in, data, bytes);
}

static bool stream_write(void *context, const uint8_t *data, size_t bytes)
{
    (void)context;
    return transfer(SYS_WRITE, handle_out, data, bytes);
}

const link_transport_t semihosting_stream = {stream_read, stream_write, NULL};

bool semihosting_open(void)
{
    if (!semihosting_may_call()) {
        return false;
    }
    handle_in = open_console(OPEN_READ);
    if (handle_in == SEMIHOSTING_NOBODY) {
        return false;
    }
    handle_out = open_console(OPEN_WRITE);
    return handle_out != SEMIHOSTING_NOBODY;
}

void semihosting_report(const char *line)
{
    semihosting_call(SYS_WRITE0, line);
    semihosting_call(SYS_WRITE0, "\n");
}

void semihosting_exit(uint32_t code)
{
    const uint32_t argument[] = {STOPPED_APPLICATION_EXIT, code};

    for (;;) {
        semihosting_call(SYS_EXIT_EXTENDED, argument);
    }
}
