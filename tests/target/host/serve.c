/* SPDX-License-Identifier: Apache-2.0 */
/* The link and its server on the host: requests on standard input, responses on standard output. */
#include <stdio.h>

#include "fake.h"
#include "link_server.h"

static bool read_stdin(void *context, uint8_t *data, size_t bytes)
{
    (void)context;
    fflush(stdout); /* before it waits: a host may be waiting too */
    return fread(data, 1, bytes, stdin) == bytes;
}

static bool write_stdout(void *context, const uint8_t *data, size_t bytes)
{
    (void)context;
    return bytes == 0 || fwrite(data, 1, bytes, stdout) == bytes;
}

static void restart(void)
{
}

static uint32_t no_ticks(void)
{
    return 0;
}

static bool never(void)
{
    return false;
}

int main(void)
{
    /* Exactly as large as they must be, so that AddressSanitizer sees the first byte beyond. */
    static ACS_ALIGNED uint8_t arena[FAKE_ARENA_BYTES];
    static int8_t input[FAKE_INPUT_BYTES];
    static int8_t output[FAKE_OUTPUT_BYTES];
    static const link_counter_t counter = {restart, no_ticks, never};
    static const link_transport_t transport = {read_stdin, write_stdout, NULL};
    const link_server_t server = {&fake_model, arena, input, output, &counter};

    while (link_serve(&server, &transport) != LINK_CLOSED) {
    }
    return 0;
}
