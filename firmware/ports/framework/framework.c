/* SPDX-License-Identifier: Apache-2.0 */
#include "framework.h"

#include <string.h>

#include "port.h"

/* The board's `ticks.hertz`: a host need not know whether this port or the bare one is running. */
#ifndef PORT_TICK_HERTZ
#error "PORT_TICK_HERTZ is missing: ticks.hertz of the board"
#endif

#define MICROSECONDS_PER_SECOND 1000000u

static uint32_t start;

static uint64_t ticks_since_restart(void)
{
    const uint32_t elapsed = framework_microseconds() - start;

    return (uint64_t)elapsed * PORT_TICK_HERTZ / MICROSECONDS_PER_SECOND;
}

void port_ticks_restart(void)
{
    start = framework_microseconds();
}

uint32_t port_ticks(void)
{
    return (uint32_t)ticks_since_restart();
}

/* A run of more than 71 minutes, after which the microseconds begin anew, goes unnoticed. */
bool port_ticks_wrapped(void)
{
    return ticks_since_restart() > UINT32_MAX;
}

const link_transport_t *port_link(void)
{
    return &port_uart;
}

void port_exit(uint32_t code, const char *reason)
{
    (void)code; /* nobody to tell it to */
    if (reason != NULL) {
        const link_header_t header = {LINK_VERSION, LINK_FAULT | LINK_RESPONSE, LINK_STOPPED, 0,
                                      (uint32_t)strlen(reason)};
        /* Halts all the same if the link refuses. */
        (void)!link_write_frame(&port_uart, &header, reason);
    }
    for (;;) {
        framework_idle();
    }
}
