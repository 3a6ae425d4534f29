/* SPDX-License-Identifier: Apache-2.0 */
/* The way to the host: semihosting where it is served, else the chip's UART. */
#include <string.h>

#include "port.h"
#include "semihosting.h"

static const link_transport_t *chosen;

const link_transport_t *port_link(void)
{
    if (chosen == NULL) {
        chosen = semihosting_open() ? &semihosting_stream : &port_uart;
    }
    return chosen;
}

void port_exit(uint32_t code, const char *reason)
{
    if (port_link() == &semihosting_stream) {
        if (reason != NULL) {
            semihosting_report(reason);
        }
        semihosting_exit(code);
    }
    if (reason != NULL) {
        const link_header_t header = {LINK_VERSION, LINK_FAULT | LINK_RESPONSE, LINK_STOPPED, 0,
                                      (uint32_t)strlen(reason)};
        /* Halts all the same if the UART refuses. */
        (void)!link_write_frame(&port_uart, &header, reason);
    }
    for (;;) {
    }
}
