/* SPDX-License-Identifier: Apache-2.0 */
#include "core.h"

#include <stddef.h>

#include "port.h"

/* From firmware.ld. */
extern uint32_t port_data_load[], port_data_start[], port_data_end[];
extern uint32_t port_bss_start[], port_bss_end[];

int main(void);

void core_start(void)
{
    const uint32_t *from = port_data_load;

    core_init();
    for (uint32_t *to = port_data_start; to < port_data_end; to++) {
        *to = *from++;
    }
    for (uint32_t *to = port_bss_start; to < port_bss_end; to++) {
        *to = 0;
    }
    port_init();
    /* Decides for a link now: a fault handler could not step over the trap that asks. */
    (void)port_link();
    (void)main();
    port_exit(PORT_EXIT_OK, NULL);
}
